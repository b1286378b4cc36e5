"""Units of the data, so that squares of very large and very small numbers are numbers."""

import math

from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array

__all__ = ["are_near_one", "unit_near"]


def unit_near(x: Array) -> Array:
    """Round positive ``x`` to powers of two, which numbers are multiplied by without rounding.

    They are far apart, 2^64 in float64 and 2^8 in float32: for numbers of ordinary size it is one.
    """
    xp, step = namespace(x), _step(x)
    steps = xp.round(xp.log2(x) / step)
    most = xp.full_like(steps, 15.0)  # one more is beyond the range
    return 2.0 ** (step * xp.maximum(xp.minimum(steps, most), -most))


def are_near_one(x: Array) -> Array:
    """Say whether ``unit_near`` is one for every number between those of ``x``, at less cost."""
    reach = 2.0 ** (0.5 * _step(x))
    return namespace(x).all((x >= 1.0 / reach) & (x <= reach))


def _step(x: Array) -> int:
    """Return the exponent of two by which units are apart."""
    return math.frexp(float(namespace(x).finfo(x.dtype).max))[1] // 16
