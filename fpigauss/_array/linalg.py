"""Linear algebra on batches of symmetric positive definite (SPD) matrices.

No other module may pick a backend's own kernel.
"""

from typing import Any

import array_api_compat
import numpy as np
from scipy.linalg import solve_triangular as scipy_solve_triangular

from fpigauss._array.namespaces import (
    detached,
    device_of,
    first_true,
    is_differentiated,
    namespace,
)
from fpigauss._array.traced import is_traced
from fpigauss._array.typing import Array

__all__ = [
    "apply",
    "broke_down",
    "cholesky_or_none",
    "dot",
    "eye_like",
    "first_asymmetric",
    "first_not_positive_definite",
    "flattened",
    "geodesic",
    "gram",
    "inner_products",
    "log_softmax",
    "log_sum_exp",
    "lyapunov",
    "matrix_exp",
    "matrix_log",
    "not_positive_definite",
    "per_class",
    "riccati",
    "softmax",
    "solve_lower",
    "squared_norms",
    "symmetrized",
    "transposed",
    "weighted_sum",
    "x_minus_log1p",
]


def transposed(x: Array) -> Array:
    """Transpose the matrices of ``x`` (..., n, m): (..., m, n)."""
    return x.T if x.ndim == 2 else namespace(x).matrix_transpose(x)


def symmetrized(x: Array) -> Array:
    """Compute (X + X') / 2, exactly symmetric."""
    return 0.5 * (x + transposed(x))


def gram(x: Array) -> Array:
    """Compute X X', exactly symmetric."""
    return symmetrized(x @ transposed(x))


def dot(a: Array, b: Array) -> Array:
    """Compute the inner product of two arrays of one shape, which stays on its device."""
    # without an array of products
    return a @ b if a.ndim == 1 else dot(*(namespace(x).reshape(x, (-1,)) for x in (a, b)))


def inner_products(a: Array, b: Array) -> Array:
    """Compute the inner products of the rows of ``a`` and ``b`` (..., d)."""
    # no array of products is written; the linalg one has a kernel of its own in torch
    return namespace(a, b).linalg.vecdot(a, b)


def squared_norms(x: Array) -> Array:
    """Compute the squared Euclidean norms of the rows of ``x`` (..., d)."""
    return inner_products(x, x)


def apply(matrices: Array, vectors: Array) -> Array:
    """Multiply the matrices (n, d, d) by the vectors (K, d), n being K or 1: (K, d)."""
    if matrices.shape[0] == 1:
        return vectors @ transposed(matrices[0, ...])  # one product instead of K
    return (matrices @ vectors[..., None])[..., 0]


def flattened(x: Array) -> Array:
    """Reshape ``x`` (K, ...) to one row per class."""
    return x if x.ndim == 2 else namespace(x).reshape(x, (x.shape[0], -1))


def per_class(numbers: Array, like: Array) -> Array:
    """Shape one number per class (K,) to go with an array like ``like`` (n, ...)."""
    return namespace(numbers).reshape(numbers, (-1,) + (1,) * (like.ndim - 1))


def weighted_sum(weights: Array, x: Array) -> Array:
    """Compute sum_j weights[i, j] x[j, ...], for (n, K) and (K, ...), as one product."""
    if x.ndim == 2:
        return weights @ x
    return namespace(x).reshape(weights @ flattened(x), (weights.shape[0], *x.shape[1:]))


def broke_down(error: Exception) -> bool:
    """Say whether ``error`` means that a factorization does not exist or did not converge.

    Backends raise LinAlgErrors of their own, without a common base class.
    """
    return isinstance(error, np.linalg.LinAlgError) or "LinAlgError" in type(error).__name__


def cholesky_or_none(a: Array) -> Array | None:
    """Compute the lower Cholesky factors of ``a`` (..., d, d), or None if one does not exist."""
    xp = namespace(a)
    try:
        factor = xp.linalg.cholesky(a)
    except Exception as error:
        if broke_down(error):
            return None
        raise
    # some backends raise nothing, and leave numbers behind from where they stopped
    found = xp.all(xp.isfinite(factor)) & xp.all(xp.linalg.diagonal(factor) > 0.0)
    return factor if is_traced(found) or bool(found) else None


def first_not_positive_definite(a: Array) -> int | None:
    """Return the index of the first of ``a`` (K, d, d) without a Cholesky factor, or None."""
    if cholesky_or_none(a) is not None:
        return None
    return next(k for k in range(a.shape[0]) if cholesky_or_none(a[k, ...]) is None)


def not_positive_definite(a: Array) -> Array:
    """Mark those of ``a`` (K, d, d) that have no Cholesky factor: (K,)."""
    xp = namespace(a)
    missing = [cholesky_or_none(a[k, ...]) is None for k in range(a.shape[0])]
    return xp.asarray(missing, dtype=xp.bool, device=device_of(a))


def first_asymmetric(a: Array) -> int | None:
    """Return the index of the first of ``a`` (K, d, d) that is not symmetric, or None."""
    xp = namespace(a)
    scale = xp.max(xp.abs(a), axis=(-2, -1))
    skew = xp.max(xp.abs(a - transposed(a)), axis=(-2, -1))
    # products in the precision of the input are symmetric to a few of its roundings
    return first_true(skew > 100.0 * xp.finfo(a.dtype).eps * scale)


def solve_lower(lower: Array, b: Array) -> Array:
    """Compute L^-1 B for lower triangular ``lower`` (..., d, d) and ``b`` (..., d, m)."""
    xp = namespace(lower, b)
    if array_api_compat.is_numpy_array(lower) and lower.ndim == b.ndim == 2:
        return scipy_solve_triangular(lower, b, lower=True, check_finite=False)
    if hasattr(xp.linalg, "solve_triangular"):
        return xp.linalg.solve_triangular(lower, b, upper=False)
    return xp.linalg.solve(lower, b)  # LU without a pivot is the triangle itself


def riccati(a: Array, b: Array) -> Array:
    r"""Compute the SPD solution X = A^-1 # B of X A X = B, without an inverse.

    With A = L L', B = M M' and the singular value decomposition L' M = U S V'::

        X = (M V S^-1/2) (M V S^-1/2)'.

    Only products and one SVD touch the data, so the relative error grows with the
    condition number of L' M, not with that of A or B squared.

    Parameters
    ----------
    a, b : (..., d, d) array
        Symmetric positive definite matrices.

    Returns
    -------
    (..., d, d) array
        Exactly symmetric.

    Raises
    ------
    numpy.linalg.LinAlgError or the backend's own
        If ``a`` or ``b`` has no Cholesky factor.
    """
    xp = namespace(a, b)
    left, right = xp.linalg.cholesky(a), xp.linalg.cholesky(b)
    _, s, vt = xp.linalg.svd(transposed(left) @ right, full_matrices=False)
    return gram((right @ transposed(vt)) / xp.sqrt(s)[..., None, :])


def geodesic(a: Array, b: Array, t: float) -> Array:
    r"""Compute A #_t B, the point at ``t`` on the affine-invariant geodesic from A to B.

    With A = L L', B = M M' and L^-1 M = U S V'::
        A #_t B = (L U S^t) (L U S^t)'.

    Singular vectors have no derivative where singular values are equal, though the mean has one:
    there it is taken from the divided differences of x^t (Daleckii & Krein 1965).
    """
    xp = namespace(a, b)
    left, right = xp.linalg.cholesky(a), xp.linalg.cholesky(b)
    inner = solve_lower(left, right)
    u, s, _ = xp.linalg.svd(inner, full_matrices=False)
    if not (is_differentiated(inner) and _has_equal(s)):
        return gram((left @ u) * (s**t)[..., None, :])
    u, s = detached(u), detached(s)
    axes = left @ u
    # zero, with the derivative of U' (L^-1 B L^-T) U in the fixed frame U
    change = transposed(u) @ (gram(inner) - gram(detached(inner))) @ u
    # A fixed frame has the first derivative only; this makes the second NaN instead of wrong.
    change = change + xp.sum(xp.abs(change) ** 1.5)
    mean = gram(axes * (s**t)[..., None, :])
    return mean + symmetrized(axes @ (change * _divided_differences(s, t)) @ transposed(axes))


def _has_equal(s: Array) -> bool:
    """Say whether of descending ``s`` (..., d) two are equal, or too close to divide by."""
    xp = namespace(s)
    close = float(xp.finfo(s.dtype).eps) ** 0.4
    return bool(xp.any(s[..., :-1] - s[..., 1:] <= close * s[..., :-1]))


def _divided_differences(s: Array, t: float) -> Array:
    """Compute (x_i^t - x_j^t) / (x_i - x_j) of x = s^2 (..., d, d), and t x^(t-1) where equal."""
    xp = namespace(s)
    logs = xp.log(s)
    gap = logs[..., :, None] - logs[..., None, :]
    one = xp.ones_like(gap)
    safe = xp.where(gap == 0.0, one, gap)
    ratio = xp.where(gap == 0.0, t * one, xp.sinh(t * safe) / xp.sinh(safe))
    return ratio * (s[..., :, None] * s[..., None, :]) ** (t - 1.0)


def lyapunov(a: Array, q: Array) -> Array:
    """Solve X A + A X = 2 Q for symmetric X, given SPD ``a`` and symmetric ``q`` (..., d, d)."""
    xp = namespace(a, q)
    values, vectors = xp.linalg.eigh(a)
    inner = transposed(vectors) @ q @ vectors
    inner = 2.0 * inner / (values[..., :, None] + values[..., None, :])
    return symmetrized(vectors @ inner @ transposed(vectors))


def matrix_log(x: Array) -> Array:
    """Compute the symmetric logarithm of SPD matrices (..., d, d)."""
    xp = namespace(x)
    values, vectors = xp.linalg.eigh(x)
    return symmetrized((vectors * xp.log(values)[..., None, :]) @ transposed(vectors))


def matrix_exp(s: Array) -> Array:
    """Compute the exponential of symmetric matrices (..., d, d)."""
    xp = namespace(s)
    values, vectors = xp.linalg.eigh(s)
    return (vectors * xp.exp(values)[..., None, :]) @ transposed(vectors)


def x_minus_log1p(x: Array, log1p: Array) -> Array:
    """Compute the excess x - log(1 + x), given a ``log1p`` that is accurate away from zero.

    Near zero it uses log1p(x) = 2 artanh(r), r = x / (2 + x), so that x - 2 r = x r.
    """
    xp = namespace(x)
    small = xp.abs(x) < 0.1
    safe = xp.where(small, x, xp.zeros_like(x))
    r = safe / (2.0 + safe)
    r2 = r * r
    tail = 0.0 * r2
    for power in (13, 11, 9, 7, 5, 3):  # the next term is below 1e-17 of the whole
        tail = 1.0 / power + r2 * tail
    return xp.where(small, safe * r - 2.0 * r * r2 * tail, x - log1p)


def log_sum_exp(x: Array) -> Array:
    """Compute the log of sum_k exp x[..., k], without overflow."""
    xp = namespace(x)
    top = _finite_maximum(x)
    return xp.log(xp.sum(xp.exp(x - top), axis=-1)) + top[..., 0]


def softmax(x: Array) -> Array:
    """Compute the shares exp x[..., k] / sum_k exp x[..., k], without overflow.

    The shares are equal where every ``x`` is minus infinity.
    """
    xp, x = namespace(x), _equal_where_lost(x)
    grown = xp.exp(x - _finite_maximum(x))
    return grown / xp.sum(grown, axis=-1, keepdims=True)


def log_softmax(x: Array) -> Array:
    """Compute the logs of ``softmax``, small shares without underflow."""
    x = _equal_where_lost(x)
    return x - log_sum_exp(x)[..., None]


def _equal_where_lost(x: Array) -> Array:
    """Return ``x``, and zeros for rows that are minus infinity throughout."""
    xp = namespace(x)
    lost = xp.all(xp.isinf(x), axis=-1, keepdims=True)
    return xp.where(lost, xp.zeros_like(x), x)


def _finite_maximum(x: Array) -> Array:
    """Return the largest ``x`` along the last axis, which is kept; 0 for minus infinity."""
    xp = namespace(x)
    top = xp.max(x, axis=-1, keepdims=True)
    return xp.where(xp.isinf(top), xp.zeros_like(top), top)


def eye_like(dim: int, like: Array) -> Array:
    """Make the (dim, dim) identity in the namespace, dtype and device of ``like``."""
    xp = namespace(like)
    identity: Any = xp.eye(dim, dtype=like.dtype, device=array_api_compat.device(like))
    return identity
