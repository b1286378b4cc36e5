"""ClassDensity: digits where classes are far apart, gradients, soft labels."""

import itertools
import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from fpigauss_torch import ClassDensity, LatentGaussians
from fpigauss_torch._support import weighted
from fpigauss_torch._support.distances import SquaredDistances
from fpigauss_torch._support.nearby import relative

N, K, DIM = 120, 12, 24
SHAPES = {
    "diagonal": (K, DIM),
    "tied diagonal": (1, DIM),
    "isotropic": (K, 1),
    "tied isotropic": (1, 1),
    "dense": (K, DIM, DIM),
    "tied dense": (1, DIM, DIM),
}
SPREADS = (1.0, 10.0, 100.0, 1e3, 1e4)  # of standard deviations, over axes and classes
DISTANCES = (1.0, 30.0, 1e3, 1e5, 1e6, 1e7)
family = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


MANY = 600  # rows for which products are taken, where the differences of 120 rows are


def gaussians(
    shape: tuple[int, ...], spread: float, distance: float, groups: int = 0, rows: int = N
):
    """Make means, F^-1, log-determinants, and float32 draws of all classes."""
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    exponents = torch.rand(*shape[:2], generator=generator, dtype=torch.float64) - 0.5
    sd = spread**exponents
    axes = sd.expand(shape[0], DIM)
    if len(shape) == 3:
        rotation = torch.linalg.qr(normal(shape[0], DIM, DIM))[0]
        root, inverse = rotation * sd[:, None], rotation.mT / sd[:, :, None]
    else:
        root, inverse = torch.diag_embed(axes), 1.0 / sd
    means = distance * normal(K, DIM)
    if groups:  # of classes that are close together
        means = means[:groups][torch.arange(K) % groups] + 3.0 * normal(K, DIM)
    y = torch.arange(rows) % K
    z = means[y] + (root.expand(K, DIM, DIM)[y] @ normal(rows, DIM, 1))[..., 0]
    return means, inverse, 2.0 * axes.log().sum(1), z.float()


def exact(means: Tensor, inverse: Tensor, z: Tensor) -> Tensor:
    """Compute squared distances (N, K) in float64, from differences."""
    u = z.double()[:, None] - means
    if inverse.ndim == 2:
        return (u * inverse).square().sum(-1)
    return (inverse.expand(K, DIM, DIM) @ u[..., None])[..., 0].square().sum(-1)


def of_rounding(means: Tensor, inverse: Tensor, z: Tensor, labels: Tensor) -> Tensor:
    """Bound what three roundings of latents and means do to log-densities of the classes (N,).

    A latent is rounded as the center is subtracted, a mean too, and their difference.
    """
    rounding = 1.5 * torch.finfo(torch.float32).eps
    off = rounding * torch.maximum(z.double().abs(), means[labels].abs())
    own = inverse.expand(K, *inverse.shape[1:])[labels]
    u = z.double() - means[labels]
    if inverse.ndim == 2:
        white, off = (u * own).abs(), off * own
    else:
        white, off = ((own @ u[..., None]).abs()[..., 0], (own.abs() @ off[..., None])[..., 0])
    return ((white + 0.5 * off) * off).sum(-1)


def check_against_float64(
    found: Tensor, means: Tensor, inverse: Tensor, log_det: Tensor, z: Tensor
):
    """Assert the bars: of the nearest class, of other classes, and of the class predicted."""
    squared = exact(means, inverse, z)
    log_prob = -0.5 * (squared + log_det + DIM * math.log(2.0 * math.pi))
    size = squared + log_det.abs() + DIM
    error = (found.double() - log_prob).abs()
    near = squared.argmin(1, keepdim=True)
    own = of_rounding(means, inverse, z, near[:, 0])[:, None] + 1e-5 * size.gather(1, near)
    assert bool((error.gather(1, near) <= own).all())
    bound = 1e-5 * size
    bound.scatter_(1, near, own)
    assert bool((error <= bound).all())
    top, found_class = log_prob.topk(2, 1).values, found.argmax(1, keepdim=True)
    clear = (top[:, 0] - top[:, 1]) > 2.0 * bound.gather(1, found_class)[:, 0] + 2.0 * own[:, 0]
    assert torch.equal(found_class[clear, 0], log_prob.argmax(1)[clear])


@family
@pytest.mark.parametrize("rows", [N, MANY])
@pytest.mark.parametrize(("spread", "distance"), list(itertools.product(SPREADS, DISTANCES)))
def test_densities_in_float32_are_as_good_as_means_in_float32(shape, spread, distance, rows):
    means, inverse, log_det, z = gaussians(shape, spread, distance, rows=rows)
    found = ClassDensity(means, inverse, log_det).by_class(z)
    check_against_float64(found, means, inverse, log_det, z)


@family
@pytest.mark.parametrize("rows", [N, MANY])
@pytest.mark.parametrize("spread", [1.0, 10.0, 1e4])
@pytest.mark.parametrize("distance", [30.0, 100.0, 1e3, 1e5, 1e6])
def test_classes_close_together_far_from_others_keep_apart(shape, spread, distance, rows):
    means, inverse, log_det, z = gaussians(shape, spread, distance, groups=3, rows=rows)
    found = ClassDensity(means, inverse, log_det).by_class(z)
    check_against_float64(found, means, inverse, log_det, z)
    log_prob = -0.5 * (exact(means, inverse, z) + log_det + DIM * math.log(2.0 * math.pi))
    top = log_prob.topk(2, 1).values
    clear = (top[:, 0] - top[:, 1]) > 1e-2  # not 1e-5 of the distance: latents are what they are
    assert int(clear.sum()) > rows // 2
    assert torch.equal(found.argmax(1)[clear], log_prob.argmax(1)[clear])


@family
def test_classes_close_together_keep_apart_in_one_graph(shape):
    means, inverse, log_det, z = gaussians(shape, 10.0, 1e5, groups=3)
    torch.compiler.reset()
    compiled = torch.compile(
        ClassDensity(means, inverse, log_det).by_class, fullgraph=True, backend="eager"
    )
    log_prob = -0.5 * (exact(means, inverse, z) + log_det + DIM * math.log(2.0 * math.pi))
    found, top = compiled(z).double(), log_prob.topk(2, 1)
    clear = (top.values[:, 0] - top.values[:, 1]) > 1e-2
    assert int(clear.sum()) > N // 2
    assert torch.equal(found.argmax(1)[clear], top.indices[clear, 0])


@pytest.mark.parametrize("name", ["diagonal", "tied diagonal", "isotropic", "tied isotropic"])
@pytest.mark.parametrize("dim", [1, 64, 768])
def test_squares_are_expanded_where_that_loses_no_digits(monkeypatch, name, dim):
    shape = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(K, dim, generator=generator, dtype=torch.float64)
    size = (shape[0], 1 if shape[1] == 1 else dim)
    sd = 100.0 ** (torch.rand(size, generator=generator, dtype=torch.float64) - 0.5)
    inverse, means = 1.0 / sd, sd * means
    precisions = inverse.square().expand(K, dim)
    by = torch.ones_like(means) if 1 in size else precisions
    means = means - (by * means).sum(0) / by.sum(0)
    # as far as means may be from their center
    means = means * (15.9 * dim / (precisions * means.square()).sum(1).max()).sqrt()
    y = torch.arange(MANY) % K
    z = torch.randn(MANY, dim, generator=generator, dtype=torch.float64)
    z = (means[y] + z * sd.expand(K, dim)[y]).float()
    monkeypatch.setattr("fpigauss_torch._support.density.relative", None)
    monkeypatch.setattr("fpigauss_torch._support.density.Differences", None)
    log_det = 2.0 * sd.expand(size[0], dim).log().sum(1)
    found = ClassDensity(means, inverse, log_det).by_class(z).double()
    squared = ((z.double()[:, None] - means) * inverse).square().sum(-1)
    log_prob = -0.5 * (squared + log_det + dim * math.log(2.0 * math.pi))
    assert bool(((found - log_prob).abs() <= 1e-5 * (squared + log_det.abs() + dim)).all())


def test_pixels_that_are_constant_in_some_classes():
    x, y = load_digits(return_X_y=True)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z, y = torch.tensor(x) / 17.0 + noise / 65536.0, torch.tensor(y)
    fitted = LatentGaussians(10, 64, covariance="diagonal", tied=False)
    fitted.fit_(z, y, 0.0)
    z = z.float()
    narrow, wide = fitted.class_log_prob(z).double(), fitted.class_log_prob(z.double())
    assert torch.equal(narrow.argmax(1), wide.argmax(1))
    best = wide.argmax(1, keepdim=True)
    # 1e-5 of squared distance, log-determinant and d, which add up to some hundreds here
    assert float((narrow - wide).gather(1, best).abs().max()) < 5e-3
    assert bool(((narrow - wide).abs() <= 1e-5 * (wide.abs() + 1e3)).all())


def test_one_class_at_0_and_one_at_two_millions():
    far = LatentGaussians(2, 1, "isotropic", tied=True)
    far.means.copy_(torch.tensor([[0.0], [2.0e6]]))
    q = torch.tensor([[2.0e6 + 3.0]])
    assert far.class_log_prob(q)[0, 1].item() == far.log_prob(q, [1]).item()


# torch itself, when it first takes forward derivatives
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@family
@pytest.mark.parametrize("way", ["few", "float64", "float32"])
@pytest.mark.parametrize("distance", [3.0, 30.0])
def test_gradients_of_all_tensors(monkeypatch, shape, way, distance):
    monkeypatch.setattr("fpigauss_torch._support.density._FEW", 2**16 if way == "few" else 0)
    if way == "float32":  # gradients are compared in float64 alone

        def narrow(means: Tensor, inverse: Tensor) -> SquaredDistances:
            return relative(means, inverse, means.dtype, may_look=True)

        monkeypatch.setattr("fpigauss_torch._support.density.checked", narrow)
    shape = tuple({K: 4, DIM: 5}.get(n, n) for n in shape)
    generator = torch.Generator().manual_seed(0)
    means = distance * torch.randn(4, 5, generator=generator, dtype=torch.float64)
    z = means[[0, 1, 2, 3, 0, 1]] + torch.randn(6, 5, generator=generator, dtype=torch.float64)
    inverse = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
    log_det = torch.zeros(shape[0], dtype=torch.float64)
    tensors = [x.requires_grad_() for x in (z, means, inverse, log_det)]
    assert torch.autograd.gradcheck(lambda z, *of: ClassDensity(*of).by_class(z), tensors)
    density = ClassDensity(*(x.detach() for x in tensors[1:]))
    assert torch.autograd.gradcheck(density.by_class, z, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(density.by_class, z)
    (wanted,) = torch.autograd.grad(density.by_class(z)[:, 1].sum(), z)
    rows = torch.func.vmap(torch.func.grad(lambda row: density.by_class(row[None])[0, 1]))
    torch.testing.assert_close(rows(z.detach()), wanted)
    torch.compiler.reset()
    compiled = torch.compile(density.by_class, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(z.detach()), density.by_class(z.detach()))


@family
@pytest.mark.parametrize("distance", [1.0, 1e3, 1e6])
def test_gradients_of_the_nearest_class_by_latents_lose_no_digits(shape, distance):
    means, inverse, log_det, z = gaussians(shape, 10.0, distance, rows=MANY)
    density = ClassDensity(means, inverse, log_det)
    near = exact(means, inverse, z).argmin(1)
    z = z.requires_grad_()
    nearest = density.by_class(z).gather(1, near[:, None]).sum()
    (found,) = torch.autograd.grad(nearest, z)
    u = (z.detach().double() - means[near])[..., None]
    matrices = inverse if inverse.ndim == 3 else torch.diag_embed(inverse.expand(-1, DIM))
    matrices = matrices.expand(K, DIM, DIM)[near]
    wanted = -(matrices.mT @ (matrices @ u))[..., 0]
    # as far as rounding means to float32 changes it
    rounded = u + (means - means.float())[near][..., None]
    rounding = (matrices.mT @ (matrices @ (rounded - u))).abs().max()
    assert float((found - wanted).abs().max()) <= float(4.0 * rounding + 1e-4 * wanted.abs().max())


@family
def test_tensors_that_are_changed_in_place_count(shape):
    means, inverse, log_det, z = gaussians(shape, 10.0, 1.0)
    density = ClassDensity(means, inverse, log_det)
    density.by_class(z)
    for change in (lambda: means.add_(1.0), lambda: inverse.mul_(2.0)):
        change()
        again = ClassDensity(means.clone(), inverse.clone(), log_det)
        assert torch.equal(density.by_class(z), again.by_class(z))


# -- soft labels ---------------------------------------------------------------------------


def test_a_teacher_that_is_sure_has_finite_gradients():
    prior = LatentGaussians(3, 2, covariance="diagonal", tied=False)
    z = torch.randn(1, 2, generator=torch.Generator().manual_seed(0))
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    prior.log_prob(z, logits.softmax(1)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0, 0.0]]


def test_the_gradient_by_a_weight_of_zero_is_its_limit():
    by_class = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).repeat(5, 1).requires_grad_()
    (found,) = torch.autograd.grad(weighted(by_class, weights).sum(), weights)
    likelihoods = by_class.exp()
    torch.testing.assert_close(found, likelihoods / likelihoods[:, :1])
    apart = torch.tensor([[-1e4, 0.0, 0.0]], dtype=torch.float64).expand(5, 3)
    (found,) = torch.autograd.grad(weighted(apart, weights).sum(), weights)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("shape", ["diagonal", "tied diagonal", "isotropic", "tied dense", "dense"])
def test_an_exported_program_takes_any_number_of_rows(shape, in_blocks, monkeypatch):
    if in_blocks:  # of one class each
        monkeypatch.setattr("fpigauss_torch._support.distances._BLOCK", 2**14)

    class Densities(torch.nn.Module):
        def __init__(self, gaussians):
            super().__init__()
            self.gaussians = gaussians

        def forward(self, z):
            return self.gaussians.class_log_prob(z)

    tied, name = shape.startswith("tied"), shape.split()[-1]
    module = Densities(LatentGaussians(3, 2, name, tied))
    module.gaussians.means[:] = torch.arange(6).reshape(3, 2)
    z = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    rows = torch.export.Dim("rows")
    exported = torch.export.export(module, (z[:8],), dynamic_shapes=({0: rows},)).module()
    for n in (1, 8, 100, 20_000):  # few rows are computed otherwise, where it is not exported
        torch.testing.assert_close(exported(z[:n]), module(z[:n]))


def test_differences_of_half_precision_are_taken_in_single():
    generator = torch.Generator().manual_seed(0)
    means = (30.0 * torch.randn(6, 5, generator=generator)).bfloat16()
    density = ClassDensity(means, torch.ones(1, 5).bfloat16(), torch.zeros(1))
    own = torch.arange(60) % 6
    rows = (means[own].float() + torch.randn(60, 5, generator=generator)).bfloat16()
    expected = density.by_class(rows.double()).gather(1, own[:, None])[:, 0]
    found = density.of_labels(rows, own)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=5e-5)
