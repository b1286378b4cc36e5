"""Compute densities in float32 and their gradients, and hold them against float64 and differences.

Random Gaussians of every family lie at any distance, of any size and far from the origin. Densities
of torch in float32 are compared with those of numpy in float64, gradients with differences of
values, and the gradient of the fixed point as a layer with differences of fits.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tools.torture._examples import examples
from tools.torture._runner import Fault, Machine

__all__ = ["MACHINE"]

_EXAMPLES = 20
_FAMILIES = [(name, tied) for name in ("isotropic", "diagonal", "dense") for tied in (True, False)]
_SEEDS = st.integers(0, 2**32 - 1)
#: How many roundings of what it is made of a log-density in float32 may be off by.
_ROUNDINGS = 16.0


def _gaussians(
    rng: np.random.Generator, family: tuple[str, bool], n_classes: int, dim: int, apart: float
) -> Any:
    """Return Gaussians of about unit size whose means are so far apart."""
    from helpers import random_covariances

    from fpigauss import ClassGaussians

    means = apart * rng.standard_normal((n_classes, dim))
    covariances = random_covariances(rng, n_classes, dim, *family)
    return ClassGaussians(means, covariances, covariance=family[0], tied=family[1])


@examples(
    seed=_SEEDS,
    family=st.sampled_from(_FAMILIES),
    n_classes=st.integers(1, 5),
    dim=st.integers(1, 40),
    apart=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e3, 1e6]),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    offset=st.sampled_from([0.0, 1e2]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
)
def _float32_against_float64(
    *,
    seed: int,
    family: tuple[str, bool],
    n_classes: int,
    dim: int,
    apart: float,
    scale: float,
    offset: float,
    dtype: str,
) -> None:
    import torch

    from fpigauss import ClassGaussians
    from fpigauss_torch import LatentGaussians

    scale = scale if dtype != "float16" else 1.0
    rng = np.random.default_rng(seed)
    unit = _gaussians(rng, family, n_classes, dim, apart)
    exact = ClassGaussians(
        (unit.means + offset) * scale,
        unit.covariances * scale * scale,
        covariance=family[0],
        tied=family[1],
    )
    labels = rng.integers(0, n_classes, size=7)
    z = exact.sample(labels, seed=seed % 1000)
    given_z = torch.asarray(z).to(getattr(torch, dtype))
    if not bool(given_z.isfinite().all()):
        return
    wanted = exact.class_log_prob(given_z.double().numpy())
    module = LatentGaussians.from_class_gaussians(exact)
    squares = exact.mahalanobis(given_z.double().numpy())
    # products have the errors that rounding the means has, in standard deviations of at least 0.4
    moved = 2.0**-24 * np.abs(unit.means + offset).max() * np.sqrt(dim) / 0.4
    log_dets = dim * (2.0 + abs(np.log(scale)))
    own = squares.min(1, keepdims=True)
    rounding = 2.0**-24 * (squares + own + log_dets)
    bound = _ROUNDINGS * (rounding + np.sqrt(squares + own + dim) * moved + moved * moved)
    with torch.no_grad():
        found = module.class_log_prob(given_z).double().numpy()
        core = exact.to(given_z).class_log_prob(given_z).double().numpy()
    wrong = ~(np.abs(found - wanted) <= bound) & (np.abs(wanted) < 1e38)
    if wrong.any():
        i = np.unravel_index(
            np.argmax(np.where(wrong, np.abs(found - wanted) / bound, 0)), wrong.shape
        )
        raise Fault(f"log-density {found[i]}, in float64 {wanted[i]}, bound {bound[i]:.1e}")
    if np.isnan(core).any():
        raise Fault("a log-density of the core is NaN")
    shares = module.predict_proba(given_z)
    if not torch.allclose(shares.sum(1), torch.ones(7), atol=1e-5):
        raise Fault(f"shares {shares} do not sum to one")


def _slope(f: Callable[[Any], Any], x: Any, direction: Any, step: float) -> float:
    """Return the slope of a function, of fourth order in the step."""
    values = [float(f(x + k * step * direction)) for k in (1, -1, 2, -2)]
    return (8.0 * (values[0] - values[1]) - (values[2] - values[3])) / (12.0 * step)


@examples(
    seed=_SEEDS,
    family=st.sampled_from(_FAMILIES),
    n_classes=st.integers(2, 4),
    dim=st.integers(1, 5),
    apart=st.sampled_from([0.01, 1.0, 10.0]),
    of=st.sampled_from(["mixture", "labels", "classes", "kld"]),
)
def _gradients_against_differences(
    *, seed: int, family: tuple[str, bool], n_classes: int, dim: int, apart: float, of: str
) -> None:
    import torch

    from fpigauss import ClassGaussians, pairwise_kld

    rng = np.random.default_rng(seed)
    made = _gaussians(rng, family, n_classes, dim, apart)
    labels = rng.integers(0, n_classes, size=5)
    z = torch.asarray(made.sample(labels, seed=0))
    weights = torch.asarray(rng.standard_normal((5, n_classes)))

    def value(x: Any) -> Any:
        means, rows = x[:n_classes], x[n_classes:]
        gaussians = ClassGaussians(
            means, torch.asarray(made.covariances), covariance=family[0], tied=family[1]
        )
        if of == "kld":
            return (pairwise_kld(gaussians) * weights[:1].T[:n_classes]).sum()
        if of == "classes":
            return (gaussians.class_log_prob(rows) * weights).sum()
        return gaussians.log_prob(rows, labels if of == "labels" else None).sum()

    x = torch.cat([torch.asarray(made.means), z]).requires_grad_(of == "kld")
    held = torch.asarray(made.means)
    function: Callable[[Any], Any] = value
    if of != "kld":  # latents alone: the Gaussians of a prior are constants
        function, x = (lambda rows: value(torch.cat([held, rows]))), z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x), x)
    direction = torch.asarray(rng.standard_normal(tuple(x.shape)))
    with torch.no_grad():
        wanted = _slope(function, x.detach(), direction, 1e-4)
    found = float((gradient * direction).sum())
    size = float(gradient.abs().sum() * direction.abs().max()) + 1.0
    if not abs(found - wanted) <= 1e-6 * size:
        raise Fault(f"the slope is {wanted}, the gradient says {found}")


@examples(
    seed=_SEEDS,
    family=st.sampled_from(_FAMILIES),
    n_classes=st.integers(2, 4),
    dim=st.integers(1, 3),
    pi=st.sampled_from(["forward", 2.0, "initial"]),
    update=st.sampled_from(["both", "means", "covariances"]),
    lam=st.sampled_from([0.0, 0.3, 1.0, 10.0]),
)
def _layer_against_differences(
    *,
    seed: int,
    family: tuple[str, bool],
    n_classes: int,
    dim: int,
    pi: Any,
    update: str,
    lam: float,
) -> None:
    import torch

    from fpigauss import NotDifferentiableError
    from fpigauss_torch import fixed_point_layer

    rng = np.random.default_rng(seed)
    y = np.arange(10 * n_classes) % n_classes
    centers = rng.choice([0.5, 3.0]) * rng.standard_normal((n_classes, dim))
    z = torch.asarray(centers[y] + rng.standard_normal((len(y), dim)))
    options = {"covariance": family[0], "tied": family[1], "pi": pi, "update": update}

    def fitted(z: Any) -> Any:
        return fixed_point_layer(z, y, lam, tol=1e-11, max_iter=5000, **options)

    x = z.clone().requires_grad_()
    weights: list[Any] = []

    def value(fit: Any) -> Any:
        parts = (fit.means, fit.covariances)
        if not weights:
            weights.extend(torch.asarray(rng.standard_normal(tuple(x.shape))) for x in parts)
        return sum((a * b).sum() for a, b in zip(weights, parts, strict=True))

    try:
        fit = fitted(x)
        (gradient,) = torch.autograd.grad(value(fit), x)
    except NotDifferentiableError:
        return
    direction = torch.asarray(rng.standard_normal(tuple(z.shape)))
    step = 1e-5
    steps = (step, 4.0 * step)
    pairs = [[fitted(z + k * h * direction) for k in (1, -1)] for h in steps]
    if not all(one.converged for pair in pairs for one in pair):
        return
    slopes = [
        float(value(after) - value(before)) / (2.0 * h)
        for h, (after, before) in zip(steps, pairs, strict=True)
    ]
    found = float((gradient * direction).sum())
    size = float((gradient * direction).abs().sum()) + abs(found) + 1e-3
    if abs(slopes[0] - slopes[1]) > 1e-4 * size:
        return  # the fits jump, or are too curved for differences to say anything
    if not abs(found - slopes[0]) <= 1e-3 * size:
        raise Fault(f"fits have the slope {slopes}, the layer says {found} (of {size})")


_TESTS = {
    "float32": _float32_against_float64,
    "gradients": _gradients_against_differences,
    "layer": _layer_against_differences,
}


def trial(number: int, _: Path) -> Iterator[str]:
    """Run examples of one test."""
    name = list(_TESTS)[number % len(_TESTS)]
    _TESTS[name](number, _EXAMPLES)
    yield name


MACHINE = Machine(
    what=f"{_EXAMPLES} sets of Gaussians: float32, gradients, or the layer",
    trial=trial,
    quick=12,
    full=1500,
    imports=("fpigauss_torch", "helpers", "torch._dynamo"),
    batch=30,
    seconds=60.0,
)
