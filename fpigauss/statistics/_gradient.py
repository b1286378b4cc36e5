"""The gradient of class moments in the rows that they are taken of."""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fpigauss._array.linalg import apply, inner_products
from fpigauss._array.namespaces import device_of, namespace
from fpigauss._array.typing import Array

if TYPE_CHECKING:
    from fpigauss.statistics._class_statistics import ClassStatistics

__all__ = ["moments_vjp"]

Codes: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def moments_vjp(
    z: Array,
    codes: Codes,
    weights: Array,
    statistics: "ClassStatistics",
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array]:
    """Pull cotangents of counts, means and covariances back to rows (N, d) and weights (N,).

    The rows may be part of those that ``statistics`` are of. With N_y, m_y and C_y of all, a row
    of weight w adds w to N_y, w (z - m_y) / N_y to m_y and w ((z - m_y) (z - m_y)' - C_y) / N_y to
    C_y, to first order in w.
    """
    xp = namespace(z)
    of_counts, of_means, of_covariances = cotangents
    index = xp.asarray(codes, device=device_of(z))
    difference, pull = _pulls(z, codes, statistics.means, of_covariances)
    along = xp.take(of_means, index, axis=0)
    share = 1.0 / xp.take(statistics.counts, index)
    settled = _settled(statistics.covariances, of_covariances)
    growth = inner_products(along + pull, difference) - xp.take(settled, index)
    of_weights = share * growth + xp.take(of_counts, index)
    return (weights * share)[:, None] * (along + 2.0 * pull), of_weights


def _pulls(z: Array, codes: Codes, means: Array, matrices: Array) -> tuple[Array, Array]:
    """Compute z - m_y, and that times the matrix of the class: both (N, d)."""
    xp = namespace(z)
    index = xp.asarray(codes, device=device_of(z))
    if matrices.ndim == 2:
        difference = z - xp.take(means, index, axis=0)
        return difference, xp.take(matrices, index, axis=0) * difference
    # class by class: no array (N, d, d)
    order = np.argsort(codes, kind="stable")
    differences, pulls = [z[:0, :]], [z[:0, :]]
    for code in np.unique(codes).tolist():
        own = xp.asarray(order[codes[order] == code], device=device_of(z))
        differences.append(xp.take(z, own, axis=0) - means[code, :])
        pulls.append(apply(matrices[code : code + 1, ...], differences[-1]))
    back = xp.asarray(np.argsort(order, kind="stable"), device=device_of(z))
    difference, pull = (xp.take(xp.concat(parts), back, axis=0) for parts in (differences, pulls))
    return difference, pull


def _settled(covariances: Array, cotangents: Array) -> Array:
    """Compute the inner products (K,) of covariances with their cotangents."""
    axes = tuple(range(1, covariances.ndim))
    return namespace(covariances).sum(covariances * cotangents, axis=axes)
