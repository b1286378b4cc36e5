"""Class statistics: one pass, any order, far from the origin, saved and resumed.

Tolerances. With eps = 2^-52, R the largest distance of a sample from the mean of all and n the
number of samples, a sum of n squares of at most R^2 is off by at most n eps R^2, in whatever order
it is taken; moving it to another center within R costs a few roundings of R^2 more. `slack`
is (n + 16) eps R^2. A mean is stored to eps times its own size.
"""

import warnings

import numpy as np
import pytest
from helpers import asarray_in, blobs, dtype_name, in_namespace, to_numpy
from hypothesis import given
from hypothesis import strategies as st

from fpigauss import ClassGaussians, ClassStatistics, InvalidInputError, solve_fixed_point
from fpigauss.statistics._checks import check_finite_totals

EPS = 2.0**-52
SHAPES = ["diagonal", "dense"]


def two_pass(z, y, covariance, weights=None, labels=None):
    """Counts, means and covariances (divided by N_y) of each class, from the definition."""
    z = np.asarray(z, dtype=np.float64)
    y = np.asarray(y)
    weights = np.ones(len(z)) if weights is None else np.asarray(weights, dtype=np.float64)
    counts, means, covariances = [], [], []
    for label in np.unique(y) if labels is None else labels:
        own, w = z[y == label], weights[y == label]
        mean = (w[:, None] * own).sum(axis=0) / w.sum()
        mean = mean + (w[:, None] * (own - mean)).sum(axis=0) / w.sum()
        centered = own - mean
        if covariance == "dense":
            covariances.append((w[:, None] * centered).T @ centered / w.sum())
        else:
            covariances.append((w[:, None] * centered**2).sum(axis=0) / w.sum())
        counts.append(w.sum())
        means.append(mean)
    return np.array(counts), np.stack(means), np.stack(covariances)


def slack(z):
    """How far rounding may move a covariance of ``z``; see the module's docstring."""
    z = np.asarray(z, dtype=np.float64)
    radius_squared = ((z - z.mean(axis=0)) ** 2).sum(axis=1).max()
    return (len(z) + 16) * EPS * radius_squared


def assert_moments(statistics, expected, z, covariance_slack=None):
    """The statistics of ``z`` are the expected ones, to rounding."""
    counts, means, covariances = expected
    size = np.abs(np.asarray(z, dtype=np.float64)).max()
    limit = slack(z) if covariance_slack is None else covariance_slack
    np.testing.assert_allclose(to_numpy(statistics.counts), counts, rtol=1e-14)
    np.testing.assert_allclose(
        to_numpy(statistics.means), means, rtol=0, atol=(len(z) + 16) * EPS * size
    )
    np.testing.assert_allclose(to_numpy(statistics.covariances), covariances, rtol=0, atol=limit)


def arrays_of(statistics):
    return [to_numpy(x) for x in (statistics.counts, statistics.means, statistics.covariances)]


@pytest.mark.parametrize("covariance", SHAPES)
class TestFromSamples:
    def test_two_pass(self, xp, covariance):
        z, y = blobs(seed=1)
        statistics = ClassStatistics.from_samples(
            asarray_in(xp, z), asarray_in(xp, y), covariance=covariance
        )
        assert_moments(statistics, two_pass(z, y, covariance), z)
        assert isinstance(statistics.classes, np.ndarray)
        assert np.array_equal(statistics.classes, np.unique(y))
        for array in (statistics.counts, statistics.means, statistics.covariances):
            assert in_namespace(array, xp)
            assert dtype_name(array) == "float64"

    def test_dense_is_symmetric(self, xp, covariance):
        z, y = blobs(seed=2)
        statistics = ClassStatistics.from_samples(asarray_in(xp, z), y, covariance=covariance)
        if covariance == "dense":
            dense = to_numpy(statistics.covariances)
            assert np.array_equal(dense, np.swapaxes(dense, 1, 2))
        else:
            assert to_numpy(statistics.covariances).shape == (4, 3)

    def test_weights_are_repetitions(self, xp, covariance):
        z, y = blobs(seed=3)
        weights = np.random.default_rng(3).integers(0, 4, size=len(y))
        weighted = ClassStatistics.from_samples(
            asarray_in(xp, z), y, covariance=covariance, sample_weight=asarray_in(xp, weights)
        )
        repeated_z, repeated_y = np.repeat(z, weights, axis=0), np.repeat(y, weights)
        assert_moments(weighted, two_pass(repeated_z, repeated_y, covariance), repeated_z)

    def test_fractional_weights(self, xp, covariance):
        z, y = blobs(seed=4)
        weights = np.random.default_rng(4).uniform(0.1, 2.0, size=len(y))
        weighted = ClassStatistics.from_samples(
            asarray_in(xp, z), y, covariance=covariance, sample_weight=asarray_in(xp, weights)
        )
        assert_moments(weighted, two_pass(z, y, covariance, weights), z)

    def test_float32_far_out(self, xp, covariance):
        # held in float64: as right for the float32 numbers given as for any others
        z, y = blobs(seed=5, offset=1e4)
        z = z.astype(np.float32)
        statistics = ClassStatistics.from_samples(asarray_in(xp, z), y, covariance=covariance)
        for array in (statistics.counts, statistics.means, statistics.covariances):
            assert dtype_name(array) == "float64"
        # A class mean is rounded to eps 1e4, which enters squared, if not twice times R.
        limit = slack(z) + 4 * np.ptp(z) * EPS * 1e4
        assert_moments(statistics, two_pass(z, y, covariance), z, limit)

    def test_integers(self, xp, covariance):
        z, y = blobs(seed=6)
        z = np.rint(4 * z).astype(np.int64)
        statistics = ClassStatistics.from_samples(asarray_in(xp, z), y, covariance=covariance)
        assert_moments(statistics, two_pass(z, y, covariance), z)

    @pytest.mark.parametrize("offset", [2.0**20, -(2.0**20)])
    def test_far_from_the_origin(self, xp, covariance, offset):
        # Multiples of 2^-20 below 2^5, moved by 2^20: exact in 46 bits, so both clouds are the
        # same numbers. The moved class means are rounded by 2^-33, which z - m hands on exactly:
        # it enters the covariance as its square, 2^-66, and the rest is `slack`. (Products
        # without a center would lose 2^40 eps = 2e-4.)
        z, y = blobs(seed=7)
        z = np.round(z * 2**20) / 2**20
        near, far = (
            ClassStatistics.from_samples(asarray_in(xp, cloud), y, covariance=covariance)
            for cloud in (z, z + offset)
        )
        np.testing.assert_allclose(
            to_numpy(far.covariances), to_numpy(near.covariances), rtol=0, atol=2 * slack(z)
        )
        np.testing.assert_allclose(
            to_numpy(far.means) - offset, to_numpy(near.means), rtol=0, atol=2.0**-32
        )

    def test_order_does_not_matter(self, xp, covariance):
        z, y = blobs(seed=8)
        order = np.random.default_rng(8).permutation(len(y))
        statistics = ClassStatistics.from_samples(
            asarray_in(xp, z[order]), asarray_in(xp, y[order]), covariance=covariance
        )
        assert_moments(statistics, two_pass(z, y, covariance), z)


class TestLabels:
    def test_strings(self, xp):
        z, y = blobs(n_classes=3, seed=10)
        names = np.array(["pear", "apple", "fig"])
        statistics = ClassStatistics.from_samples(asarray_in(xp, z), names[y])
        assert list(statistics.classes) == ["apple", "fig", "pear"]
        assert_moments(statistics, two_pass(z, names[y], "diagonal"), z)

    def test_object_array_of_strings(self):
        z, y = blobs(n_classes=3, seed=10)
        names = np.array(["pear", "apple", "fig"], dtype=object)
        statistics = ClassStatistics.from_samples(z, names[y])
        assert list(statistics.classes) == ["apple", "fig", "pear"]

    def test_integral_floats(self, xp):
        z, y = blobs(n_classes=3, seed=11)
        statistics = ClassStatistics.from_samples(asarray_in(xp, z), asarray_in(xp, 2.0 * y - 1.0))
        assert np.array_equal(statistics.classes, [-1, 1, 3])
        assert_moments(statistics, two_pass(z, y, "diagonal"), z)

    def test_python_lists(self):
        z, y = blobs(n_classes=3, seed=12)
        statistics = ClassStatistics.from_samples(z.tolist(), [f"c{label}" for label in y])
        assert list(statistics.classes) == ["c0", "c1", "c2"]
        assert isinstance(statistics.means, np.ndarray)
        assert_moments(statistics, two_pass(z, y, "diagonal"), z)

    def test_anything_numpy_can_read(self):
        class Frame:
            """What a DataFrame offers, without pandas."""

            def __init__(self, values):
                self.values = values

            def __array__(self, dtype=None, copy=None):
                return np.array(self.values, dtype=dtype)

        z, y = blobs(seed=13)
        statistics = ClassStatistics.from_samples(Frame(z), Frame(y))
        assert_moments(statistics, two_pass(z, y, "diagonal"), z)

    def test_labels_of_another_namespace(self, xp):
        z, y = blobs(seed=14)
        statistics = ClassStatistics.from_samples(z, asarray_in(xp, y))
        assert isinstance(statistics.means, np.ndarray)
        assert_moments(statistics, two_pass(z, y, "diagonal"), z)

    def test_given_classes_are_sorted(self):
        z, y = blobs(n_classes=3, seed=15)
        statistics = ClassStatistics.from_samples(z, y, classes=[2, 0, 1])
        assert np.array_equal(statistics.classes, [0, 1, 2])
        assert_moments(statistics, two_pass(z, y, "diagonal"), z)

    def test_an_empty_class_waits_until_the_solve(self, xp):
        z, y = blobs(n_classes=3, seed=16)
        early = ClassStatistics.from_samples(
            asarray_in(xp, z[y != 1]), y[y != 1], classes=[0, 1, 2]
        )
        assert np.array_equal(early.classes, [0, 1, 2])
        assert to_numpy(early.counts)[1] == 0
        assert all(np.isfinite(array).all() for array in arrays_of(early))
        with pytest.raises(InvalidInputError, match=r"\b1\b"):
            solve_fixed_point(early, 0.0)
        whole = early.update(asarray_in(xp, z[y == 1]), y[y == 1])
        assert_moments(whole, two_pass(z, y, "diagonal"), z)
        assert solve_fixed_point(whole, 0.0).converged

    def test_without_classes_the_union(self, xp):
        z, y = blobs(n_classes=4, seed=17)
        first, second = y < 2, y >= 1  # labels 0, 1 and 1, 2, 3; those of 1 seen twice
        merged = ClassStatistics.from_samples(asarray_in(xp, z[second]), y[second]).merge(
            ClassStatistics.from_samples(asarray_in(xp, z[first]), y[first])
        )
        seen_z = np.concatenate([z[first], z[second]])
        seen_y = np.concatenate([y[first], y[second]])
        assert np.array_equal(merged.classes, [0, 1, 2, 3])
        assert_moments(merged, two_pass(seen_z, seen_y, "diagonal"), seen_z)

    def test_the_union_of_strings_keeps_them_whole(self):
        z, y = blobs(n_classes=2, seed=18)
        short = ClassStatistics.from_samples(z, np.array(["ox", "ax"])[y])
        longer = ClassStatistics.from_samples(z, np.array(["axolotl", "ox"])[y])
        for merged in (short.merge(longer), longer.merge(short)):
            assert list(merged.classes) == ["ax", "axolotl", "ox"]
            assert np.array_equal(to_numpy(merged.counts), [40, 40, 80])

    def test_one_class_at_a_time(self):
        # a batch may hold one class only: two are needed for a fit, not for statistics
        z, y = blobs(n_classes=3, seed=19)
        parts = [ClassStatistics.from_samples(z[y == label], y[y == label]) for label in range(3)]
        merged = parts[1].merge(parts[2]).merge(parts[0])
        assert_moments(merged, two_pass(z, y, "diagonal"), z)


# Merging n parts adds products of differences of means, each within R and right to a few eps R:
# at most n times the slack of one pass. Far out the means are stored to eps |offset| only, and that
# enters once times R for a merge.
def merge_slack(z, n_parts):
    radius = np.ptp(z, axis=0).max()
    return (n_parts + 1) * (slack(z) + 4 * EPS * np.abs(z).max() * radius)


class TestParts:
    @pytest.mark.parametrize("covariance", SHAPES)
    @given(data=st.data())
    def test_any_partition_in_any_order(self, covariance, data):
        seed = data.draw(st.integers(0, 1000), label="seed")
        n_parts = data.draw(st.integers(1, 8), label="parts")
        offset = data.draw(st.sampled_from([0.0, 1e3, -1e6]), label="offset")
        z, y = blobs(n_samples=10, seed=seed, offset=offset)
        rng = np.random.default_rng(seed)
        weights = rng.integers(1, 4, size=len(y))
        part = rng.integers(0, n_parts, size=len(y))
        pieces = [
            ClassStatistics.from_samples(
                z[part == k],
                y[part == k],
                covariance=covariance,
                classes=np.arange(4),
                sample_weight=weights[part == k],
            )
            for k in range(n_parts)
            if (part == k).any()
        ]
        while len(pieces) > 1:  # any two, in any order: a random tree
            one = pieces.pop(data.draw(st.integers(0, len(pieces) - 1)))
            other = pieces.pop(data.draw(st.integers(0, len(pieces) - 1)))
            pieces.append(one.merge(other))
        expected = two_pass(z, y, covariance, weights)
        whole = arrays_of(pieces[0])
        np.testing.assert_allclose(whole[0], expected[0], rtol=1e-14)
        size = np.abs(z).max()
        np.testing.assert_allclose(
            whole[1], expected[1], rtol=0, atol=(len(z) + 4 * n_parts) * EPS * size
        )
        np.testing.assert_allclose(whole[2], expected[2], rtol=0, atol=merge_slack(z, n_parts))

    @pytest.mark.parametrize("covariance", SHAPES)
    def test_from_batches(self, xp, covariance):
        z, y = blobs(seed=21)
        batches = [
            (asarray_in(xp, z[i : i + 23]), asarray_in(xp, y[i : i + 23]))
            for i in range(0, len(y), 23)
        ]
        statistics = ClassStatistics.from_batches(iter(batches), covariance=covariance)
        assert in_namespace(statistics.means, xp)
        assert_moments(statistics, two_pass(z, y, covariance), z, merge_slack(z, len(batches)))

    def test_from_weighted_batches_with_given_classes(self):
        z, y = blobs(seed=22)
        weights = np.random.default_rng(22).uniform(0.1, 2.0, size=len(y))
        statistics = ClassStatistics.from_batches(
            ((z[i : i + 9], y[i : i + 9], weights[i : i + 9]) for i in range(0, len(y), 9)),
            classes=range(4),
        )
        assert_moments(
            statistics, two_pass(z, y, "diagonal", weights), z, merge_slack(z, len(y) // 9 + 1)
        )

    @pytest.mark.parametrize("covariance", SHAPES)
    def test_update(self, xp, covariance):
        z, y = blobs(seed=23)
        weights = np.random.default_rng(23).uniform(0.1, 2.0, size=len(y))
        first = ClassStatistics.from_samples(asarray_in(xp, z[:50]), y[:50], covariance=covariance)
        before = arrays_of(first)
        second = first.update(
            asarray_in(xp, z[50:]), y[50:], sample_weight=asarray_in(xp, weights[50:])
        )
        weights[:50] = 1.0
        assert_moments(second, two_pass(z, y, covariance, weights), z, merge_slack(z, 2))
        for now, then in zip(arrays_of(first), before, strict=True):  # a new object was made
            assert np.array_equal(now, then)

    @pytest.mark.parametrize("covariance", SHAPES)
    def test_far_out_in_parts(self, covariance):
        # As near, up to what the stored means lose: 2^-33 each, once times R for a merge.
        z, y = blobs(seed=24)
        z = np.round(z * 2**20) / 2**20
        far = ClassStatistics.from_batches(
            ((z[i : i + 40] + 2.0**20, y[i : i + 40]) for i in range(0, len(y), 40)),
            covariance=covariance,
        )
        expected = two_pass(z, y, covariance)[2]
        limit = 4 * 4 * np.ptp(z, axis=0).max() * 2.0**-33 + merge_slack(z, 4)
        np.testing.assert_allclose(to_numpy(far.covariances), expected, rtol=0, atol=limit)

    def test_a_single_sample_is_a_part(self):
        z, y = blobs(n_classes=2, n_samples=12, seed=25)
        statistics = ClassStatistics.from_samples(z[:1], y[:1], classes=[0, 1])
        for i in range(1, len(y)):
            statistics = statistics.update(z[i : i + 1], y[i : i + 1])
        assert_moments(statistics, two_pass(z, y, "diagonal"), z, merge_slack(z, len(y)))


class TestValue:
    def test_frozen(self):
        statistics = ClassStatistics.from_samples(*blobs(seed=30))
        for name in ("counts", "means", "covariances", "classes"):
            with pytest.raises(AttributeError):
                setattr(statistics, name, None)

    def test_built_from_its_parts(self, xp):
        z, y = blobs(seed=31)
        whole = ClassStatistics.from_samples(asarray_in(xp, z), y)
        same = ClassStatistics(
            counts=whole.counts,
            means=whole.means,
            covariances=whole.covariances,
            classes=whole.classes,
        )
        assert np.array_equal(same.classes, whole.classes)
        for one, other in zip(arrays_of(same), arrays_of(whole), strict=True):
            assert np.array_equal(one, other)

    @pytest.mark.parametrize("covariance", SHAPES)
    @pytest.mark.parametrize("labels", ["integers", "strings"])
    def test_save_and_load(self, xp, covariance, labels, tmp_path):
        z, y = blobs(seed=32)
        y = y * 3 - 4 if labels == "integers" else np.array(["b", "äpfel", "c c", "d"])[y]
        statistics = ClassStatistics.from_samples(asarray_in(xp, z), y, covariance=covariance)
        path = tmp_path / "statistics.npz"
        statistics.save(path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["statistics.npz"]
        loaded = ClassStatistics.load(path)
        assert np.array_equal(loaded.classes, statistics.classes)
        assert loaded.classes.dtype.kind == statistics.classes.dtype.kind
        for array, original in zip(
            (loaded.counts, loaded.means, loaded.covariances), arrays_of(statistics), strict=True
        ):
            assert isinstance(array, np.ndarray)
            assert array.dtype == np.float64
            assert np.array_equal(array, original)

    def test_resumed_after_load(self, tmp_path):
        # what is loaded goes on as what was saved, given classes and all
        z, y = blobs(n_classes=3, seed=33)
        path = str(tmp_path / "statistics.npz")
        early = ClassStatistics.from_samples(z[y == 0], y[y == 0], classes=[0, 1, 2])
        early.save(path)
        resumed, straight = (
            statistics.update(z[y > 0], y[y > 0])
            for statistics in (ClassStatistics.load(path), early)
        )
        for one, other in zip(arrays_of(resumed), arrays_of(straight), strict=True):
            assert np.array_equal(one, other)
        with pytest.raises(InvalidInputError):
            ClassStatistics.load(path).update(z, y + 1)  # a label outside the classes given

    def test_save_replaces_the_old_file(self, tmp_path):
        path = tmp_path / "statistics.npz"
        for seed in (34, 35):
            statistics = ClassStatistics.from_samples(*blobs(seed=seed))
            statistics.save(path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["statistics.npz"]
        assert np.array_equal(ClassStatistics.load(path).means, statistics.means)

    def test_a_failed_save_leaves_nothing_behind(self, tmp_path):
        # A folder stands where the file should go: it stays, and no half-written file beside it.
        path = tmp_path / "statistics.npz"
        path.mkdir()
        with pytest.raises(OSError):  # noqa: PT011 - which one, and in what words, is the system's
            ClassStatistics.from_samples(*blobs(seed=36)).save(path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["statistics.npz"]
        assert path.is_dir()

    def test_the_file_holds_no_pickle(self, tmp_path):
        path = tmp_path / "statistics.npz"
        z, y = blobs(n_classes=2, seed=37)
        names = np.array(["one", "two"], dtype=object)
        ClassStatistics.from_samples(z, names[y]).save(path)
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                assert file[name].dtype.kind != "O"

    def test_gradients_are_not_tracked(self, torch):
        z, y = blobs(seed=38)
        leaf = torch.tensor(z, requires_grad=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            statistics = ClassStatistics.from_samples(leaf, y)
        assert not statistics.means.requires_grad
        assert not statistics.covariances.requires_grad
        assert_moments(statistics, two_pass(z, y, "diagonal"), z)

    def test_statistics_start_a_fit(self, xp):
        # lam = 0: the Gaussians are the classes' own means and covariances, but for a step's
        # rounding, eps cond(C) |C| with cond(C) below 100 and |C| below 10
        z, y = blobs(seed=39)
        statistics = ClassStatistics.from_samples(asarray_in(xp, z), y, covariance="dense")
        gaussians = solve_fixed_point(statistics, 0.0, covariance="dense").gaussians
        assert isinstance(gaussians, ClassGaussians)
        _, means, covariances = two_pass(z, y, "dense")
        np.testing.assert_allclose(to_numpy(gaussians.means), means, rtol=0, atol=1e-12)
        np.testing.assert_allclose(to_numpy(gaussians.covariances), covariances, rtol=0, atol=1e-11)


def test_its_repr_is_one_line():
    statistics = ClassStatistics.from_samples(np.arange(24.0).reshape(12, 2), [0, 1, 2] * 4)
    assert repr(statistics) == (
        "ClassStatistics(n_classes=3, dim=2, n_samples=12, covariance='diagonal')"
    )


def test_weights_in_long_double():
    z, y = blobs(3, 2, 8)
    weights = np.linspace(0.5, 2.0, len(y))
    expected = ClassStatistics.from_samples(z, y, sample_weight=weights)
    found = ClassStatistics.from_samples(z, y, sample_weight=weights.astype(np.longdouble))
    np.testing.assert_array_equal(found.means, expected.means)


def test_given_classes_stay_given_in_a_merge():
    z, y = blobs(n_classes=2, seed=40)
    given, seen = (ClassStatistics.from_samples(z, y, classes=c) for c in ([0, 1], None))
    for one, other in [(given, seen), (seen, given), (given, given)]:
        with pytest.raises(InvalidInputError):
            one.merge(other).update(z, y + 1)
    assert seen.merge(seen).update(z, y + 1).n_classes == 3


def test_a_part_may_give_a_class_no_weight():
    z, y = blobs(n_classes=2, seed=41)
    whole = ClassStatistics.from_samples(z, y)
    weights = np.where(y == 0, 0.0, 1.0)
    with pytest.raises(InvalidInputError, match="sums to zero in class 0"):
        ClassStatistics.from_samples(z, y, sample_weight=weights)
    updated = whole.update(z, y, sample_weight=weights)
    np.testing.assert_array_equal(to_numpy(updated.counts), [40.0, 80.0])
    np.testing.assert_allclose(updated.means, whole.means, rtol=1e-13)


def test_a_wrong_kind_is_refused_before_a_batch_is_taken():
    batches = iter([blobs(seed=42)])
    with pytest.raises(InvalidInputError, match=r"^covariance is 'full'"):
        ClassStatistics.from_batches(batches, covariance="full")
    assert len(list(batches)) == 1


@pytest.mark.parametrize("faulty", [np.inf, np.nan])
def test_the_class_whose_sums_overflow_is_named(faulty):
    counts, squares = np.ones(3), np.ones((3, 4))
    squares[1, 3] = faulty
    with pytest.raises(InvalidInputError, match="the sums of class 'b' overflow"):
        check_finite_totals(counts, squares, classes=np.array(list("abc")))
    check_finite_totals(counts, np.ones((3, 4, 4)), classes=np.array(list("abc")))
