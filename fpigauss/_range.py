"""Whether numbers fit a dtype."""

from fpigauss._arrays import namespace
from fpigauss._errors import InvalidInputError
from fpigauss._typing import Array

__all__ = ["check_range"]


def check_range(x: Array, like: Array, name: str, *, positive: bool = True) -> None:
    """Numbers within the range of the dtype of ``like``; ``positive`` ones not below it either."""
    xp = namespace(x)
    own, limits = xp.finfo(x.dtype), namespace(like).finfo(like.dtype)
    fits = xp.abs(x) <= min(float(limits.max), float(own.max))  # False for NaN
    if positive:
        fits = fits & (x >= max(float(limits.smallest_normal), float(own.smallest_normal)))
    if not bool(xp.all(fits)):
        raise InvalidInputError(
            f"{name} do not fit {like.dtype}: they are too large or too small for it; "
            "rescale z, or pass float64"
        )
