"""Units of the data, so that squares of very large and very small numbers are numbers."""

import math

from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array

__all__ = ["unit_near"]


def unit_near(x: Array) -> Array:
    """Round positive ``x`` to powers of two, which numbers are multiplied by without rounding.

    They are far apart, 2^64 in float64 and 2^8 in float32: for numbers of ordinary size it is one.
    """
    xp = namespace(x)
    largest = math.frexp(float(xp.finfo(x.dtype).max))[1]
    step = largest // 16
    steps = xp.round(xp.log2(x) / step)
    most = xp.full_like(steps, 15.0)  # one more is beyond the range
    return 2.0 ** (step * xp.maximum(xp.minimum(steps, most), -most))
