"""Shrinkage of class covariances toward their own scaled identity."""

from typing import Literal, TypeAlias

from fpigauss._array.checks import as_number, check_choice
from fpigauss._array.linalg import eye_like
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.errors import InvalidInputError

__all__ = ["ShrinkageName", "check_shrinkage", "shrunk"]

ShrinkageName: TypeAlias = Literal["oas"]


def check_shrinkage(value: object, name: str = "shrinkage") -> float | str:
    """Check that ``value`` is a number in [0, 1], or "oas"."""
    if isinstance(value, str):
        return check_choice(value, name, ("oas",), or_else="a number in [0, 1]")
    number = as_number(value, name)
    if not 0.0 <= number <= 1.0:
        raise InvalidInputError(f'{name} is {number:g}; pass a number in [0, 1], or "oas"')
    return number


def shrunk(covariances: Array, counts: Array, shrinkage: float | str) -> Array:
    """Compute (1 - rho) C_y + rho tr(C_y) / d I for class covariances (K, d) or (K, d, d).

    ``shrinkage`` is rho, or "oas" for that of Chen, Wiesel, Eldar & Hero (2010), Eq. 23, with
    n = N_y and without its terms in 2 / d, as in scikit-learn.
    """
    if shrinkage == 0.0:
        return covariances
    xp = namespace(covariances)
    dense = covariances.ndim == 3
    dim = covariances.shape[-1]
    trace = xp.linalg.trace(covariances) if dense else xp.sum(covariances, axis=-1)  # (K,)
    level = trace / dim
    if isinstance(shrinkage, str):
        axes = (-2, -1) if dense else -1
        mean_square = xp.sum(covariances * covariances, axis=axes) / dim**2
        excess = (counts + 1.0) * (mean_square - level * level / dim)
        one = xp.ones_like(excess)
        rho = (mean_square + level * level) / xp.where(excess > 0.0, excess, one)
        rho = xp.where((excess > 0.0) & (rho < 1.0), rho, one)
    else:
        rho = xp.full_like(trace, shrinkage)
    if not dense:
        return (1.0 - rho)[:, None] * covariances + (rho * level)[:, None]
    target = (rho * level)[:, None, None] * eye_like(dim, covariances)
    return (1.0 - rho)[:, None, None] * covariances + target
