"""The geometric mean of positive definite matrices."""

from typing import Any, overload

import numpy as np

from fpigauss._array.checks import check_finite, check_number, check_range
from fpigauss._array.flags import unflagged
from fpigauss._array.linalg import first_asymmetric, first_not_positive_definite, geodesic
from fpigauss._array.namespaces import as_floating, cast_like, namespace, precise, working_dtype
from fpigauss._array.typing import Array, HostArray, NumpyArray, TensorT
from fpigauss.errors import InvalidInputError

__all__ = ["geometric_mean"]


@overload
def geometric_mean(A: HostArray, B: Any, t: float = 0.5) -> NumpyArray: ...


@overload
def geometric_mean(A: TensorT, B: Any, t: float = 0.5) -> TensorT: ...


@overload
def geometric_mean(A: Any, B: Any, t: float = 0.5) -> Any: ...


@unflagged
def geometric_mean(A: Any, B: Any, t: float = 0.5) -> Array:
    r"""Compute A #_t B, the weighted geometric mean of symmetric positive definite matrices.

    This is the point at ``t`` on the geodesic from A to B::

        A #_t B = A^1/2 (A^-1/2 B A^-1/2)^t A^1/2.

    The mean A #_1/2 B is the only positive definite X with X A^-1 X = B, so that A^-1 # B solves
    X A X = B: Eq. 6 of the paper. It is computed from two Cholesky factors and a singular value
    decomposition, in float64 where the device supports it: no square root of a matrix is formed,
    and few digits are lost where A and B are ill-conditioned. It is differentiable in torch, also
    where A and B are equal or proportional; there, second derivatives are NaN.

    Parameters
    ----------
    A, B : (..., d, d) array
        Symmetric positive definite; leading axes are broadcast.
    t : float
        0 gives A, 1 gives B; any finite number is allowed.

    Returns
    -------
    (..., d, d) array
        Exactly symmetric, in the namespace, device and dtype of ``A``.

    Raises
    ------
    InvalidInputError
        If a matrix is not square, finite, symmetric and positive definite; the message names its
        index.

    See Also
    --------
    pairwise_kld : divergences of Gaussians.

    Examples
    --------
    >>> import numpy as np
    >>> from fpigauss import geometric_mean
    >>> geometric_mean(np.diag([1.0, 4.0]), np.diag([4.0, 4.0])).round(12)
    array([[2., 0.],
           [0., 4.]])
    """
    given = as_floating(A, "A")
    a = precise(given)
    b = cast_like(as_floating(B, "B"), a)
    exponent = check_number(t, "t")
    xp = namespace(a)
    for name, x in [("A", a), ("B", b)]:
        _check_matrices(x, name)
    if a.shape[-1] != b.shape[-1]:
        raise InvalidInputError(
            f"A is of size {a.shape[-1]} and B of size {b.shape[-1]}; pass matrices of equal size"
        )
    try:
        shape = np.broadcast_shapes(tuple(a.shape), tuple(b.shape))
    except ValueError:
        raise InvalidInputError(
            f"A and B have leading axes {tuple(a.shape[:-2])} and {tuple(b.shape[:-2])}, which "
            "cannot be broadcast; pass as many matrices of one as of the other, or a single one"
        ) from None
    dtype = working_dtype(a)
    a_work = xp.broadcast_to(xp.astype(a, dtype, copy=False), shape)
    b_work = xp.broadcast_to(xp.astype(b, dtype, copy=False), shape)
    mean = geodesic(a_work, b_work, exponent)
    check_range(xp.linalg.diagonal(mean), given, f"A #_t B at t={exponent:g}")
    return cast_like(mean, given)


def _check_matrices(x: Array, name: str) -> None:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or 0 in x.shape:
        raise InvalidInputError(
            f"{name} has shape {tuple(x.shape)}; pass square matrices (..., d, d)"
        )
    check_finite(x, name)
    xp = namespace(x)
    batch = xp.reshape(xp.astype(x, working_dtype(x), copy=False), (-1, *x.shape[-2:]))
    asymmetric = first_asymmetric(xp.reshape(x, (-1, *x.shape[-2:])))
    if asymmetric is not None:
        raise InvalidInputError(
            f"{name} is not symmetric (matrix {asymmetric}); pass ({name} + {name}') / 2"
        )
    index = first_not_positive_definite(batch)
    if index is not None:
        raise InvalidInputError(
            f"{name} is not positive definite (matrix {index}); add a multiple of the identity"
        )
