"""Hold densities, divergences and lam* of small cases against mpmath, to 60 digits."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tools.torture._examples import examples
from tools.torture._runner import Fault, Machine
from tools.torture.numerics import FAMILIES, SCALES, SEEDS, spd

__all__ = ["MACHINE"]

_EXAMPLES = 20


def _mp_kld(mp: Any, m1: Any, s1: Any, m2: Any, s2: Any) -> Any:
    """Return the divergence of Gaussians of one dimension or several, in mpmath."""
    inverse = s2**-1
    delta = m1 - m2
    product = inverse * s1
    trace = sum(product[i, i] for i in range(product.rows))
    square = (delta.T * inverse * delta)[0]
    return (trace + square - product.rows + mp.log(mp.det(s2) / mp.det(s1))) / 2


@examples(
    seed=SEEDS,
    family=st.sampled_from(FAMILIES),
    n_classes=st.integers(2, 3),
    dim=st.integers(1, 3),
    apart=st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 1.0, 30.0, 1e5]),
    near=st.sampled_from([0.0, 1e-12, 1e-6, 0.1, 1.0]),
    condition=st.sampled_from([1.0, 1e3, 1e8]),
    scale=SCALES,
    offset=st.sampled_from([0.0, 1e3]),
    alpha=st.sampled_from([0.1, 1.0, 10.0]),
)
def _mpmath(
    *,
    seed: int,
    family: tuple[str, bool],
    n_classes: int,
    dim: int,
    apart: float,
    near: float,
    condition: float,
    scale: float,
    offset: float,
    alpha: float,
) -> None:
    import mpmath as mp

    from fpigauss import ClassGaussians, critical_lam

    mp.mp.dps = 60
    rng = np.random.default_rng(seed)
    scale = min(scale, 1e145)  # the squares of the means are numbers
    name, tied = family
    n = 1 if tied else n_classes
    base = spd(rng, 1, dim, condition) if name == "dense" else None
    if base is None:
        base = condition ** rng.uniform(-0.5, 0.5, (1, dim))
    matrices = base * np.exp(near * rng.standard_normal((n, *([1] * (base.ndim - 1)))))
    if name == "isotropic":
        matrices = matrices[:, 0]
    means = scale * (apart * rng.standard_normal((n_classes, dim)) + offset)
    covariances = scale * (scale * (matrices[0] if tied else matrices))
    gaussians = ClassGaussians(means, covariances, covariance=name, tied=tied)
    _check_divergences(mp, gaussians, condition, abs(np.log(scale)))
    z = means[:1] + scale * rng.standard_normal((2, dim)) * rng.choice([0.0, 1.0, 1e3])
    _check_densities(mp, gaussians, z, condition)
    bound = critical_lam(n_classes, alpha, covariance=name, tied=tied, dim=dim)
    exact = n_classes * mp.mpf(alpha) * mp.exp(1 / mp.mpf(alpha)) / 2
    exact *= dim if name == "isotropic" else 1
    if not tied and abs(bound - exact) > 1e-14 * exact:
        raise Fault(f"critical_lam is {bound}, in mpmath {exact}")


def _noise(gaussians: Any, condition: float) -> float:
    """Return by how many roundings of 1e-2 dense matrices are worse than others."""
    return condition if gaussians.family.name == "dense" else 0.0


def _check_divergences(mp: Any, gaussians: Any, condition: float, log_scale: float) -> None:
    from fpigauss import pairwise_kld

    found = pairwise_kld(gaussians)
    full = [_full(mp, gaussians, k) for k in range(gaussians.n_classes)]
    points = [mp.matrix(m.tolist()) for m in gaussians.means]
    for i, j in itertools.permutations(range(gaussians.n_classes), 2):
        wanted = _mp_kld(mp, points[i], full[i], points[j], full[j])
        # the root of a divergence is a distance, and off by some roundings of one; where matrices
        # are dense, times their condition; and differences are taken of log-determinants
        distance = mp.sqrt(abs(wanted))
        noise = 1e-12 * abs(wanted) + 1e-14 * distance + 1e-300
        noise += 1e-15 * gaussians.dim * log_scale
        noise += 1e-14 * _noise(gaussians, condition) * (abs(wanted) + distance)
        if not abs(found[i, j] - wanted) <= noise:
            raise Fault(f"the divergence {found[i, j]} is in mpmath {mp.nstr(wanted, 17)}")


def _check_densities(mp: Any, gaussians: Any, z: Any, condition: float) -> None:
    log_prob = gaussians.class_log_prob(z)
    # densities may be those of inputs that are moved by roundings of the largest of them
    rounding = 4.0 * np.finfo(np.float64).eps * max(np.abs(z).max(), np.abs(gaussians.means).max())
    for i, k in itertools.product(range(len(z)), range(gaussians.n_classes)):
        matrix = _full(mp, gaussians, k)
        delta = mp.matrix(z[i].tolist()) - mp.matrix(gaussians.means[k].tolist())
        slopes = matrix**-1 * delta
        square = (delta.T * slopes)[0]
        wanted = -(square + mp.log(mp.det(matrix)) + gaussians.dim * mp.log(2 * mp.pi)) / 2
        size = square * (1 + 1e-2 * _noise(gaussians, condition)) + gaussians.dim * 1e3
        moved = mp.mpf(float(rounding)) * mp.norm(slopes, 1)
        if not abs(log_prob[i, k] - wanted) <= 1e-12 * size + moved:
            raise Fault(f"the log-density {log_prob[i, k]} is in mpmath {mp.nstr(wanted, 17)}")


def _full(mp: Any, gaussians: Any, k: int) -> Any:
    """Return a covariance matrix in mpmath."""
    value = np.asarray(gaussians.covariances)
    value = value if gaussians.family.tied else value[k]
    if gaussians.family.name == "dense":
        return mp.matrix(value.tolist())
    axes = np.broadcast_to(value, (gaussians.dim,))
    return mp.diag([mp.mpf(float(v)) for v in axes])


def trial(number: int, _: Path) -> Iterator[str]:
    """Run some examples."""
    _mpmath(number, _EXAMPLES)
    yield "examples"


MACHINE = Machine(
    what=f"{_EXAMPLES} sets of Gaussians, in float64 and in mpmath",
    trial=trial,
    quick=8,
    full=1500,
    imports=("fpigauss", "mpmath"),
    seconds=60.0,
)
