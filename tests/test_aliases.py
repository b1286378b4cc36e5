"""Frozen values share no memory with the caller's arrays, nor a callback with the running fit."""

import warnings

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in, blobs, random_covariances, to_numpy

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    ConvergenceWarning,
    FixedPoint,
    fit_fixed_point,
)

NAMES = np.array(["a", "b", "c", "d"])


def spoil(*arrays):
    """Overwrite arrays in place."""
    for x in arrays:
        x[...] = "z" if x.dtype is NAMES.dtype or str(x.dtype).startswith("<U") else -7


@pytest.fixture
def writable(xp):
    """The namespaces whose arrays can be written to: what cannot, spoils nothing."""
    if xp.__name__ == "jax.numpy":
        pytest.skip("arrays of jax cannot be overwritten, so sharing them does no harm")
    return xp


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
class TestGaussians:
    def made(self, xp, covariance, tied):
        rng = np.random.default_rng(0)
        means = asarray_in(xp, rng.normal(size=(4, 3)))
        covariances = asarray_in(xp, random_covariances(rng, 4, 3, covariance, tied))
        classes = NAMES.copy()
        gaussians = ClassGaussians(
            means, covariances, covariance=covariance, tied=tied, classes=classes
        )
        return gaussians, (means, covariances, classes)

    def test_the_callers_arrays(self, writable, covariance, tied):
        gaussians, given = self.made(writable, covariance, tied)
        kept = [to_numpy(x).copy() for x in given]
        spoil(*given)
        assert np.array_equal(to_numpy(gaussians.means), kept[0])
        assert np.array_equal(to_numpy(gaussians.covariances), kept[1])
        assert np.array_equal(gaussians.classes, kept[2])

    def test_conversion(self, writable, covariance, tied):
        gaussians, _ = self.made(writable, covariance, tied)
        kept = to_numpy(gaussians.means).copy()
        spoil(*(getattr(gaussians.to(gaussians.means), n) for n in ("means", "covariances")))
        assert np.array_equal(to_numpy(gaussians.means), kept)


def test_a_view_of_torch(torch):
    array = np.zeros((2, 1))
    gaussians = ClassGaussians(torch.from_numpy(array), torch.ones(2, 1, dtype=torch.float64))
    array[:] = np.nan
    assert gaussians.means.tolist() == [[0.0], [0.0]]


def test_copies_are_differentiable(torch):
    means = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    gaussians = ClassGaussians(means, torch.ones(2, 1, dtype=torch.float64))
    gaussians.log_prob(torch.ones(1, 1, dtype=torch.float64), [0]).sum().backward()
    assert means.grad.tolist() == [[1.0], [0.0]]


def test_what_was_loaded_can_be_written_to(tmp_path):
    path = tmp_path / "g.npz"
    ClassGaussians([[0.0], [1.0]], [[1.0], [2.0]]).save(path)
    ClassGaussians.load(path).means[0] = 1.0


def test_statistics():
    given = [np.ones(4), np.ones((4, 2)), np.ones((4, 2)), NAMES.copy()]
    statistics = ClassStatistics(*given)
    spoil(*given)
    assert statistics.means.tolist() == [[1.0, 1.0]] * 4
    assert statistics.classes.tolist() == NAMES.tolist()
    classes = NAMES.copy()
    z, y = blobs()
    for made in (
        ClassStatistics.from_samples(z, NAMES[y], classes=classes),
        ClassStatistics.from_batches([(z, NAMES[y])], classes=classes),
    ):
        spoil(classes)
        assert made.classes.tolist() == NAMES.tolist()
        classes = NAMES.copy()


class TestCallbacks:
    """What a callback writes into its result changes nothing in the fit."""

    Z, Y = blobs(spread=1.0)

    def spoiling(self, result):
        spoil(result.gaussians.means, result.gaussians.covariances, result.gaussians.classes)
        spoil(*result.history.values())
        if getattr(result.pi, "ndim", 0) == 2:
            result.pi[...] = 1e6

    @pytest.mark.parametrize(
        "options",
        [
            {"pi": lambda d: d + 1.0, "max_iter": 20},
            {"pi": "mean", "max_iter": 20},
            {"pi": "forward", "covariance": "dense"},
            {"pi": "initial", "update": "means"},
        ],
        ids=["callable", "mean", "forward", "initial"],
    )
    def test_no_trace(self, writable, options):
        z = asarray_in(writable, self.Z)
        options = {"tied": True, "tol": 1e-300, "max_iter": 20, **options}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            plain = fit_fixed_point(z, self.Y, 4.0, **options)
            spoiled = fit_fixed_point(z, self.Y, 4.0, callback=self.spoiling, **options)
        assert np.array_equal(to_numpy(plain.gaussians.means), to_numpy(spoiled.gaussians.means))
        assert plain.objective == spoiled.objective
        for name, values in plain.history.items():
            assert np.array_equal(values, spoiled.history[name])

    def test_the_start(self):
        start = fit_fixed_point(self.Z, self.Y, 0.0, tied=True).gaussians
        means = start.means.copy()
        FixedPoint(4.0, tied=True, init=start, callback=self.spoiling).fit(self.Z, self.Y)
        assert np.array_equal(start.means, means)

    def test_a_matrix_that_the_caller_keeps(self):
        pi = np.full((4, 4), 3.0)
        result = fit_fixed_point(self.Z, self.Y, 4.0, tied=True, pi=lambda _: pi)
        result.pi[:] = -1.0
        assert (pi == 3.0).all()
