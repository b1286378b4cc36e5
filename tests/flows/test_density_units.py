"""Densities of latents in any unit: what they are in ordinary units, but for the log-determinant.

Squares of latents, variances and precisions may be out of range where no density is.
"""

import copy
import math
import warnings

import pytest
import torch
from helpers import FAMILIES, FAMILY_IDS
from torch import Tensor

from fpigauss import ClassGaussians
from fpigauss_torch import ClassDensity, LatentGaussians, as_base, noise_along_axes, rejection_score

K, DIM = 4, 5
FEW, MANY = 40, 4000  # rows whose differences are taken, and for which products are
ROUNDING = 32.0 * torch.finfo(torch.float32).eps  # of squared distance, log-determinant and d

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
#: Standard deviations from 2e-37 to 2e34.
units = pytest.mark.parametrize("power", [-122, -64, 40, 114])


def fitted(covariance, tied, power, *, distance=3.0, rows=FEW, dtype=torch.float32):
    """Fit latents in units of 2^power, which rounds nothing."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(rows) % K
    means = distance * torch.randn(K, DIM, generator=generator, dtype=torch.float64)
    means = means - means.mean(0)
    z = (means[y] + torch.randn(rows, DIM, generator=generator, dtype=torch.float64)).to(dtype)
    prior = LatentGaussians(K, DIM, covariance, tied)
    prior.fit_(z, y, 1.0)
    gaussians = prior.class_gaussians()
    scaled = ClassGaussians(
        torch.ldexp(gaussians.means, torch.tensor(power)),
        torch.ldexp(gaussians.covariances, torch.tensor(2 * power)),
        covariance=covariance,
        tied=tied,
    )
    return LatentGaussians.from_class_gaussians(scaled), torch.ldexp(z, torch.tensor(power)), y


def check_equal(found: Tensor, wanted: Tensor, size: Tensor, rounding: float = ROUNDING):
    """Assert that numbers agree to what rounding may do to log-densities of this size."""
    assert bool(found.isfinite().all())
    assert bool(((found.double() - wanted.double()).abs() <= rounding * size).all())


@family
@units
@pytest.mark.parametrize("distance", [0.5, 3.0, 300.0])
@pytest.mark.parametrize("rows", [FEW, MANY])
def test_densities_and_predictions(covariance, tied, power, distance, rows):
    prior, z, y = fitted(covariance, tied, power, distance=distance, rows=rows)
    core = prior.class_gaussians()
    wanted = core.class_log_prob(z.double())
    size = (wanted + 0.5 * prior.density().log_det).abs() + abs(power) * DIM + DIM
    own = size.gather(1, y[:, None])[:, 0]
    check_equal(prior.class_log_prob(z.double()), wanted, size, 1e-13)
    check_equal(prior.class_log_prob(z), wanted, size)
    check_equal(prior.log_prob(z, y), wanted.gather(1, y[:, None])[:, 0], own)
    check_equal(prior.log_prob(z), prior.log_prob(z.double()), own)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(prior.predict(z), wanted.argmax(1))
    shares = core.predict_proba(z.double()).float()
    torch.testing.assert_close(prior.predict_proba(z), shares, rtol=0.0, atol=2e-5)
    check_equal(rejection_score(prior, z), -prior.log_prob(z.double()), own)


@family
@units
def test_draws_noise_and_bases(covariance, tied, power):
    prior, z, y = fitted(covariance, tied, power)
    near, ordinary, _ = fitted(covariance, tied, 0)
    unit = torch.tensor(power)
    draws = prior.sample(y, seed=0)
    torch.testing.assert_close(draws.double(), torch.ldexp(near.sample(y, seed=0), unit).double())
    noisy = noise_along_axes(z, y, prior, n_axes=2, seed=0)
    moved = noise_along_axes(ordinary, y, near, n_axes=2, seed=0)
    torch.testing.assert_close(noisy.double(), torch.ldexp(moved, unit).double())
    found = as_base(prior, "torch").condition(y).log_prob(z)
    torch.testing.assert_close(found, prior.log_prob(z.double(), y).float(), rtol=1e-5, atol=1e-4)


@family
@pytest.mark.parametrize(("power", "distance"), [(-120, 0.5), (-80, 300.0), (80, 300.0)])
def test_one_graph_and_transforms(covariance, tied, power, distance):
    prior, z, _ = fitted(covariance, tied, power, distance=distance)
    wanted = prior.class_log_prob(z.double())
    size = (wanted + prior.density().log_det.double() / 2.0).abs() + abs(power) * DIM + DIM
    torch.compiler.reset()
    compiled = torch.compile(prior.class_log_prob, fullgraph=True, backend="eager")
    check_equal(compiled(z), wanted, size)
    mapped = torch.func.vmap(lambda row: prior.class_log_prob(row[None])[0])(z)
    check_equal(mapped, wanted, size)


@family
@pytest.mark.parametrize("power", [-90, 64])
@pytest.mark.parametrize(
    ("way", "rows"),
    [("kept", FEW), ("kept", MANY), ("trained", FEW), ("trained", MANY), ("compiled", MANY)],
)
def test_gradients(covariance, tied, power, way, rows):
    gradients = []
    for units_power in (0, power):
        prior, z, _ = fitted(covariance, tied, units_power, distance=30.0, rows=rows)
        density, parts = prior.density(), [z.requires_grad_()]
        if way == "trained":
            parts += [x.clone().requires_grad_() for x in (density.means, density.inverse)]
            density = ClassDensity(*parts[1:], density.log_det)
        by_class = density.by_class
        if way == "compiled":
            torch.compiler.reset()
            by_class = torch.compile(by_class, fullgraph=True, backend="aot_eager")
        found = torch.autograd.grad(by_class(z).logsumexp(1).sum(), parts)
        scales = [torch.tensor(p) for p in (units_power, units_power, -units_power)]
        found = zip(found, scales, strict=False)
        gradients.append([torch.ldexp(x.double(), scale) for x, scale in found])
    for far, near in zip(*reversed(gradients), strict=True):
        torch.testing.assert_close(far, near, rtol=1e-4, atol=1e-5 * float(near.abs().max()))


@family
@pytest.mark.parametrize(("power", "distance"), [(-500, 300.0), (-300, 0.5), (490, 300.0)])
def test_float64(covariance, tied, power, distance):
    prior, z, _ = fitted(covariance, tied, power, distance=distance, rows=MANY, dtype=torch.float64)
    near, ordinary, _ = fitted(
        covariance, tied, 0, distance=distance, rows=MANY, dtype=torch.float64
    )
    shift = DIM * power * math.log(2.0)
    wanted = near.class_log_prob(ordinary)
    check_equal(prior.class_log_prob(z) + shift, wanted, wanted.abs() + abs(shift) + DIM, 1e-13)
    assert torch.equal(prior.predict(z), near.predict(ordinary))
    z, ordinary = z.requires_grad_(), ordinary.requires_grad_()
    found, wanted = (
        torch.autograd.grad(g.log_prob(x).sum(), x)[0] for g, x in ((prior, z), (near, ordinary))
    )
    found = torch.ldexp(found, torch.tensor(power))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rows", [FEW, MANY])
def test_axes_of_units_that_are_far_apart(tied, rows):
    prior, z, _ = fitted("diagonal", tied, 0, rows=rows)
    unit = torch.ldexp(torch.ones(DIM, dtype=torch.float64), torch.tensor([-110, -60, 0, 60, 110]))
    scaled = LatentGaussians(K, DIM, "diagonal", tied)
    scaled.means.copy_(prior.means * unit)
    scaled.covariances.copy_(prior.covariances * unit * unit)
    wanted = prior.class_log_prob(z)
    found = scaled.class_log_prob((z * unit).float())
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("covariance", ["isotropic", "diagonal"])
@pytest.mark.parametrize("rows", [FEW, MANY])
@pytest.mark.parametrize("powers", [(-100, 90), (-25, 25), (-3, 100), (-100, 3)])
def test_classes_of_units_that_are_far_apart(covariance, rows, powers):
    """A row that is infinitely far from one class still has the density of another."""
    prior, z, y = fitted(covariance, False, 0, rows=rows)
    unit = torch.ldexp(torch.ones(2, dtype=torch.float64), torch.tensor(powers))[
        torch.arange(K) % 2
    ]
    shape = (K,) + (1,) * (prior.covariances.ndim - 1)
    prior.means.mul_(unit[:, None])
    prior.covariances.mul_((unit * unit).reshape(shape))
    z = (z * unit[y, None]).float().requires_grad_()
    found = prior.class_log_prob(z)
    wanted = prior.class_log_prob(z.detach().double())
    assert not bool(found.isnan().any())
    assert torch.equal(found.argmax(1), wanted.argmax(1))
    finite = wanted > -1e37
    torch.testing.assert_close(found[finite].double(), wanted[finite], rtol=1e-5, atol=1e-4)
    assert bool((found[wanted < -1e39] == -math.inf).all())
    assert torch.equal(prior.predict(z), wanted.argmax(1))
    assert bool(rejection_score(prior, z.detach()).isfinite().all())


@family
@pytest.mark.parametrize("power", [-80, 50])
def test_rows_that_are_out_of_range_are_told_of_and_rejected(covariance, tied, power):
    prior, z, _ = fitted(covariance, tied, power)
    z = torch.cat([z[:3], z[:1] + torch.ldexp(torch.tensor(1e21), torch.tensor(power))])
    with pytest.warns(RuntimeWarning, match=r"too far from all classes in row 3 \(1 such"):
        prior.predict(z)
    scores = rejection_score(prior, z)
    assert bool(scores[:3].isfinite().all())
    assert float(scores[3]) == math.inf


@pytest.mark.parametrize("covariance", ["isotropic", "diagonal"])
def test_units_follow_the_gaussians(covariance):
    prior, z, y = fitted(covariance, False, 0)
    far, rows, _ = fitted(covariance, False, -80)
    prior.class_log_prob(z)  # what it prepares is kept
    prior.assign_(far.class_gaussians())
    assert torch.equal(prior.class_log_prob(rows), far.class_log_prob(rows))
    again = copy.deepcopy(prior)
    assert torch.equal(again.class_log_prob(rows), far.class_log_prob(rows))
    again.fit_(rows, y, 1.0)
    assert bool(again.class_log_prob(rows).isfinite().all())


def test_one_matrix_per_class_keeps_its_digits_in_small_units():
    """Whitening by matrices of large condition loses digits, which are computed anew."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(K, DIM, DIM, generator=generator, dtype=torch.float64))[
        0
    ]
    sd = torch.logspace(0, 6, DIM, dtype=torch.float64)
    for unit in (1.0, 2.0**-115, 2.0**100):
        root = rotation * sd * unit
        inverse = (rotation / (sd * unit)).mT
        noise = torch.randn(FEW, DIM, 1, generator=generator, dtype=torch.float64)
        y = torch.arange(FEW) % K
        z = (root[y] @ noise)[..., 0].float()
        means = torch.zeros(K, DIM, dtype=torch.float64)
        density = ClassDensity(means, inverse, torch.zeros(K, dtype=torch.float64))
        found, wanted = (density.by_class(x).amax(1).double() for x in (z, z.double()))
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)
