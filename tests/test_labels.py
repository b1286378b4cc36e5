"""Labels reach the classes as they are, or are refused: none is taken for another."""

import enum
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpigauss import ClassGaussians, ClassStatistics, InvalidInputError, critical_lam
from fpigauss import fit_fixed_point as fit
from fpigauss.interface import as_labels

Z = np.random.default_rng(0).normal(size=(6, 2))


class Size(str, enum.Enum):  # noqa: UP042 - StrEnum prints its values, this does not
    """Labels of a user."""

    SMALL, SMALLER, LARGE = "S", "s", "large"


def classes_of(y, **options):
    return ClassStatistics.from_samples(Z, y, **options).classes


def refused(y, *mentions):
    with pytest.raises(InvalidInputError) as caught:
        classes_of(y)
    for mention in ("y", *mentions):
        assert mention in str(caught.value)
    return str(caught.value)


class TestIntegers:
    LARGE = 2**63 - 1

    @pytest.mark.parametrize("dtype", [np.int64, np.uint64])
    def test_near_the_largest(self, dtype):
        y = np.array([self.LARGE, self.LARGE - 1, 0] * 2, dtype)
        assert classes_of(y).tolist() == [0, self.LARGE - 1, self.LARGE]
        assert classes_of(y.tolist()).tolist() == [0, self.LARGE - 1, self.LARGE]

    def test_the_smallest(self):
        y = np.array([-(2**63), -(2**63) + 1, 0] * 2)
        assert classes_of(y).tolist() == [-(2**63), -(2**63) + 1, 0]
        assert classes_of(list(y)).tolist() == [-(2**63), -(2**63) + 1, 0]

    @pytest.mark.parametrize("y", [np.array([0, 1, 2**63] * 2, np.uint64), [0, 1, 2**63] * 2])
    def test_beyond(self, y):
        refused(y, "row 2", str(2**63), "64-bit")

    def test_far_beyond_the_floats(self):
        refused([0, 10**400] * 3, "row 1", "64-bit")

    def test_in_torch(self, torch):
        y = torch.tensor([self.LARGE, self.LARGE - 1, 0] * 2)
        found = ClassStatistics.from_samples(torch.tensor(Z), y).classes
        assert found.tolist() == [0, self.LARGE - 1, self.LARGE]

    def test_a_float_among_them_rounds_no_other(self):
        y = [2**53, 2**53 + 1, 0.0] * 2
        assert classes_of(y).tolist() == [0, 2**53, 2**53 + 1]
        assert classes_of(np.array(y, dtype=object)).tolist() == [0, 2**53, 2**53 + 1]

    def test_booleans_and_small_floats(self):
        assert classes_of([True, 2.0, np.float32(3), np.int8(2), 3, False]).tolist() == [0, 1, 2, 3]

    @pytest.mark.parametrize("y", [np.array([False, True] * 3), [False, True] * 3])
    def test_booleans_stay_booleans(self, y, tmp_path):
        classes = classes_of(y)
        assert classes.dtype == bool
        assert classes.tolist() == [False, True]
        found = ClassStatistics.from_samples(Z, y)
        found.save(tmp_path / "s.npz")
        assert ClassStatistics.load(tmp_path / "s.npz").classes.dtype == bool
        g = fit(Z, y, 1.0, tied=True).gaussians
        g.save(tmp_path / "g.npz")
        g = ClassGaussians.load(tmp_path / "g.npz")
        assert g.classes.dtype == g.predict(Z).dtype == bool
        # they compare with 0 and 1, as everywhere in Python
        assert np.array_equal(g.log_prob(Z, y), g.log_prob(Z, np.asarray(y, int)))
        merged = found.merge(ClassStatistics.from_samples(Z, np.asarray(y, int)))
        assert merged.classes.tolist() == [0, 1]
        given = ClassStatistics.from_samples(Z, y, classes=[0, 1])
        assert np.array_equal(given.means, found.means)

    def test_booleans_in_torch(self, torch):
        y = torch.tensor([False, True] * 3)
        g = fit(torch.tensor(Z), y, 1.0, tied=True).gaussians
        assert g.predict(torch.tensor(Z)).dtype == torch.bool

    @pytest.mark.parametrize(
        ("dtype", "large"), [("float64", 2**53), ("float32", 2**24), ("float16", 2048)]
    )
    def test_floats_that_stand_for_several_integers(self, dtype, large):
        # large + 1 is rounded to large: what this float was is not known
        y = np.array([0, large - 1, 1] * 2, dtype)
        assert classes_of(y).tolist() == [0, 1, large - 1]
        for sign in (1, -1):
            y = np.array([0, 1, sign * large] * 2, dtype)
            refused(y, "row 2", "integers")
            refused(list(y), "row 2", "integers")

    @pytest.mark.parametrize("bad", [0.5, np.nan, np.inf])
    def test_no_integer(self, bad):
        refused(np.array([0.0, 1.0, bad] * 2), "row 2")
        refused([0, 1, bad] * 2, "row 2")

    def test_they_survive_files_and_prediction(self, tmp_path):
        ids = [self.LARGE - 1, self.LARGE]
        g = ClassGaussians([[0.0], [9.0]], [[1.0], [1.0]], classes=ids)
        g.save(tmp_path / "g.npz")
        assert ClassGaussians.load(tmp_path / "g.npz").predict([[0.0], [9.0]]).tolist() == ids


class TestStrings:
    @pytest.mark.parametrize("dtype", [list, object])
    def test_one_that_ends_in_nul(self, dtype):
        # numpy pads strings with NUL: "a\0" would become "a"
        y = ["a", "b", "a\0"] * 2
        refused(y if dtype is list else np.array(y, dtype=object), "row 2", "NUL")

    def test_nul_within(self):
        assert classes_of(["a", "a\0b", "b"] * 2).tolist() == ["a", "a\0b", "b"]

    def test_variable_width(self):
        strings = getattr(np.dtypes, "StringDType", None)
        if strings is None:
            pytest.skip("this numpy has no strings of variable width")
        assert classes_of(np.array(["a", "long"] * 3, strings())).tolist() == ["a", "long"]
        refused(np.array(["a", "a\0"] * 3, strings()), "row 1", "NUL")

    def test_enumerations_are_their_values(self):
        def in_objects(labels):
            return np.array(labels, dtype=object)

        y = [Size.SMALL, Size.SMALLER, Size.LARGE] * 2
        for labels in (y, tuple(y), in_objects(y)):
            assert classes_of(labels).tolist() == ["S", "large", "s"]
            assert classes_of(labels, classes=list(Size)).tolist() == ["S", "large", "s"]
        gaussians = ClassGaussians([[0.0], [1.0], [2.0]], [[1e-6]] * 3, classes=sorted(Size))
        assert gaussians.sample([Size.SMALLER], seed=0)[0, 0] == pytest.approx(2.0, abs=0.01)
        assert gaussians.log_prob([[2.0]], [Size.SMALLER])[0] > 0.0

    def test_enumerations_that_numpy_would_cut(self):
        sklearn = pytest.importorskip("fpigauss.sklearn", reason="no scikit-learn")

        y = [Size.SMALL, Size.SMALLER, Size.LARGE] * 4
        z, classifier = np.tile(Z, (2, 1)), sklearn.FixedPointGaussianClassifier()
        with pytest.raises(InvalidInputError, match=r"y is a list of Size.*\.value for label in y"):
            classifier.fit(z, y)
        with pytest.raises(InvalidInputError, match="classes is a list of Size"):
            classifier.partial_fit(z, [label.value for label in y], classes=list(Size))
        assert classifier.fit(z, [label.value for label in y]).classes_.tolist() == sorted(Size)
        assert classifier.fit(z, np.array(y, dtype=object)).classes_.tolist() == sorted(Size)

    @pytest.mark.parametrize(
        "y", [[b"a", b"b"] * 3, np.array([b"a", b"b"] * 3), np.array([b"a"] * 6, dtype=object)]
    )
    def test_bytes(self, y):
        assert "decode" in refused(y, "bytes")

    def test_bytes_after_strings(self):
        assert "decode" in refused(["a", "a", b"a"] * 2, "row 2", "bytes")

    @pytest.mark.parametrize(
        "dtype",
        [
            np.dtype("O", metadata={"vlen": str}),
            np.dtype("S2", metadata={"h5py_encoding": "utf-8"}),
        ],
    )
    def test_as_h5py_gives_them(self, dtype):
        # h5py gives the bytes of strings, and says in the dtype that they are strings
        y = np.array(["ä".encode(), b"b"] * 3, dtype=dtype)
        assert classes_of(y).tolist() == ["b", "ä"]

    def test_a_dataset_of_h5py(self, tmp_path):
        h5py = pytest.importorskip("h5py", reason="no h5py; its dtypes are tried above")
        with h5py.File(tmp_path / "y.h5", "w") as file:
            file.create_dataset("y", data=["ä", "b"] * 3, dtype=h5py.string_dtype())
            assert classes_of(file["y"]).tolist() == ["b", "ä"]
            assert classes_of(file["y"][:]).tolist() == ["b", "ä"]


class TestMissing:
    def test_the_first(self):
        message = refused([None, *"aaabb"], "row 0", "None")
        assert "and None" not in message  # the row itself is at fault, not its neighbor

    def test_a_later_one(self):
        refused([*"aab", None, *"bb"], "row 3", "None")

    @pytest.mark.parametrize("container", [np.asarray, np.ma.asarray])
    def test_masked(self, container):
        y = np.ma.masked_equal([0, 0, 1, 1, -1, -1], -1)
        y.data[4:] = 0  # what lies under the mask is not a label
        assert "compressed" in refused(y, "masked")
        with pytest.raises(InvalidInputError, match="masked"):
            ClassGaussians([[0.0], [9.0]], np.ones((2, 1)), classes=np.ma.masked_equal([0, 1], 1))

    def test_masked_queries(self):
        g = ClassGaussians([[0.0], [9.0]], np.ones((2, 1)))
        y = np.ma.masked_equal([0, 1], 1)
        for call in (lambda: g.log_prob([[0.0], [1.0]], y), lambda: g.sample(y)):
            with pytest.raises(InvalidInputError, match="masked"):
                call()


class TestShape:
    def test_a_column(self):
        message = refused(np.array([0, 1] * 3)[:, None], "(6, 1)", "ravel")
        assert "argmax" not in message

    def test_one_hot(self):
        message = refused(np.eye(2)[[0, 1] * 3], "(6, 2)", "argmax")
        assert "ravel" not in message

    # numpy's matrices warn of themselves
    @pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
    @pytest.mark.parametrize("convert", [np.asarray, np.ndarray.tolist, np.asmatrix, "pandas"])
    @pytest.mark.parametrize("shape", ["column", "row", "one-hot"])
    def test_what_the_message_says_can_be_done(self, convert, shape):
        codes = np.array([0, 1] * 3)
        y = {"column": codes[:, None], "row": codes[None, :], "one-hot": np.eye(2)[codes]}[shape]
        if convert == "pandas":
            convert = pytest.importorskip("pandas", reason="no pandas").DataFrame
        y = convert(y)
        message = refused(y, "one label per sample")
        remedy = message.split("1-D array: ")[1].split(", if")[0]
        found = eval(remedy, {"numpy": np, "y": y})
        np.testing.assert_array_equal(as_labels(found), codes)

    @pytest.mark.parametrize(
        ("y", "shown"),
        [
            ({0, 1}, "{0, 1}"),
            ({0: 1, 1: 0}.keys(), "dict_keys([0, 1])"),
            ((i for i in (0, 1)), "<generator"),
            (dict.fromkeys(range(10_000)), "{0: None, "),
        ],
    )
    def test_what_is_not_a_sequence(self, y, shown):
        message = refused(y, f"y is {shown}", "sequence of labels")
        assert "if there is one" not in message  # it is not a label either
        assert len(message) < 150


class TestWeights:
    """Weights count relative to each other, however small or large they are."""

    RNG = np.random.default_rng(1)
    Z = RNG.normal(size=(60, 2)) + 3.0
    Y = np.repeat([0, 1, 2], 20)
    W = RNG.integers(1, 4, 60).astype(float)

    @pytest.mark.parametrize("covariance", ["diagonal", "dense"])
    @pytest.mark.parametrize("unit", [5e-324, 2.0**-1040, 2.0**-600, 2.0**600, 2.0**1010])
    def test_any_unit(self, covariance, unit):
        plain, scaled = (
            ClassStatistics.from_samples(self.Z, self.Y, covariance=covariance, sample_weight=w)
            for w in (self.W, self.W * unit)
        )
        assert np.array_equal(plain.means, scaled.means)
        assert np.array_equal(plain.covariances, scaled.covariances)
        assert np.array_equal(plain.counts * unit, scaled.counts)

    def test_units_of_their_own(self):
        # each class is weighted relative to itself
        units = np.array([5e-324, 1.0, 2.0**1000])[self.Y]
        plain, scaled = (
            ClassStatistics.from_samples(self.Z, self.Y, sample_weight=w)
            for w in (self.W, self.W * units)
        )
        assert np.array_equal(plain.means, scaled.means)

    def test_updates(self):
        w = self.W * 5e-324
        whole = ClassStatistics.from_samples(self.Z, self.Y, sample_weight=w)
        parts = ClassStatistics.from_samples(self.Z[::2], self.Y[::2], sample_weight=w[::2])
        parts = parts.update(self.Z[1::2], self.Y[1::2], w[1::2])
        np.testing.assert_allclose(parts.means, whole.means, rtol=1e-13)
        assert np.array_equal(parts.counts, whole.counts)

    def test_sums_that_overflow(self):
        with pytest.raises(InvalidInputError, match="sample_weight"):
            ClassStatistics.from_samples(self.Z, self.Y, sample_weight=np.full(60, 1.7e308))

    def test_in_torch(self, torch):
        z, w = torch.tensor(self.Z), torch.tensor(self.W)
        plain = ClassStatistics.from_samples(self.Z, self.Y, sample_weight=self.W)
        for weights in (w, w * 2.0**-600, w.bfloat16(), w.to(torch.int32)):
            found = ClassStatistics.from_samples(z, self.Y, sample_weight=weights)
            np.testing.assert_allclose(found.means.numpy(), plain.means, rtol=1e-13)


class Frame:
    """As much of a frame of pandas or polars as is looked at: columns of types of their own."""

    def __init__(self, **columns):
        self.columns = list(columns)
        self.values = list(columns.values())

    def __array__(self, dtype=None, copy=None):
        x = np.empty((len(self.values[0]), len(self.values)), dtype=object)
        for k, column in enumerate(self.values):
            x[:, k] = column
        return x


class NotAvailable:
    def __repr__(self):
        return "<NA>"


class TestFrames:
    Y = [0, 1] * 10
    A = np.random.default_rng(2).normal(size=20)

    def test_columns_of_several_types(self):
        frame = Frame(
            float=self.A, boolean=self.A > 0, integer=np.arange(20), small=np.float32(self.A[::-1])
        )
        columns = [self.A, self.A > 0, np.arange(20), np.float32(self.A[::-1])]
        plain = ClassStatistics.from_samples(np.stack(columns, axis=1).astype(float), self.Y)
        found = ClassStatistics.from_samples(frame, self.Y)
        assert np.array_equal(found.means, plain.means)
        assert fit(frame, self.Y, 0.0).gaussians.means.dtype == np.float64
        assert ClassStatistics.from_batches([(frame, self.Y)]).dim == 4

    @pytest.mark.parametrize("bad", ["high", None, NotAvailable(), 1j, b"1", [1.0]])
    def test_what_is_not_a_number_is_named(self, bad):
        column = [1.0] * 20
        column[7] = bad
        frame = Frame(length=self.A, grade=column)
        for call in (
            lambda: ClassStatistics.from_samples(frame, self.Y),
            lambda: ClassGaussians(np.eye(2), np.ones((2, 2))).predict(frame),
        ):
            with pytest.raises(InvalidInputError, match=r"z is .* in row 7, column 'grade'"):
                call()

    def test_a_gap_in_the_floats(self):
        frame = Frame(a=self.A, b=[*([True] * 19), np.nan])
        with pytest.raises(InvalidInputError, match="row 19, column 1"):
            ClassStatistics.from_samples(frame, self.Y)

    def test_an_integer_too_large(self):
        with pytest.raises(InvalidInputError, match="too large"):
            ClassStatistics.from_samples(Frame(a=[10**400] * 20), self.Y)

    def test_pandas(self):
        pd = pytest.importorskip("pandas", reason="no pandas; Frame stands for it")
        frame = pd.DataFrame({"a": self.A, "b": self.A > 0}).convert_dtypes()
        plain = ClassStatistics.from_samples(np.stack([self.A, self.A > 0], axis=1), self.Y)
        found = ClassStatistics.from_samples(frame, pd.Series(self.Y, dtype="Int64"))
        assert np.array_equal(found.means, plain.means)

    @given(st.lists(st.fractions(-10, 10), min_size=4, max_size=12, unique=True))
    def test_exact_numbers_are_numbers(self, column):
        y = np.arange(len(column)) % 2
        exact = [Decimal(int(x * 10**6)) / 10**6 for x in column]
        z = np.array([[float(x), float(e)] for x, e in zip(column, exact, strict=True)])
        plain = ClassStatistics.from_samples(z, y)
        for rows in (Frame(a=column, b=exact), list(zip(column, exact, strict=True))):
            found = ClassStatistics.from_samples(rows, y)
            assert np.array_equal(found.means, plain.means)
            assert np.array_equal(found.covariances, plain.covariances)

    @pytest.mark.parametrize(
        "z", [None, dict.fromkeys(range(10_000)), (row for row in np.eye(2)), {1.0}]
    )
    def test_what_is_not_an_array(self, z):
        with pytest.raises(InvalidInputError, match=r"z is .{4,100}; pass an array of numbers$"):
            ClassStatistics.from_samples(z, [0, 1])

    def test_places_are_plain_numbers(self):
        with pytest.raises(InvalidInputError, match="in row 1, column 0,"):
            ClassStatistics.from_samples([[1.0, 2.0], [None, 2.0]], [0, 1])

    def test_an_object_array_says_how(self):
        with pytest.raises(InvalidInputError, match=r"z\.astype\(float\)"):
            ClassStatistics.from_samples(np.eye(2).astype(object), [0, 1])


@pytest.mark.parametrize("integer", [np.int64, np.uint8, np.int32])
def test_integers_of_numpy_are_integers(integer):
    assert critical_lam(integer(6)) == critical_lam(6)
    assert critical_lam(integer(6), covariance="isotropic", dim=integer(3)) == critical_lam(
        6, covariance="isotropic", dim=3
    )
    g = ClassGaussians([[0.0], [9.0]], np.ones((2, 1)))
    assert np.array_equal(g.sample([0, 1], seed=integer(3)), g.sample([0, 1], seed=3))
    assert g.sample(np.array([0, 1], integer), temperature=integer(1), seed=0).shape == (2, 1)
    result = fit(Z, [0, 0, 0, 1, 1, 1], integer(1), max_iter=integer(5), tol=integer(0))
    assert result.n_iter <= 5


@pytest.mark.parametrize("unit", ["D", "ns", "Y"])
def test_durations_are_not_integers(unit):
    """numpy's durations derive from its integers."""
    y = np.arange(6).astype(f"timedelta64[{unit}]") % np.timedelta64(2, unit)
    refused(list(y), "timedelta64", "row 0")
    refused(y, "timedelta64")
    with pytest.raises(InvalidInputError, match=r"lam is np\.timedelta64.*not a number"):
        fit(Z, [0, 1] * 3, y[1])
