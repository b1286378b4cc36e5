"""A family of one's own needs no change to the package: the protocol is real."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from array_api_compat import array_namespace
from helpers import asarray_in, to_numpy

from fpigauss import (
    ClassGaussians,
    Diagonal,
    critical_lam,
    fit_fixed_point,
    pairwise_kld,
)


@dataclass(frozen=True)
class PairedAxes(Diagonal):
    """A seventh family: neighboring axes share one variance, values (n, d / 2)."""

    name: ClassVar[str] = "paired axes"

    def fold(self, x: Any) -> Any:
        return x[..., 0::2] + x[..., 1::2]

    def per_axis(self, values: Any) -> Any:
        xp = array_namespace(values)
        doubled = xp.stack([values, values], axis=-1)
        return xp.reshape(doubled, (*values.shape[:-1], 2 * values.shape[-1]))

    def multiplicity(self, dim: int) -> float:
        return 2.0

    def entry_shape(self, dim: int) -> tuple[int, ...]:
        return (dim // 2,)

    def inflated_dim(self, dim: int) -> int:
        return 2


def problem():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(5), 40)
    scale = np.repeat(rng.uniform(0.5, 2.0, size=(5, 2)), 2, axis=1)
    return rng.normal(size=(200, 4)) * scale[y] + 1.5 * rng.normal(size=(5, 4))[y], y


def test_the_data_come_back_at_lam_zero():
    z, y = problem()
    result = fit_fixed_point(z, y, 0.0, covariance=PairedAxes())
    variances = np.stack([z[y == k].var(axis=0) for k in range(5)])
    expected = (variances[:, 0::2] + variances[:, 1::2]) / 2
    # sums of 40 numbers, in another order
    np.testing.assert_allclose(result.gaussians.covariances, expected, rtol=1e-13)
    assert result.converged and result.n_iter == 0


@pytest.mark.parametrize(("tied", "lam"), [(False, 10.0), (True, 500.0)])
@pytest.mark.parametrize("solver", ["accelerated", "guarded"])
def test_its_fixed_point_is_stationary(xp, tied, lam, solver):
    z, y = problem()
    assert lam < critical_lam(5, covariance=PairedAxes(tied=tied), dim=4)
    result = fit_fixed_point(
        asarray_in(xp, z), y, lam, covariance=PairedAxes(), tied=tied, solver=solver, tol=1e-9
    )
    assert result.converged
    means, paired = (to_numpy(x) for x in (result.gaussians.means, result.gaussians.covariances))
    slope = slope_of_eq_4(z, y, lam, means, np.broadcast_to(paired, (5, 2)), tied)
    # the residual is at most 1e-9 in units of sigma and of log sigma^2, where L curves by no more
    # than K d (1 + lam): the slopes are that much larger at most
    assert slope < 1e-9 * 20 * (1 + lam)
    assert result.gaussians.tied is tied


def slope_of_eq_4(z, y, lam, means, paired, tied):
    """The largest slope of Eq. 4 in units of sigma and log sigma^2, by autograd."""
    torch = pytest.importorskip("torch", reason="the extra torch gives the gradient")
    mu = torch.tensor(means, requires_grad=True)
    log_v = torch.tensor(np.log(paired[:1] if tied else paired), requires_grad=True)
    scale = torch.exp(0.5 * log_v).repeat_interleave(2, dim=1).expand(5, 4)
    normals = [
        torch.distributions.Independent(torch.distributions.Normal(mu[k], scale[k]), 1)
        for k in range(5)
    ]
    data = torch.tensor(z)
    loss = -sum(normals[k].log_prob(data[y == k]).mean() for k in range(5))
    for a in range(5):
        for b in range(5):
            if a != b:
                kld = torch.distributions.kl_divergence(normals[a], normals[b])
                loss = loss - lam / 20 * np.exp(-1.0) * torch.log(kld)
    loss.backward()
    return max(float((mu.grad * scale.detach()).abs().max()), float(log_v.grad.abs().max()))


def test_densities_samples_and_files(tmp_path):
    z, y = problem()
    gaussians = fit_fixed_point(z, y, 5.0, covariance=PairedAxes()).gaussians
    plain = ClassGaussians(gaussians.means, np.repeat(gaussians.covariances, 2, axis=1))
    # the same sums in another order
    np.testing.assert_allclose(gaussians.class_log_prob(z), plain.class_log_prob(z), rtol=1e-12)
    np.testing.assert_allclose(pairwise_kld(gaussians), pairwise_kld(plain), rtol=1e-12)
    np.testing.assert_allclose(gaussians.sample(y, seed=1), plain.sample(y, seed=1), rtol=1e-13)
    gaussians.save(tmp_path / "own.npz")
    loaded = ClassGaussians.load(tmp_path / "own.npz", covariance=PairedAxes())
    np.testing.assert_array_equal(loaded.covariances, gaussians.covariances)
    assert loaded.family == PairedAxes()
