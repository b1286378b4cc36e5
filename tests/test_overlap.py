"""How much pairs overlap: exact where tied, a bound elsewhere, and never lost to underflow."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in, dtype_name, in_namespace, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from fpigauss import (
    ClassGaussians,
    FixedPoint,
    InvalidInputError,
    pairwise_kld,
    pairwise_overlap,
    smallest_kld,
)
from fpigauss.overlap import largest_log_overlap

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
seeds = st.integers(0, 10_000)


def gaussians_of(seed, covariance, tied, n_classes=4, dim=3, spread=1.0, xp=np, dtype=None):
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((n_classes, dim))
    factors = np.eye(dim) + 0.4 * rng.standard_normal((n_classes, dim, dim))
    covariances = factors @ factors.swapaxes(-2, -1) + 0.1 * np.eye(dim)
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    shapes = {"dense": covariances, "diagonal": variances, "isotropic": variances.mean(axis=-1)}
    values = shapes[covariance][0] if tied else shapes[covariance]
    arrays = (asarray_in(xp, array, dtype) for array in (means, values))
    return ClassGaussians(*arrays, covariance=covariance, tied=tied)


def simulated(gaussians, n=200_000):
    """The overlap, by counting samples of each class that are more likely under the other."""
    wrong = np.zeros((gaussians.n_classes,) * 2)
    for label in range(gaussians.n_classes):
        scores = gaussians.class_log_prob(gaussians.sample(np.full(n, label), seed=label))
        wrong[label] = (scores > scores[:, label : label + 1]).mean(axis=0)
    return wrong + wrong.T


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
def test_tied_is_what_samples_give(covariance):
    gaussians = gaussians_of(0, covariance, True)
    overlap = pairwise_overlap(gaussians)
    others = ~np.eye(4, dtype=bool)
    # two counts of 200,000 each: four standard errors are 4 sqrt(2 / (4 * 200,000))
    assert np.abs(overlap - simulated(gaussians))[others].max() < 6.4e-3
    np.testing.assert_array_equal(np.diagonal(overlap), 1.0)


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_per_class_is_a_bound_of_what_samples_give(covariance, seed):
    gaussians = gaussians_of(seed, covariance, False, spread=1.5)
    counted, bound = simulated(gaussians, 50_000), pairwise_overlap(gaussians)
    others = ~np.eye(4, dtype=bool)
    assert (counted <= bound + 1.3e-2)[others].all()
    # Bhattacharyya's other inequality: 1 - sqrt(1 - b^2) is below the overlap
    assert (counted >= 1 - np.sqrt(1 - bound**2) - 1.3e-2)[others].all()


@family
@settings(max_examples=8)
@given(seed=seeds)
def test_the_bound_against_plain_determinants(covariance, tied, seed):
    gaussians = gaussians_of(seed, covariance, tied)
    dim, full = 3, np.asarray(gaussians.covariances)
    full = np.broadcast_to(full, (4, *full.shape)) if tied else full
    if covariance == "isotropic":
        full = full[:, None, None] * np.eye(dim)
    elif covariance == "diagonal":
        full = full[:, :, None] * np.eye(dim)
    middle = (full[:, None] + full[None]) / 2
    delta = gaussians.means[:, None] - gaussians.means[None]
    squared = np.einsum("ija,ijab,ijb->ij", delta, np.linalg.inv(middle), delta)
    logs, dets = np.linalg.slogdet(middle)[1], np.linalg.slogdet(full)[1]
    distance = squared / 8 + (logs - (dets[:, None] + dets[None]) / 2) / 2
    ours = pairwise_overlap(gaussians, log=True)
    if tied:  # where D = 4 B, the exact overlap is below the bound
        expected = [[2 * 0.5 * math.erfc(math.sqrt(b)) for b in row] for row in distance]
        np.testing.assert_allclose(np.exp(ours), expected, rtol=1e-9)
        np.testing.assert_allclose(pairwise_kld(gaussians), 4 * distance, rtol=1e-9, atol=1e-12)
    else:
        np.testing.assert_allclose(ours, -distance, rtol=1e-9, atol=1e-12)


@family
def test_every_namespace_and_precision(xp, covariance, tied):
    reference = pairwise_overlap(gaussians_of(1, covariance, tied), log=True)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        gaussians = gaussians_of(1, covariance, tied, xp=xp, dtype=dtype)
        overlap = pairwise_overlap(gaussians, log=True)
        assert in_namespace(overlap, xp)
        assert dtype_name(overlap) == dtype
        np.testing.assert_allclose(to_numpy(overlap), reference, rtol=tolerance, atol=tolerance)
        others = to_numpy(overlap)[~np.eye(4, dtype=bool)]
        assert largest_log_overlap(gaussians) == pytest.approx(others.max(), rel=1e-5)


@family
def test_symmetric_within_zero_and_one(covariance, tied):
    overlap = pairwise_overlap(gaussians_of(2, covariance, tied, spread=0.01))
    np.testing.assert_allclose(overlap, overlap.T, rtol=1e-12)
    assert (overlap <= 1).all()
    assert (overlap > 0).all()


@pytest.mark.parametrize("tied", [True, False])
def test_no_underflow(tied):
    means, one = np.array([[0.0], [100.0]]), np.ones(1 if tied else (2, 1))
    gaussians = ClassGaussians(means, one, tied=tied)
    assert smallest_kld(gaussians) == 5000.0
    log = pairwise_overlap(gaussians, log=True)[0, 1]
    assert log == pytest.approx(-1254.14 if tied else -1250.0, abs=0.01)
    assert pairwise_overlap(gaussians)[0, 1] == 0.0


def test_gradients_are_not_tracked(torch):
    means = torch.zeros((2, 1), dtype=torch.float64, requires_grad=True)
    gaussians = ClassGaussians(means + torch.tensor([[0.0], [2.0]]), torch.ones(1), tied=True)
    assert not pairwise_overlap(gaussians).requires_grad
    assert smallest_kld(gaussians) == pytest.approx(2.0)


@pytest.mark.parametrize("measure", [smallest_kld, pairwise_kld, pairwise_overlap])
def test_what_contains_gaussians_is_told_how_to_pass_them(measure):
    gaussians = ClassGaussians([[0.0], [2.0]], [1.0], tied=True)
    latent = SimpleNamespace(class_gaussians=lambda: gaussians)
    for passed, way in (
        (latent, "class_gaussians()"),
        (SimpleNamespace(gaussians=latent), "gaussians.class_gaussians()"),
        (SimpleNamespace(gaussians_=gaussians), "gaussians_"),
    ):
        with pytest.raises(
            InvalidInputError, match=re.escape(f"pass its .{way}, a ClassGaussians")
        ):
            measure(passed)
        with pytest.raises(InvalidInputError, match=re.escape(f"or its .{way}, a ClassGaussians")):
            FixedPoint(init=passed)


def test_mean_covariances_that_rounding_makes_indefinite():
    # either is positive definite by itself; their mean has lost the small eigenvalues
    rng = np.random.default_rng(0)
    for _ in range(20):
        left, right = (np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(2))
        scales = np.array([1e15, 1e15, 1e15, 1.0, 1.0, 1.0])
        first = (left * scales) @ left.T
        second = (right * scales[::-1]) @ right.T
        both = np.stack([(part + part.T) / 2 for part in (first, second)])
        try:
            gaussians = ClassGaussians(rng.standard_normal((2, 6)), both, covariance="dense")
        except InvalidInputError:  # singular as it is
            continue
        assert 0.0 <= pairwise_overlap(gaussians)[0, 1] <= 1.0


@family
def test_pairs_of_held_classes_do_not_count(covariance, tied):
    gaussians = gaussians_of(3, covariance, tied, n_classes=5)
    held = np.array([True, False, True, True, False])
    counting = ~(np.eye(5, dtype=bool) | (held[:, None] & held[None]))
    kld, overlap = pairwise_kld(gaussians), pairwise_overlap(gaussians, log=True)
    assert smallest_kld(gaussians, held=held) == pytest.approx(kld[counting].min())
    assert largest_log_overlap(gaussians, held=held) == pytest.approx(overlap[counting].max())
    assert smallest_kld(gaussians, held=np.ones(5, dtype=bool)) == math.inf
    assert largest_log_overlap(gaussians, held=np.ones(5, dtype=bool)) == -math.inf


@pytest.mark.parametrize("function", [pairwise_overlap, smallest_kld])
def test_bad_input(function):
    with pytest.raises(InvalidInputError, match="gaussians is a ndarray; pass a ClassGaussians"):
        function(np.eye(2))
    with pytest.raises(InvalidInputError, match="log is 1; pass True or False"):
        pairwise_overlap(gaussians_of(0, "diagonal", True), log=1)
