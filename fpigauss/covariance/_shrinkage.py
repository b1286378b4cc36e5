"""Shrinkage of class covariances toward their own scaled identity."""

from typing import Literal, TypeAlias

from fpigauss._array.checks import as_number, check_choice
from fpigauss._array.linalg import eye_like, per_class
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.errors import InvalidInputError

__all__ = ["ShrinkageName", "check_shrinkage", "shrunk", "shrunk_vjp"]

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
    rho, level = _part(covariances, counts, shrinkage)
    if covariances.ndim == 2:
        return (1.0 - rho)[:, None] * covariances + (rho * level)[:, None]
    target = (rho * level)[:, None, None] * eye_like(covariances.shape[-1], covariances)
    return (1.0 - rho)[:, None, None] * covariances + target


def _part(covariances: Array, counts: Array, shrinkage: float | str) -> tuple[Array, Array]:
    """Compute rho and tr(C_y) / d of each class (K,)."""
    xp = namespace(covariances)
    level = _traces(covariances) / covariances.shape[-1]
    if not isinstance(shrinkage, str):
        return xp.full_like(level, shrinkage), level
    mean_square, excess = _oas_terms(covariances, counts, level)
    one = xp.ones_like(excess)
    rho = (mean_square + level * level) / xp.where(excess > 0.0, excess, one)
    return xp.where((excess > 0.0) & (rho < 1.0), rho, one), level


def _oas_terms(covariances: Array, counts: Array, level: Array) -> tuple[Array, Array]:
    """Compute the mean square of the entries of C_y, and rho's denominator (K,)."""
    xp, dim = namespace(covariances), covariances.shape[-1]
    axes = (-2, -1) if covariances.ndim == 3 else -1
    mean_square = xp.sum(covariances * covariances, axis=axes) / dim**2
    return mean_square, (counts + 1.0) * (mean_square - level * level / dim)


def _traces(covariances: Array) -> Array:
    xp = namespace(covariances)
    return xp.linalg.trace(covariances) if covariances.ndim == 3 else xp.sum(covariances, axis=-1)


def shrunk_vjp(
    covariances: Array, counts: Array, shrinkage: float | str, cotangents: Array
) -> tuple[Array, Array]:
    """Pull cotangents of the shrunk covariances back to the covariances and the counts."""
    xp, dim = namespace(covariances), covariances.shape[-1]
    if shrinkage == 0.0:
        return cotangents, xp.zeros_like(counts)
    rho, level = _part(covariances, counts, shrinkage)
    axes = tuple(range(1, covariances.ndim))
    of_level, of_counts = rho * _traces(cotangents), xp.zeros_like(counts)
    of_entries = xp.zeros_like(counts)  # a multiple of C_y itself
    if isinstance(shrinkage, str):
        mean_square, excess = _oas_terms(covariances, counts, level)
        free = (excess > 0.0) & (rho < 1.0)
        of_rho = level * _traces(cotangents) - xp.sum(cotangents * covariances, axis=axes)
        of_rho = xp.where(free, of_rho, 0.0 * of_rho)
        safe = xp.where(free, excess, xp.ones_like(excess))
        of_excess = -of_rho * rho / safe
        of_square = of_rho / safe + of_excess * (counts + 1.0)
        of_entries = 2.0 * of_square / dim**2
        of_level = of_level + 2.0 * level * (of_rho / safe - of_excess * (counts + 1.0) / dim)
        of_counts = of_excess * (mean_square - level * level / dim)
    weights = (per_class(x, covariances) for x in (1.0 - rho, of_entries, of_level / dim))
    kept, entries, identity = weights
    one = eye_like(dim, covariances) if covariances.ndim == 3 else xp.ones_like(covariances[:1, :])
    return kept * cotangents + entries * covariances + identity * one, of_counts
