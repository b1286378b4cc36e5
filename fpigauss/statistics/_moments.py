"""Counts, means and covariances of the classes of an array: one pass, in pieces that stay in cache.

Sums are taken about a row of the class, which is as far from the mean as its rows are, not as far
as the origin. If that row is an outlier, the sums are taken again, about the mean. Parts are merged
as in Chan, Golub & LeVeque (1983).
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from fpigauss._array.blocks import blocks
from fpigauss._array.flags import unflagged
from fpigauss._array.labels import grouped
from fpigauss._array.linalg import eye_like, symmetrized, transposed
from fpigauss._array.namespaces import device_of, namespace, working_dtype
from fpigauss._array.typing import Array

__all__ = ["ClassMoments", "class_moments", "merged"]

#: Bytes of samples that are gathered at a time, so that they stay in a core's cache,
_PIECE_BYTES = 2**19
#: but no fewer rows than repay the call; more for the products of dense covariances.
_PIECE_ROWS = 64
_DENSE_ROWS = 512
#: Classes whose sums become moments together: few, so that these stay in cache too.
_CLASSES_TOGETHER = 16
#: Sums about a point lose no more digits than those of this many variances.
_FARTHEST = 1e4
#: Below this many numbers, threads cost more than they gain.
_THREADED_SIZE = 2**22

_Rows = np.ndarray[Any, np.dtype[Any]]


class ClassMoments(NamedTuple):
    """Sum of weights, mean and mean outer product about the mean; of one part or of K classes."""

    count: Array
    mean: Array
    covariance: Array


def class_moments(
    z: Array, codes: _Rows, weights: Array | None, n_classes: int, *, dense: bool
) -> ClassMoments:
    """Compute the moments of ``n_classes`` classes of ``z`` (N, d), zeros where one has no rows."""
    xp = namespace(z)
    groups = grouped(codes)
    present = np.asarray([code for code, _ in groups])
    parts = _shared_out(z, [rows for _, rows in groups], weights, dense=dense)
    columns = zip(*parts, strict=True)
    if len(groups) == n_classes:
        return ClassMoments(*(xp.concat(column) for column in columns))
    position = np.full(n_classes, len(groups))
    position[present] = np.arange(len(groups))
    index = xp.asarray(position, device=device_of(z))
    padded = (xp.concat([*column, xp.zeros_like(column[0][:1, ...])]) for column in columns)
    return ClassMoments(*(xp.take(x, index, axis=0) for x in padded))


def _shared_out(
    z: Array, members: Sequence[_Rows], weights: Array | None, *, dense: bool
) -> list[ClassMoments]:
    """Compute the moments of a few classes at a time, by several threads if there is much to do.

    numpy computes outside the interpreter's lock, and each class is summed in the same order
    whichever thread does it.
    """
    n_threads = 1
    if isinstance(z, np.ndarray) and z.size >= _THREADED_SIZE and not dense:
        n_threads = min(os.cpu_count() or 1, len(members))
    fitting = max(_DENSE_ROWS if dense else _PIECE_ROWS, _PIECE_BYTES // (8 * z.shape[1]))
    piece_rows = min(fitting, max(rows.shape[0] for rows in members))
    together = min(_CLASSES_TOGETHER, -(-len(members) // n_threads))
    places = list(blocks(len(members), 1, together))

    @unflagged  # a thread has flags of its own
    def of_share(share: Sequence[slice]) -> list[ClassMoments]:
        workspace = _Workspace.of(z, piece_rows)
        return [_moments(workspace, members[place], weights, dense=dense) for place in share]

    if n_threads == 1:
        return of_share(places)
    with ThreadPoolExecutor(n_threads) as threads:
        results = list(threads.map(of_share, [places[i::n_threads] for i in range(n_threads)]))
    return [results[i % n_threads][i // n_threads] for i in range(len(places))]


def _moments(
    workspace: "_Workspace", members: Sequence[_Rows], weights: Array | None, *, dense: bool
) -> ClassMoments:
    """Compute the moments of a few classes, each summed about its first row."""
    z = workspace.z
    xp = namespace(z)
    firsts = xp.asarray(np.stack([rows[0] for rows in members]), device=device_of(z))
    shifts = xp.astype(xp.take(z, firsts, axis=0), working_dtype(z))
    moments = _moments_about(shifts, workspace, members, weights, dense=dense)
    variances = xp.linalg.diagonal(moments.covariance) if dense else moments.covariance
    offsets = moments.mean - shifts
    # squares about an outlier lose the digits of its squared distance: sum about the mean instead
    far = xp.any(offsets * offsets > _FARTHEST * variances, axis=1)
    if not bool(xp.any(far)):
        return moments
    nearer = _moments_about(moments.mean, workspace, members, weights, dense=dense)
    return ClassMoments(*(_chosen(far, *pair) for pair in zip(nearer, moments, strict=True)))


def _moments_about(
    shifts: Array,
    workspace: "_Workspace",
    members: Sequence[_Rows],
    weights: Array | None,
    *,
    dense: bool,
) -> ClassMoments:
    """Compute the moments of a few classes from sums of x - shift and its squares."""
    xp = namespace(shifts)
    sums = [
        _sums(workspace, shifts[k, :], rows, weights, dense=dense) for k, rows in enumerate(members)
    ]
    count, total, squares = (xp.stack(column) for column in zip(*sums, strict=True))
    scale = xp.where(count > 0.0, count, xp.ones_like(count))[:, None]
    offset = total / scale
    if dense:
        between = offset[:, :, None] * offset[:, None, :]
        covariance = _without_negative(symmetrized(squares) / scale[..., None] - between)
    else:
        # rounding alone can leave a tiny negative number
        covariance = xp.abs(squares / scale - offset * offset)
    return ClassMoments(count, shifts + offset, covariance)


def _without_negative(covariance: Array) -> Array:
    """Replace variances that rounding alone made negative by zero, in (n, d, d)."""
    xp = namespace(covariance)
    variances = xp.linalg.diagonal(covariance)
    if not bool(xp.any(variances < 0.0)):
        return covariance
    own = eye_like(covariance.shape[-1], covariance) > 0.0
    return xp.where(own & (covariance < 0.0), xp.zeros_like(covariance), covariance)


def _sums(
    workspace: "_Workspace", shift: Array, rows: _Rows, weights: Array | None, *, dense: bool
) -> tuple[Array, Array, Array]:
    """Sum the weights w, w (x - shift), and w (x - shift)(x - shift)' or its diagonal."""
    xp = namespace(shift)
    index = xp.asarray(rows, device=device_of(shift))
    count = 0.0 * shift[0]
    total = 0.0 * shift
    squares = total[:, None] * shift[None, :] if dense else total
    for piece in blocks(rows.shape[0], 1, workspace.n_rows):
        x = workspace.centered(index[piece], shift)  # (n, d)
        w = xp.ones_like(x[:, 0]) if weights is None else xp.take(weights, index[piece])
        count = count + xp.sum(w)
        total = total + w @ x  # sums as products: they run at the speed of the cache
        if dense:
            weighted = x if weights is None else x * w[:, None]
            squares = squares + transposed(weighted) @ x
        else:
            squares = squares + w @ workspace.squares(x)
    return count, total, squares


class _Workspace:
    """Where pieces are gathered and squared: anew each time, or in place for numpy.

    The memory of one piece, used again for the next, stays in cache; fresh memory would cost
    several times the arithmetic.
    """

    def __init__(self, z: Array, n_rows: int) -> None:
        self.z = z
        self.n_rows = n_rows

    @staticmethod
    def of(z: Array, n_rows: int) -> "_Workspace":
        """Make the workspace for pieces of at most ``n_rows`` rows of ``z``."""
        return (_NumpyWorkspace if isinstance(z, np.ndarray) else _Workspace)(z, n_rows)

    def centered(self, index: Array, shift: Array) -> Array:
        """Gather the rows ``index`` of z, minus ``shift``, in the dtype of ``shift``."""
        xp = namespace(self.z)
        return xp.astype(xp.take(self.z, index, axis=0), shift.dtype, copy=False) - shift

    def squares(self, x: Array) -> Array:
        """Compute the squares of ``x``."""
        return x * x


class _NumpyWorkspace(_Workspace):
    def __init__(self, z: Array, n_rows: int) -> None:
        super().__init__(z, n_rows)
        shape = (n_rows, z.shape[1])
        self._gathered = np.empty(shape, z.dtype)
        self._centered, self._squares = np.empty((2, *shape), working_dtype(z))

    def centered(self, index: Array, shift: Array) -> Array:
        gathered, x = self._gathered[: index.shape[0]], self._centered[: index.shape[0]]
        np.take(self.z, index, axis=0, out=gathered, mode="clip")  # "clip": no check, no buffer
        x[...] = gathered
        x -= shift
        return x

    def squares(self, x: Array) -> Array:
        return np.multiply(x, x, out=self._squares[: x.shape[0]])


def _chosen(condition: Array, yes: Array, no: Array) -> Array:
    """Take ``yes`` for the classes where ``condition`` (K,) holds, ``no`` for the others."""
    xp = namespace(yes)
    return xp.where(xp.reshape(condition, (-1,) + (1,) * (yes.ndim - 1)), yes, no)


def merged(a: ClassMoments, b: ClassMoments) -> ClassMoments:
    """Merge the moments of two parts (Chan, Golub & LeVeque 1983); counts () or (K,)."""
    xp = namespace(a.mean)
    count = a.count + b.count
    scale = xp.where(count > 0.0, count, xp.ones_like(count))
    kept, share = (a.count / scale)[..., None], (b.count / scale)[..., None]
    difference = b.mean - a.mean
    mean = a.mean + difference * share
    spread = difference * kept * share
    if a.covariance.ndim > a.mean.ndim:
        kept, share = kept[..., None], share[..., None]
        between = symmetrized(spread[..., :, None] * difference[..., None, :])
    else:
        between = spread * difference
    covariance = a.covariance * kept + b.covariance * share + between
    return ClassMoments(count, mean, covariance)
