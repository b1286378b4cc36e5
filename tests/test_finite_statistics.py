"""Statistics that exist are finite, can be saved, and are the same when loaded."""

import numpy as np
import pytest
from helpers import asarray_in

from fpigauss import ClassStatistics, InvalidInputError

NAMES = ["ash", "elm"]
HUGE = np.array([[4e154], [4e154 * (1 + 1e-12)], [0.0], [1.0]])
KINDS = ["diagonal", "dense"]


def of(z, y=("ash", "ash", "elm", "elm"), **options):
    return ClassStatistics.from_samples(z, list(y), **options)


def refused(call):
    with pytest.raises(InvalidInputError) as caught:
        call()
    assert "'ash'" in str(caught.value)
    assert "rescale" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("covariance", KINDS)
class TestOverflow:
    def test_update_and_merge(self, xp, covariance):
        first = of(asarray_in(xp, HUGE), covariance=covariance)
        second = of(asarray_in(xp, -HUGE), covariance=covariance)  # apart, each is fine
        refused(lambda: first.update(asarray_in(xp, -HUGE[:2]), NAMES[:1] * 2))
        refused(lambda: first.merge(second))
        refused(lambda: second.merge(first))

    def test_batches(self, covariance):
        error = refused(
            lambda: ClassStatistics.from_batches(
                [(HUGE, ["ash", "ash", "elm", "elm"]), (-HUGE[:2], ["ash"] * 2)],
                covariance=covariance,
            )
        )
        assert "batch 1" in str(error)
        assert error.statistics.counts.tolist() == [2.0, 2.0]

    def test_chunks_of_one_array(self, covariance, monkeypatch, tmp_path):
        monkeypatch.setattr("fpigauss.statistics._rows._CHUNK_BYTES", 32)
        np.save(tmp_path / "z.npy", np.concatenate([HUGE, -HUGE]))
        mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
        refused(lambda: of(mapped, ["ash", "ash", "elm", "elm"] * 2, covariance=covariance))

    def test_dask(self, covariance):
        da = pytest.importorskip("dask.array")
        z = da.from_array(np.concatenate([HUGE, -HUGE]), chunks=(4, 1))
        y = ["ash", "ash", "elm", "elm"] * 2
        refused(lambda: ClassStatistics.from_dask(z, y, covariance=covariance))

    def test_counts(self, covariance):
        weight = np.array([1.7e308, 1.0, 1.0, 1.0])
        z = np.arange(4.0)[:, None]
        part = of(z, covariance=covariance, sample_weight=weight)
        refused(lambda: part.merge(part))
        refused(lambda: of(z, sample_weight=np.array([1.7e308, 1.7e308, 1.0, 1.0])))


@pytest.mark.parametrize("covariance", KINDS)
class TestWhatExistsCanBeLoaded:
    def assert_comes_back(self, statistics, path):
        statistics.save(path)
        loaded = ClassStatistics.load(path)
        for name in ("counts", "means", "covariances", "classes"):
            assert np.array_equal(getattr(loaded, name), getattr(statistics, name))
        assert loaded.closed == statistics.closed

    @pytest.mark.parametrize("scale", [1e-160, 1e-100, 1.0, 1e100, 1e150])
    def test_any_scale(self, covariance, scale, tmp_path):
        z = scale * np.random.default_rng(0).normal(size=(40, 3))
        statistics = of(z, NAMES * 20, covariance=covariance)
        self.assert_comes_back(statistics, tmp_path / "s.npz")
        self.assert_comes_back(statistics.update(z[::-1], NAMES * 20), tmp_path / "s.npz")

    @pytest.mark.parametrize("seed", range(20))
    def test_constant_axes_about_an_outlier(self, covariance, seed, tmp_path):
        # a first row of weight zero, far away, about which all other rows are the same: what
        # rounding leaves of their variance may be negative
        rng = np.random.default_rng(seed)
        z = np.repeat(rng.normal(size=(1, 3)), 40, axis=0) * 10.0 ** rng.integers(-3, 3, 3)
        z[:2] = 10.0 ** rng.integers(2, 9)
        weight = rng.uniform(0.1, 3.0, 40)
        weight[:2] = 0.0
        statistics = of(z, NAMES * 20, covariance=covariance, sample_weight=weight)
        self.assert_comes_back(statistics, tmp_path / "s.npz")
        half = of(z[:20], NAMES * 10, covariance=covariance, sample_weight=weight[:20])
        self.assert_comes_back(half.update(z[20:], NAMES * 10, weight[20:]), tmp_path / "s.npz")

    def test_given_classes_without_samples(self, covariance, tmp_path):
        statistics = of(np.eye(4), covariance=covariance, classes=["ash", "elm", "fir"])
        self.assert_comes_back(statistics, tmp_path / "s.npz")


class TestCovariancesThatAreGiven:
    """Semidefinite ones are statistics, of few samples say, and indefinite ones are not."""

    @staticmethod
    def given(xp, means, covariances, dtype):
        return ClassStatistics(
            counts=asarray_in(xp, np.ones(2)),
            means=asarray_in(xp, means, dtype),
            covariances=asarray_in(xp, covariances, dtype),
            classes=NAMES,
        )

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("n_rows", [1, 2, 5, 40])
    @pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
    def test_of_few_samples_computed_elsewhere(self, xp, n_rows, scale, dtype):
        rng = np.random.default_rng(n_rows)
        z = rng.normal(size=(2, n_rows, 30)) * scale * 10.0 ** rng.integers(-3, 4, 30)
        z[:, :, 1], z[:, :, 2] = 2.0 * z[:, :, 0], z[:, :1, 2]  # collinear, and constant
        z = z.astype("float32")  # whichever dtype they are passed in
        covariances = [np.cov(rows.T, bias=True, dtype="float32") for rows in z]
        statistics = self.given(xp, z.mean(axis=1), covariances, dtype)
        assert statistics.covariance == "dense"

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
    @pytest.mark.parametrize(
        "indefinite",
        [
            [[1.0, 1.01, 0.0], [1.01, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.0, 1e-2, 0.0], [1e-2, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]],  # of rows with gaps
        ],
    )
    def test_indefinite(self, xp, indefinite, scale, dtype):
        units = scale * np.array([1.0, 1e-3, 1e3])
        indefinite = np.array(indefinite) * units[:, None] * units
        with pytest.raises(InvalidInputError, match="negative eigenvalue in class 'elm'"):
            self.given(xp, np.zeros((2, 3)), [np.diag(units**2), indefinite], dtype)
