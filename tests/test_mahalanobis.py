"""Squared Mahalanobis distances: of all families, near a mean and far from everything.

Digits: a distance m is within 2e-13 (m + d) of the exact one by products, and within a few eps of
itself by differences, from 0.1 d down; factors of condition c lose a factor sqrt(c).
"""

import math

import numpy as np
import pytest
from helpers import (
    FAMILIES,
    FAMILY_IDS,
    asarray_in,
    dtype_name,
    full_covariances,
    in_namespace,
    random_covariances,
    to_numpy,
)
from hypothesis import given
from hypothesis import strategies as st

from fpigauss import ClassGaussians, InvalidInputError

K, D = 5, 3
every_family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)


def problem(covariance, tied, seed=0, spread=3.0, near=1.0):
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((K, D))
    covariances = random_covariances(rng, K, D, covariance, tied)
    z = means[rng.integers(K, size=40)] + near * rng.standard_normal((40, D))
    return means, covariances, z


def by_differences(z, means, covariances, covariance, tied):
    full = full_covariances(covariances, K, D, covariance, tied).astype(np.longdouble)
    difference = (z.astype(np.longdouble)[:, None] - means)[..., None]  # (N, K, d, 1)
    inverse = np.linalg.inv(full.astype(np.float64))
    # one step of Newton's makes the inverse as exact as the covariance
    inverse = inverse @ (2.0 * np.eye(D) - full @ inverse)
    return (np.swapaxes(difference, -1, -2) @ inverse @ difference)[..., 0, 0].astype(np.float64)


@every_family
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([1.0, 1e3, 1e6]),
    near=st.sampled_from([0.0, 1e-6, 1e-2, 1.0]),
)
def test_they_are_exact_near_a_mean_and_far(covariance, tied, seed, spread, near):
    means, covariances, z = problem(covariance, tied, seed, spread, near)
    gaussians = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
    squared = gaussians.mahalanobis(z)
    assert squared.min() >= 0.0
    expected = by_differences(z, means, covariances, covariance, tied)
    # z and the means are rounded about their center: eps * spread, in units of a deviation
    lost = 1e-15 * spread * np.sqrt(expected)
    assert (np.abs(squared - expected) <= 3e-12 * expected + 20.0 * lost + lost**2).all()


@every_family
def test_they_are_zero_at_the_means(covariance, tied):
    means, covariances, _ = problem(covariance, tied, spread=1e6)
    gaussians = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
    assert np.diagonal(gaussians.mahalanobis(means)).tolist() == [0.0] * K


@every_family
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_namespaces_and_dtypes(xp, covariance, tied, dtype):
    means, covariances, z = problem(covariance, tied, 1)
    gaussians = ClassGaussians(
        asarray_in(xp, means), asarray_in(xp, covariances), covariance=covariance, tied=tied
    )
    squared = gaussians.mahalanobis(asarray_in(xp, z, dtype))
    assert in_namespace(squared, xp)
    assert dtype_name(squared) == dtype
    expected = by_differences(z.astype(dtype), means, covariances, covariance, tied)
    rtol = 1e-11 if dtype == "float64" else 1e-7  # computed in float64, rounded once
    np.testing.assert_allclose(to_numpy(squared), expected, rtol=rtol)


@every_family
def test_densities_are_made_of_them(covariance, tied):
    means, covariances, z = problem(covariance, tied, 2)
    gaussians = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
    peak = np.diagonal(gaussians.class_log_prob(means))
    np.testing.assert_allclose(
        peak - 0.5 * gaussians.mahalanobis(z), gaussians.class_log_prob(z), atol=1e-11
    )


@every_family
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3))
def test_they_have_no_units(covariance, tied, seed, shift, scale):
    means, covariances, z = problem(covariance, tied, seed)
    gaussians = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
    moved = ClassGaussians(
        shift + scale * means, scale**2 * covariances, covariance=covariance, tied=tied
    )
    np.testing.assert_allclose(
        moved.mahalanobis(shift + scale * z), gaussians.mahalanobis(z), rtol=1e-7, atol=1e-7
    )


@every_family
def test_they_are_differentiable(torch, covariance, tied):
    means, covariances, z = map(torch.asarray, problem(covariance, tied, 3))
    rows = torch.cat([means[:2] + 1e-3, z[:3]]).requires_grad_()
    gaussians = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
    assert torch.autograd.gradcheck(gaussians.mahalanobis, (rows,))


def test_far_rows_are_infinitely_far_and_others_are_refused():
    gaussians = ClassGaussians([[0.0], [1.0]], [[1.0], [1.0]])
    assert gaussians.mahalanobis(np.float32([[1e30]])).tolist() == [[math.inf] * 2]
    assert gaussians.mahalanobis([[1e200]]).tolist() == [[math.inf] * 2]
    assert gaussians.mahalanobis(np.empty((0, 1))).shape == (0, 2)
    with pytest.raises(InvalidInputError, match="z contains NaN or infinity in row 1"):
        gaussians.mahalanobis([[0.0], [math.nan]])
    with pytest.raises(InvalidInputError, match=r"\(N, 1\) is needed"):
        gaussians.mahalanobis([[0.0, 1.0]])
