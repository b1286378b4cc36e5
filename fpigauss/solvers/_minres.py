"""MINRES: a symmetric system, definite or not, from its products alone.

Paige & Saunders (1975), with a positive definite preconditioner. It is written here because the
numbers of its Lanczos process, which tell the curvature, are needed too, and because vectors stay
in their namespace and on their device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.linalg import eigvalsh_tridiagonal

from fpigauss._array.linalg import dot
from fpigauss._array.namespaces import namespace, on_host
from fpigauss._array.typing import Array

__all__ = ["Solved", "solve_symmetric"]

Product: TypeAlias = Callable[[Array], Array]

#: How often the residual is computed anew, and solved for, before the answer is taken as it is.
_REFINEMENTS = 4


@dataclass(frozen=True)
class Solved:
    """A solution x of A x = b, and what was seen of A."""

    x: Array
    #: |b - A x| / |b|, in the norm of the preconditioner.
    residual: float
    n_products: int
    #: Estimates of the smallest and the largest eigenvalue of the preconditioned A, and of the
    #: smallest in size, over what b has a part in.
    lowest: float
    highest: float
    nearest_zero: float


def solve_symmetric(
    product: Product, b: Array, precondition: Product, *, rtol: float, max_products: int
) -> Solved:
    """Solve A x = b for a flat ``b``.

    The answer is refined until its true residual is at most ``rtol``, or no longer falls.
    """
    scale = _scale(b)
    b = b / scale
    x, rest = 0.0 * b, b
    size, left = _norm(b, precondition), max_products
    relative, spectrum = (1.0, np.ones(1)) if size > 0.0 else (0.0, np.ones(1))
    for turn in range(_REFINEMENTS):
        if relative <= rtol or left <= 0:
            break
        part_rtol = max(0.3 * rtol / relative, 1e-14)
        part = _minres(product, rest, precondition, rtol=part_rtol, limit=left)
        left -= part.n_products + 1
        ahead = x + part.x
        rest_ahead = b - product(ahead)
        after = _norm(rest_ahead, precondition) / size
        if turn == 0:
            spectrum = part.spectrum
        if not after < relative:
            break
        x, rest, fell, relative = ahead, rest_ahead, after / relative, after
        if fell > 0.5:
            break
    return Solved(
        scale * x,
        relative,
        max_products - left,
        float(spectrum.min()),
        float(spectrum.max()),
        float(np.abs(spectrum).min()),
    )


@dataclass(frozen=True)
class _Pass:
    x: Array
    n_products: int
    spectrum: np.ndarray[tuple[int], np.dtype[np.float64]]


def _minres(product: Product, b: Array, precondition: Product, *, rtol: float, limit: int) -> _Pass:
    """Run the recurrences from zero until their residual has fallen to ``rtol`` of ``b``."""
    zero = 0.0 * b
    x, before, v, z = zero, zero, b, precondition(b)
    w, w_before = zero, zero
    gamma_before, gamma = 1.0, math.sqrt(max(0.0, *on_host(dot(z, v))))
    eta = start = gamma
    (c_before, c), (s_before, s) = (1.0, 1.0), (0.0, 0.0)
    diagonal: list[float] = []
    off: list[float] = []
    while len(diagonal) < limit and abs(eta) > rtol * start and gamma > 0.0:
        z = z / gamma
        az = product(z)
        (delta,) = on_host(dot(az, z))
        ahead = az - (delta / gamma) * v - (gamma / gamma_before) * before
        z_ahead = precondition(ahead)
        gamma_ahead = math.sqrt(max(0.0, *on_host(dot(z_ahead, ahead))))
        a0 = c * delta - c_before * s * gamma
        a1 = math.hypot(a0, gamma_ahead)
        a2 = s * delta + c_before * c * gamma
        a3 = s_before * gamma
        diagonal.append(delta)
        off.append(gamma_ahead)
        if not 0.0 < a1 < math.inf:  # A is singular, or has overflowed
            break
        c_before, c, s_before, s = c, a0 / a1, s, gamma_ahead / a1
        w, w_before = (z - a3 * w_before - a2 * w) / a1, w
        x = x + (c * eta) * w
        eta = -s * eta
        before, v, z = v, ahead, z_ahead
        gamma_before, gamma = gamma, gamma_ahead
    if not (diagonal and np.isfinite(diagonal).all() and np.isfinite(off).all()):
        return _Pass(x, len(diagonal), np.zeros(1))
    spectrum = eigvalsh_tridiagonal(np.asarray(diagonal), np.asarray(off[:-1]))
    return _Pass(x, len(diagonal), spectrum)


def _scale(b: Array) -> float:
    """Return the power of two at the largest entry: squares of very small ones would be zero."""
    xp = namespace(b)
    (largest,) = on_host(xp.max(xp.abs(b)))
    return 2.0 ** (math.frexp(largest)[1] - 1) if 0.0 < largest < math.inf else 1.0


def _norm(b: Array, precondition: Product) -> float:
    return math.sqrt(max(0.0, *on_host(dot(precondition(b), b))))
