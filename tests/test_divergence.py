"""Pairwise KL divergences: right for far classes and for close ones among them."""

import mpmath
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

from fpigauss import ClassGaussians, pairwise_kld

EPS = 2.0**-52
every_family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)


def kld(means, covariances, covariance, tied, xp=np, dtype=None):
    gaussians = ClassGaussians(
        asarray_in(xp, means, dtype),
        asarray_in(xp, covariances, dtype),
        covariance=covariance,
        tied=tied,
    )
    return pairwise_kld(gaussians)


def exact_kld(mean, sigma, other_mean, other_sigma):
    """One divergence in 50 digits, of exactly the float64 numbers given."""
    with mpmath.workdps(50):
        dim = len(mean)
        sigma, other_sigma = mpmath.matrix(sigma.tolist()), mpmath.matrix(other_sigma.tolist())
        delta = mpmath.matrix(mean.tolist()) - mpmath.matrix(other_mean.tolist())
        inverse = mpmath.inverse(other_sigma)
        product = inverse * sigma
        trace = sum(product[i, i] for i in range(dim))
        distance = (delta.T * inverse * delta)[0]
        log_ratio = mpmath.log(mpmath.det(other_sigma) / mpmath.det(sigma))
        return float((trace + distance - dim + log_ratio) / 2)


def crowd(covariance, tied, *, seed, mean_step=0.0, covariance_step=0.0, n_far=6, dim=3):
    """Two close classes at the origin, 0 and 1, among others 100 standard deviations away."""
    rng = np.random.default_rng(seed)
    n_classes = n_far + 2
    means = rng.standard_normal((n_classes, dim))
    means *= 100 / np.linalg.norm(means, axis=1, keepdims=True)
    direction = rng.standard_normal(dim)
    means[0] = 0.0
    means[1] = mean_step * direction / np.linalg.norm(direction)
    covariances = random_covariances(rng, n_classes, dim, covariance, tied)
    if not tied:
        factor = np.eye(dim) + covariance_step * rng.uniform(0.5, 1.5, dim) * np.eye(dim)
        if covariance == "dense":
            near = factor @ covariances[0] @ factor
            covariances[1] = (near + near.T) / 2
        elif covariance == "diagonal":
            covariances[1] = covariances[0] * np.diag(factor)
        else:
            covariances[1] = covariances[0] * factor[0, 0]
    return means, covariances


def assert_close_pair(means, covariances, covariance, tied, result):
    """The pair (0, 1), in both directions, to 1e-6 of itself."""
    full = full_covariances(covariances, *means.shape, covariance, tied)
    for i, j in ((0, 1), (1, 0)):
        expected = exact_kld(means[i], full[i], means[j], full[j])
        assert result[i, j] == pytest.approx(expected, rel=1e-6, abs=0)


@every_family
class TestValues:
    @pytest.mark.parametrize(("n_classes", "dim"), [(2, 1), (5, 4), (12, 3)])
    def test_torch_distributions(self, xp, torch, covariance, tied, n_classes, dim):
        # Each side is right to a few eps cond |x|^2: 10 eps 100 1e3 = 2e-10
        rng = np.random.default_rng(1)
        means = 3 * rng.standard_normal((n_classes, dim))
        covariances = random_covariances(rng, n_classes, dim, covariance, tied)
        full = full_covariances(covariances, n_classes, dim, covariance, tied)
        normal = torch.distributions.MultivariateNormal
        m, s = torch.tensor(means), torch.tensor(full)
        expected = torch.distributions.kl_divergence(
            normal(m[:, None], s[:, None]), normal(m[None], s[None])
        )
        result = kld(means, covariances, covariance, tied, xp)
        assert in_namespace(result, xp)
        assert dtype_name(result) == "float64"
        np.testing.assert_allclose(to_numpy(result), expected.numpy(), rtol=1e-12, atol=2e-10)

    def test_zero_diagonal(self, xp, covariance, tied):
        means, covariances = crowd(covariance, tied, seed=2, mean_step=1.0)
        for offset in (0.0, 1e6):
            result = to_numpy(kld(means + offset, covariances, covariance, tied, xp))
            assert (np.diag(result) == 0).all()

    @given(seed=st.integers(0, 10_000), log_step=st.floats(-12, 2))
    def test_never_negative(self, covariance, tied, seed, log_step):
        means, covariances = crowd(
            covariance,
            tied,
            seed=seed,
            mean_step=10**log_step,
            covariance_step=10 ** (log_step - 3),
        )
        result = kld(means, covariances, covariance, tied)
        assert np.isfinite(result).all()
        assert (result >= 0).all()
        if log_step > -6:  # farther than rounding: told apart
            assert result[0, 1] > 0
            assert result[1, 0] > 0

    def test_the_same_class_twice(self, xp, covariance, tied):
        means, covariances = crowd(covariance, tied, seed=3)
        result = to_numpy(kld(means, covariances, covariance, tied, xp))
        assert result[0, 1] == 0
        assert result[1, 0] == 0
        assert (result[2:, :2] > 0).all()

    def test_float32(self, xp, covariance, tied):
        # In float32 a divergence is right to a few eps |x|^2, of numbers rounded to eps:
        # |x|^2 < 2e3 and 10 eps 2e3 = 2e-3.
        rng = np.random.default_rng(4)
        means = 3 * rng.standard_normal((5, 3))
        covariances = random_covariances(rng, 5, 3, covariance, tied)
        result = kld(means, covariances, covariance, tied, xp, "float32")
        assert dtype_name(result) == "float32"
        expected = kld(means, covariances, covariance, tied)
        np.testing.assert_allclose(to_numpy(result), expected, rtol=1e-5, atol=2e-3)

    def test_one_row_at_a_time(self, covariance, tied):
        # 300 classes at once, and a few of them alone: blocks and center are not to be seen but
        # for rounding, eps |x|^2 with |x|^2 below 1e4
        rng = np.random.default_rng(5)
        means = 10 * rng.standard_normal((300, 2))
        covariances = random_covariances(rng, 300, 2, covariance, tied)
        whole = kld(means, covariances, covariance, tied)
        some = rng.choice(300, size=20, replace=False)
        few = kld(means[some], covariances if tied else covariances[some], covariance, tied)
        np.testing.assert_allclose(whole[np.ix_(some, some)], few, rtol=1e-12, atol=1e4 * EPS)


@every_family
@pytest.mark.parametrize("seed", range(3))
class TestCloseAmongFar:
    def test_means_apart(self, xp, covariance, tied, seed):
        means, covariances = crowd(covariance, tied, seed=seed, mean_step=1e-4)
        result = to_numpy(kld(means, covariances, covariance, tied, xp))
        assert result[0, 1] < 1e-6
        assert_close_pair(means, covariances, covariance, tied, result)

    def test_both_apart(self, xp, covariance, tied, seed):
        means, covariances = crowd(
            covariance, tied, seed=seed, mean_step=1e-6, covariance_step=1e-6
        )
        result = to_numpy(kld(means, covariances, covariance, tied, xp))
        assert_close_pair(means, covariances, covariance, tied, result)

    def test_all_close(self, covariance, tied, seed):
        # no far class to blame: everything within 1e-8 standard deviations
        means, covariances = crowd(covariance, tied, seed=seed, n_far=0, mean_step=1e-8)
        result = kld(means, covariances, covariance, tied)
        assert_close_pair(means, covariances, covariance, tied, result)

    def test_far_from_the_origin(self, covariance, tied, seed):
        # the same pair at 1e6: the means given, rounded to 1e-10, are still what is measured
        means, covariances = crowd(covariance, tied, seed=seed, mean_step=1e-2)
        means = means + 1e6
        result = kld(means, covariances, covariance, tied)
        assert_close_pair(means, covariances, covariance, tied, result)


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
@pytest.mark.parametrize("seed", range(3))
def test_covariances_apart(xp, covariance, seed):
    # equal means: D is of the order of the relative difference squared, 1e-12
    means, covariances = crowd(covariance, False, seed=seed, covariance_step=1e-6)
    result = to_numpy(kld(means, covariances, covariance, False, xp))
    assert result[0, 1] < 1e-10
    assert_close_pair(means, covariances, covariance, False, result)


@every_family
class TestInvariance:
    @given(seed=st.integers(0, 10_000))
    def test_maps_of_the_family(self, covariance, tied, seed):
        # x -> M x + b with M dense, a scaling of axes, or a rotation times a number. Moving means
        # and covariances rounds them, relatively, by eps cond(M)^2 cond(Sigma) < eps 1e2 1e2 and
        # a divergence by that times |x|^2 < 1e4: 2e-8; the random signs seen make it 1e-12.
        rng = np.random.default_rng(seed)
        n_classes, dim = 5, 3
        means = 2 * rng.standard_normal((n_classes, dim))
        covariances = random_covariances(rng, n_classes, dim, covariance, tied)
        basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        scales = np.exp(rng.uniform(-1.15, 1.15, dim))
        if covariance == "dense":
            matrix = basis * scales @ np.linalg.qr(rng.standard_normal((dim, dim)))[0]
            moved = matrix @ covariances @ matrix.T
            moved = (moved + np.swapaxes(moved, -1, -2)) / 2
        elif covariance == "diagonal":
            matrix, moved = np.diag(scales), scales**2 * covariances
        else:
            matrix, moved = scales[0] * basis, scales[0] ** 2 * covariances
        shift = 10 * rng.standard_normal(dim)
        one = kld(means, covariances, covariance, tied)
        other = kld(means @ matrix.T + shift, moved, covariance, tied)
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-10)

    @given(seed=st.integers(0, 10_000))
    def test_a_permutation_of_classes(self, covariance, tied, seed):
        rng = np.random.default_rng(seed)
        means, covariances = crowd(covariance, tied, seed=seed, mean_step=1e-4)
        order = rng.permutation(len(means))
        one = kld(means, covariances, covariance, tied)
        other = kld(means[order], covariances if tied else covariances[order], covariance, tied)
        # eps |x|^2 for the far pairs; the close pair as in TestCloseAmongFar
        np.testing.assert_allclose(other, one[np.ix_(order, order)], rtol=1e-6, atol=0)


@every_family
class TestGradients:
    def leaves(self, covariance, tied, torch, mean_step, raw_step):
        rng = np.random.default_rng(6)
        n_classes, dim = 4, 2
        means = rng.standard_normal((n_classes, dim))
        means[1] = means[0] + mean_step
        shape = () if tied else (n_classes,)
        shape += {"isotropic": (), "diagonal": (dim,), "dense": (dim, dim)}[covariance]
        raw = rng.standard_normal(shape)
        if not tied:
            raw[1] = raw[0] + raw_step
        return [torch.tensor(x, requires_grad=True) for x in (means, raw)]

    def evaluate(self, covariance, tied, torch):
        def function(means, raw):
            if covariance == "dense":
                spd = raw @ raw.mT + 0.5 * torch.eye(raw.shape[-1], dtype=raw.dtype)
            else:
                spd = torch.exp(raw)
            return pairwise_kld(ClassGaussians(means, spd, covariance=covariance, tied=tied))

        return function

    @pytest.mark.parametrize("step", [1.0, 1e-2], ids=["far", "close"])
    def test_gradcheck(self, torch, covariance, tied, step):
        # a pair close enough to be measured from differences is differentiable too
        leaves = self.leaves(covariance, tied, torch, step, 0.3 * step)
        assert torch.autograd.gradcheck(self.evaluate(covariance, tied, torch), leaves)

    def test_at_equal_classes(self, torch, covariance, tied):
        # D is smooth and least where two classes coincide: its gradient is zero, not NaN
        means, raw = self.leaves(covariance, tied, torch, 0.0, 0.0)
        divergence = self.evaluate(covariance, tied, torch)(means, raw)
        (divergence[0, 1] + divergence[1, 0]).backward()
        for leaf in (means, raw):
            if leaf.grad is not None:
                np.testing.assert_allclose(leaf.grad.numpy(), 0.0, rtol=0, atol=1e-12)
        gradients = torch.autograd.grad(
            self.evaluate(covariance, tied, torch)(means, raw).sum(), (means, raw)
        )
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
