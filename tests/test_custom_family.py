"""A family of one's own needs no change to the package: the protocol is real."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from array_api_compat import array_namespace
from helpers import asarray_in, to_numpy

from fpigauss import (
    ClassGaussians,
    CovarianceFamily,
    Dense,
    Diagonal,
    Factor,
    InvalidInputError,
    Isotropic,
    critical_lam,
    fit_fixed_point,
    pairwise_kld,
)
from fpigauss.covariance import own_name


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


@dataclass(frozen=True)
class UnevenGroups(Diagonal):
    """The first three axes share a variance, and so do the others: values (n, 2)."""

    name: ClassVar[str] = "uneven groups"
    dim: int = 4

    def fold(self, x: Any) -> Any:
        xp = array_namespace(x)
        parts = [xp.sum(part, axis=-1) for part in (x[..., :3], x[..., 3:])]
        return xp.stack(parts, axis=-1)

    def per_axis(self, values: Any) -> Any:
        xp = array_namespace(values)
        index = xp.asarray([0] * 3 + [1] * (self.dim - 3))
        return xp.take(values, index, axis=-1)


@dataclass(frozen=True)
class Blocks(Dense):
    """Blocks of two by two along the diagonal, in matrices with zeros elsewhere."""

    name: ClassVar[str] = "blocks"

    def projections(self, covariances: Any) -> Any:
        xp = array_namespace(covariances)
        block = xp.arange(covariances.shape[-1]) // 2
        within = xp.astype(block[:, None] == block[None, :], covariances.dtype)
        return covariances * within

    def outer(self, a: Any, b: Any) -> Any:
        return self.projections(super().outer(a, b))


@dataclass(frozen=True)
class Rotated(CovarianceFamily):
    """Diagonal in a given orthonormal basis: a family that is neither diagonal nor dense."""

    name: ClassVar[str] = "rotated"
    needs_dense: ClassVar[bool] = True
    angle: float = 0.5

    def basis(self, like: Any) -> Any:
        c, s = np.cos(self.angle), np.sin(self.angle)
        rotation = np.kron(np.eye(like.shape[-1] // 2), [[c, -s], [s, c]])
        return array_namespace(like).asarray(rotation, dtype=like.dtype)

    def _inside(self, x: Any) -> Any:
        return x @ self.basis(x)

    def _outside(self, x: Any) -> Any:
        return x @ array_namespace(x).matrix_transpose(self.basis(x))

    def entry_shape(self, dim: int) -> tuple[int, ...]:
        return (dim,)

    def projections(self, covariances: Any) -> Any:
        xp, basis = array_namespace(covariances), self.basis(covariances)
        return xp.linalg.diagonal(xp.matrix_transpose(basis) @ covariances @ basis)

    def outer(self, a: Any, b: Any) -> Any:
        return self.pooled(self._inside(a) * self._inside(b))

    def apply(self, values: Any, x: Any) -> Any:
        return self._outside(values * self._inside(x))

    def whiten(self, factor: Factor, x: Any) -> Any:
        return self.apply(factor.inverse, x)

    def color(self, factor: Factor, x: Any) -> Any:
        return self.apply(factor.root, x)

    def color_adjoint(self, factor: Factor, x: Any) -> Any:
        return self.color(factor, x)

    def distances_by_class(self, x: Any, means: Any, factor: Factor) -> Any:
        return Diagonal().distances_by_class(self._inside(x), self._inside(means), factor)

    def paired_divergence(self, difference: Any, first: Factor, second: Factor) -> Any:
        return Diagonal().paired_divergence(self._inside(difference), first, second)


# what does not depend on the basis is as for variances on the axes
for _name in CovarianceFamily.__abstractmethods__ - set(vars(Rotated)):
    setattr(Rotated, _name, vars(Diagonal)[_name])
for _name in ("_times", "_sizes", "multiplicity", "fold"):
    setattr(Rotated, _name, vars(Diagonal)[_name])
Rotated.__abstractmethods__ = frozenset()


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


def test_a_family_that_a_file_cannot_tell_from_another_is_not_saved(tmp_path):
    class Nameless(Diagonal):
        pass

    class Namesake(CovarianceFamily):
        name = "dense"

    Namesake.__abstractmethods__ = frozenset()

    class NamelessToo(PairedAxes):
        pass

    z, y = problem()
    path = tmp_path / "own.npz"
    gaussians = fit_fixed_point(z, y, 5.0, covariance=Nameless()).gaussians
    message = r'Nameless has the name "diagonal", .* Diagonal; give it .* name = "\.\.\."'
    with pytest.raises(InvalidInputError, match=message):
        gaussians.save(path)
    with pytest.raises(InvalidInputError, match=r'Namesake has the name "dense", .* for Dense;'):
        own_name(Namesake())
    paired = fit_fixed_point(z, y, 5.0, covariance=NamelessToo()).gaussians
    with pytest.raises(InvalidInputError, match="stands for PairedAxes"):
        paired.save(path)
    assert not path.exists()
    for family in (Diagonal(), Dense(), Isotropic(), PairedAxes(), UnevenGroups(4), Blocks()):
        assert own_name(family) == family.name
    # nor is a file of another family taken for one of it
    fit_fixed_point(z, y, 5.0).gaussians.save(path)
    with pytest.raises(InvalidInputError, match=message):
        ClassGaussians.load(path, covariance=Nameless())


def test_a_file_of_another_family(tmp_path):
    z, y = problem()
    own, plain = tmp_path / "own.npz", tmp_path / "plain.npz"
    fit_fixed_point(z, y, 5.0, covariance=PairedAxes()).gaussians.save(own)
    fit_fixed_point(z, y, 5.0).gaussians.save(plain)
    with pytest.raises(InvalidInputError, match=r'own\.npz.*family "paired axes".*covariance='):
        ClassGaussians.load(own)
    for path, family in ((own, Diagonal()), (plain, PairedAxes()), (plain, Isotropic())):
        with pytest.raises(InvalidInputError, match="pass the family that was saved"):
            ClassGaussians.load(path, covariance=family)
    assert ClassGaussians.load(plain, covariance=Diagonal()).family == Diagonal()


@pytest.mark.parametrize("tied", [False, True])
def test_groups_of_unequal_size(xp, tied):
    z, y = problem()
    family = UnevenGroups(dim=4)
    assert critical_lam(5, covariance=family, dim=4) == critical_lam(5)  # a group of one axis
    result = fit_fixed_point(asarray_in(xp, z), y, 5.0, covariance=family, tied=tied, tol=1e-9)
    assert result.converged
    found = to_numpy(result.gaussians.covariances)
    assert found.shape == ((2,) if tied else (5, 2))
    means = to_numpy(result.gaussians.means)
    plain = ClassGaussians(means, np.repeat(found, [3, 1], axis=-1), tied=tied)
    # the same sums in another order
    np.testing.assert_allclose(
        to_numpy(result.gaussians.class_log_prob(asarray_in(xp, z))),
        plain.class_log_prob(z),
        rtol=1e-11,
    )


@pytest.mark.parametrize("tied", [False, True])
def test_blocks_agree_with_dense_where_the_data_are_blocks(tied):
    z, y = problem()
    blocks = fit_fixed_point(z, y, 3.0, covariance=Blocks(), tied=tied, tol=1e-9)
    assert blocks.converged
    covariances = np.atleast_3d(blocks.gaussians.covariances.reshape(-1, 4, 4))
    assert np.all(covariances[:, :2, 2:] == 0.0)


@pytest.mark.parametrize("tied", [False, True])
def test_a_family_that_is_neither_diagonal_nor_dense(tied):
    torch = pytest.importorskip("torch", reason="the extra torch has the module")
    from fpigauss_torch import LatentGaussians

    z, y = problem()
    family = Rotated()
    rotation = family.basis(z)
    result = fit_fixed_point(z, y, 3.0, covariance=family, tied=tied, tol=1e-10)
    turned = fit_fixed_point(z @ rotation, y, 3.0, tied=tied, tol=1e-10)
    assert result.converged
    # one problem in two bases; tolerances of 1e-10 in units of sigma
    np.testing.assert_allclose(
        result.gaussians.class_log_prob(z), turned.gaussians.class_log_prob(z @ rotation), rtol=1e-7
    )
    module = LatentGaussians.from_class_gaussians(result.gaussians)
    latents = torch.tensor(z)
    # the same numbers through matrices
    np.testing.assert_allclose(
        module.class_log_prob(latents).numpy(), result.gaussians.class_log_prob(z), rtol=1e-10
    )
    draws = module.sample(torch.zeros(4000, dtype=torch.int64), seed=0, dtype=torch.float64)
    inside = (draws.numpy() - result.gaussians.means[0]) @ rotation
    variances = np.broadcast_to(result.gaussians.covariances, (5, 4))[0]
    # the standard error of a variance from 4000 draws is 2.2 %; five of them
    np.testing.assert_allclose(inside.var(axis=0), variances, rtol=0.12)
