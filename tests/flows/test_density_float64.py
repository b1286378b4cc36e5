"""ClassDensity on float64 latents: right to rounding, wherever classes are, for any batch size."""

import itertools
import math

import mpmath
import pytest
import torch
from helpers import FAMILIES, FAMILY_IDS
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fpigauss_torch import ClassDensity, LatentGaussians

N, K, DIM = 300, 12, 24  # more differences than are taken of few rows
SHAPES = {
    "diagonal": (K, DIM),
    "tied diagonal": (1, DIM),
    "isotropic": (K, 1),
    "tied isotropic": (1, 1),
    "dense": (K, DIM, DIM),
    "tied dense": (1, DIM, DIM),
}
OWN = [shape for shape in SHAPES.values() if shape[0] == K]
EPS = torch.finfo(torch.float64).eps
ROUNDING = 200.0 * EPS  # of squared distances, log-determinants and d
family = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
own_family = pytest.mark.parametrize("shape", OWN, ids=[n for n, s in SHAPES.items() if s in OWN])


def gaussians(
    shape: tuple[int, ...],
    spread: float = 1.0,
    distance: float = 1.0,
    *,
    groups: int = 0,
    inflated: float = 0.0,
    apart: float = 0.0,
) -> tuple[ClassDensity, Tensor]:
    """Make Gaussians, and draws of all: in groups, or with class 0 inflated and moved off."""
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    sd = spread ** (torch.rand(*shape[:2], generator=generator, dtype=torch.float64) - 0.5)
    means = distance * normal(K, DIM)
    if groups:
        means = means[:groups][torch.arange(K) % groups] + 3.0 * normal(K, DIM)
    if inflated:
        sd[0] *= inflated
        means[0] += apart
    axes = sd.expand(shape[0], DIM)
    if len(shape) == 3:
        rotation = torch.linalg.qr(normal(shape[0], DIM, DIM))[0]
        root, inverse = rotation * axes[:, None], rotation.mT / axes[:, :, None]
    else:
        root, inverse = torch.diag_embed(axes), 1.0 / sd
    y = torch.arange(N) % K
    z = means[y] + (root.expand(K, DIM, DIM)[y] @ normal(N, DIM, 1))[..., 0]
    return ClassDensity(means, inverse, 2.0 * axes.log().sum(1)), z


def matrices(density: ClassDensity) -> Tensor:
    """Return all F^-1 as (K, d, d)."""
    inverse = density.inverse
    if inverse.ndim == 2:
        inverse = torch.diag_embed(inverse.expand(-1, DIM))
    return inverse.expand(K, DIM, DIM)


def by_differences(density: ClassDensity, z: Tensor) -> tuple[Tensor, Tensor]:
    """Compute log N_y(z) (N, K) from differences, and what rounding may change of it."""
    u = z[:, None] - density.means
    if density.inverse.ndim == 2:
        white, lost = u * density.inverse, 0.0
    else:
        white = (matrices(density) @ u[..., None])[..., 0]
        lost = torch.linalg.vector_norm(matrices(density), dim=(1, 2)) * u.norm(dim=-1)
        lost = 2.0 * EPS * lost * white.norm(dim=-1)  # by the condition number
    squared = white.square().sum(-1)
    log_prob = -0.5 * (squared + density.log_det + DIM * math.log(2.0 * math.pi))
    return log_prob, ROUNDING * (squared + density.log_det.abs() + DIM) + lost


def gradient_by_differences(density: ClassDensity, z: Tensor) -> Tensor:
    """Compute the gradient (N, d) of the mixture by latents, from differences."""
    u = (z[:, None] - density.means)[..., None]
    whole = matrices(density)
    by_class = -(whole.mT @ (whole @ u))[..., 0]
    return (by_differences(density, z)[0].softmax(1)[..., None] * by_class).sum(1)


def check(density: ClassDensity, z: Tensor, *, gradients: bool = True):
    """Assert that densities, posteriors, predictions and gradients are right to rounding."""
    wanted, bound = by_differences(density, z)
    z = z.clone().requires_grad_()
    found = density.by_class(z)
    error = (found - wanted).abs()
    assert bool((error <= bound).all()), float((error / bound).max())
    blocks = torch.cat([density.by_class(rows) for rows in z.detach().split(7)])
    assert bool(((found - blocks).abs() <= bound).all())
    # what entries that count are off by
    top = wanted.max(1, keepdim=True).values
    off = torch.where(wanted > top - 50.0, bound, 0.0).amax(1)
    assert bool(((found.softmax(1) - wanted.softmax(1)).abs().amax(1) <= 4.0 * off + EPS).all())
    clear = wanted.topk(2, 1).values
    clear = clear[:, 0] - clear[:, 1] > 2.0 * off
    assert int(clear.sum()) > 0.9 * N
    assert torch.equal(found.argmax(1)[clear], wanted.argmax(1)[clear])
    if not gradients:
        return
    (slopes,) = torch.autograd.grad(found.logsumexp(1).sum(), z)
    size = (matrices(density) ** 2).sum((1, 2)).amax().sqrt()
    torch.testing.assert_close(
        slopes, gradient_by_differences(density, z.detach()), rtol=1e-9, atol=1e-11 * float(size)
    )


@family
@pytest.mark.parametrize(
    ("spread", "distance"),
    list(itertools.product([1.0, 100.0, 1e4], [1.0, 30.0, 1e3, 1e6, 1e10])),
)
def test_they_are_right_to_rounding(shape, spread, distance):
    check(*gaussians(shape, spread, distance))


@family
@pytest.mark.parametrize("distance", [30.0, 1e3, 1e6, 1e10])
def test_classes_close_together_far_from_others(shape, distance):
    check(*gaussians(shape, 10.0, distance, groups=3))


@own_family
@pytest.mark.parametrize("spread", [1.0, 100.0, 1e8])
@pytest.mark.parametrize(
    ("inflated", "apart"), [(1e3, 1e4), (1e6, 5e6), (1e8, 5e8), (2e9, 2e10), (1.0, 1e12)]
)
def test_a_class_that_has_inflated_and_moved_off(shape, spread, inflated, apart):
    check(*gaussians(shape, spread, 2.0, inflated=inflated, apart=apart), gradients=spread < 1e8)


@own_family
def test_float32_is_no_better(shape):
    density, z = gaussians(shape, 10.0, 2.0, inflated=1e8, apart=5e8)
    z = z[1:][(torch.arange(N - 1) + 1) % K != 0].float()  # class 0 is far: rounding moves its rows
    wanted = by_differences(density, z.double())[0].logsumexp(1)
    wide, narrow = (density.by_class(x).logsumexp(1).double() for x in (z.double(), z))
    assert float((wide - wanted).abs().max()) < 1e-11 < float((narrow - wanted).abs().max()) < 1e-3


@pytest.mark.parametrize("shape", [(3, 2), (1, 2), (3, 1), (1, 1), (1, 2, 2)], ids=str)
def test_differences_themselves_are_right_to_rounding(shape):
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[0.1, -0.3], [1e5, 2e5], [3e10, -7e10]], dtype=torch.float64)
    inverse = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
    inverse[-1] /= 7e9 if shape[0] == 3 else 1.0
    z = means.repeat(4000, 1)
    z = z + torch.randn(z.shape, generator=generator, dtype=torch.float64)
    found = ClassDensity(means, inverse, torch.zeros(shape[0], dtype=torch.float64)).by_class(z)
    for row, code in itertools.product(range(9), range(3)):
        with mpmath.workdps(60):
            u = mpmath.matrix(z[row].tolist()) - mpmath.matrix(means[code].tolist())
            f = inverse[code % shape[0]].tolist()
            if len(shape) == 3:
                white = mpmath.matrix(f) * u
            else:
                white = mpmath.matrix([f[i % shape[1]] * u[i] for i in range(2)])
            squared = white[0] ** 2 + white[1] ** 2
            wanted = -0.5 * squared - mpmath.log(2 * mpmath.pi)
            assert abs(wanted - float(found[row, code])) <= 1e-14 * (squared + 2)


@own_family
def test_many_rows_of_classes_that_are_all_close_together(monkeypatch, shape):
    # so far from the center, by another class, that differences of all are taken
    monkeypatch.setattr("fpigauss_torch._support.distances.BLOCK_OF_ROWS", 1000)
    monkeypatch.setattr("fpigauss_torch._support.distances._BLOCK", 10_000)
    density, z = gaussians(shape, 1.0, 1e6, groups=2)
    check(density, z)
    found = density.by_class(z)
    torch.testing.assert_close(density.by_class(z.requires_grad_()), found, rtol=1e-13, atol=0.0)


@family
@pytest.mark.parametrize("inflated", [0.0, 1e9])
def test_one_graph_and_transforms_are_as_good(shape, inflated):
    inflated = inflated if shape[0] == K else 0.0
    density, z = gaussians(shape, 10.0, 100.0, inflated=inflated, apart=10.0 * inflated)
    wanted, bound = by_differences(density, z)
    torch.compiler.reset()
    compiled = torch.compile(density.by_class, fullgraph=True, backend="eager")
    # whitened with one matrix, rows and means are rounded before they are subtracted
    bound = bound + (1e-11 if shape == SHAPES["tied dense"] else 0.0)
    assert bool(((compiled(z) - wanted).abs() <= bound).all())
    mapped = torch.func.vmap(lambda row: density.by_class(row[None])[0])(z[:40])
    assert bool(((mapped - wanted[:40]).abs() <= bound[:40]).all())


@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (4, 1), (1, 1), (1, 5, 5)], ids=str)
@pytest.mark.parametrize("distance", [3.0, 1e2, 1e4])
def test_gradients_of_all_tensors(monkeypatch, shape, distance):
    monkeypatch.setattr("fpigauss_torch._support.density._FEW", 0)
    generator = torch.Generator().manual_seed(0)
    means = distance * torch.randn(2, 5, generator=generator, dtype=torch.float64)[[0, 1, 0, 1]]
    means += torch.randn(4, 5, generator=generator, dtype=torch.float64)  # two groups
    z = means[[0, 1, 2, 3, 0, 1]] + torch.randn(6, 5, generator=generator, dtype=torch.float64)
    inverse = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
    log_det = torch.zeros(shape[0], dtype=torch.float64)

    def of_all(*tensors: Tensor) -> Tensor:
        z, *rest = tensors
        return ClassDensity(*rest).by_class(z)

    tensors = [x.clone().requires_grad_() for x in (z, means, inverse, log_det)]
    found = torch.autograd.grad(of_all(*tensors).logsumexp(1).sum(), tensors)
    monkeypatch.setattr("fpigauss_torch._support.density._FEW", 2**16)
    wanted = torch.autograd.grad(of_all(*tensors).logsumexp(1).sum(), tensors)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


# -- batches -------------------------------------------------------------------------------


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
@given(
    seed=st.integers(0, 2**32 - 1),
    exponents=st.tuples(st.floats(-2.0, 10.0), st.floats(-4.0, 9.0)),
    size=st.integers(1, 50),
)
def test_batches_of_any_size_agree(covariance, tied, seed, exponents, size):
    generator = torch.Generator().manual_seed(seed)
    n_classes, dim, rows = 6, 4, 3000
    prior = LatentGaussians(n_classes, dim, covariance, tied)
    prior.means.copy_(torch.randn(n_classes, dim, generator=generator, dtype=torch.float64))
    prior.means[0] += 10.0 ** exponents[0]
    (prior.covariances if tied else prior.covariances[0]).mul_(10.0 ** (2.0 * exponents[1]))
    y = torch.randint(n_classes, (rows,), generator=generator)
    z = prior.sample(y, seed=generator, dtype=torch.float64)
    whole = prior.log_prob(z)
    some = torch.randperm(rows, generator=generator)[:200]
    parts = torch.cat([prior.log_prob(part) for part in z[some].split(size)])
    torch.testing.assert_close(whole[some], parts, rtol=1e-12, atol=1e-11)


def test_the_fit_that_inflates_a_class():
    generator = torch.Generator().manual_seed(5)
    y = torch.arange(8200) % 10
    means = 3.0 * torch.randn(10, 1, generator=generator, dtype=torch.float64)
    z = torch.randn(8200, 1, generator=generator, dtype=torch.float64) + means[y]
    prior = LatentGaussians(10, 1, "isotropic", tied=False)
    prior.means.copy_(means)
    prior.means[0], prior.covariances[0], prior.covariances[1] = 2e10, 4e18, 0.057
    core = prior.class_gaussians()
    torch.testing.assert_close(
        prior.class_log_prob(z), core.class_log_prob(z), rtol=1e-13, atol=1e-13
    )
    assert torch.equal(prior.predict(z), core.predict(z))
    parts = torch.cat([prior.log_prob(rows) for rows in z.split(100)])
    torch.testing.assert_close(prior.log_prob(z), parts, rtol=1e-12, atol=0.0)


def test_rows_whose_differences_are_equal_in_float64_have_equal_shares():
    prior = LatentGaussians(3, 4)
    prior.means[:, 0] = torch.tensor([0.0, -2.0, 3.0])
    # 1e18 - 3 is 1e18 in float64; at 1e12 the nearest class is still told from the others
    far = torch.tensor([[1e18, 0.0, 0.0, 0.0], [1e12, 0.0, 0.0, 0.0]], dtype=torch.float64)
    far = far.repeat(5000, 1)
    for rows in (far[:2], far):
        shares = prior.predict_proba(rows)
        torch.testing.assert_close(shares[0], torch.full((3,), 1.0 / 3.0, dtype=torch.float64))
        assert shares[1].tolist() == [0.0, 0.0, 1.0]
        assert prior.predict(rows)[1] == 2
