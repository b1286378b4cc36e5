"""Counts, means and covariances of the classes of an array: one pass, in pieces that stay in cache.

Sums are taken about the origin if many samples lie around it, else about a row of the class, which
is as far from the mean as its rows are. Where a class is far from that point for its variance, its
sums are taken again, about the mean. Parts are merged as in Chan, Golub & LeVeque (1983).
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from queue import SimpleQueue
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
#: or on an accelerator, where each call costs as much as many rows,
_PIECE_BYTES_AWAY = 2**27
#: but no fewer rows than repay the calls; more for the products of dense covariances.
_PIECE_ROWS = 16
_DENSE_ROWS = 512
#: Bytes of sums that become moments together, so that these stay in cache too.
_TOGETHER_BYTES = 2**17
#: Portions of work per thread: more than one, so that a slow thread is not waited for.
_SHARES = 8
#: Sums about a point lose no more digits than those of this many variances.
_FARTHEST = 1e4
#: How often they are summed again at most: a mean that is taken about a far outlier is off by its
#: rounding.
_REPEATS = 2
#: Samples lie around the origin if that many of them, spread over all, are closer than this.
_SAMPLED = 32
_NEAR = 1e2
#: Below this many numbers, threads and a look at the samples cost more than they gain.
_THREADED_SIZE = 2**20

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
    many = math.prod(z.shape) >= _THREADED_SIZE
    if isinstance(z, np.ndarray) and many and not dense:
        n_threads = min(_n_cores(), len(members))
    piece_bytes = _PIECE_BYTES if isinstance(z, np.ndarray) else _PIECE_BYTES_AWAY
    fitting = max(_DENSE_ROWS if dense else _PIECE_ROWS, piece_bytes // (8 * z.shape[1]))
    piece_rows = min(fitting, max(rows.shape[0] for rows in members))
    together = _TOGETHER_BYTES // (8 * z.shape[1] * (z.shape[1] if dense else 1))
    if n_threads > 1:
        together = min(together, len(members) // (_SHARES * n_threads))
    places = blocks(len(members), 1, together)
    around_origin = many and _lie_around_origin(z)
    workspaces: SimpleQueue[_Workspace] = SimpleQueue()
    for _ in range(n_threads):
        workspaces.put(_Workspace.of(z, piece_rows))

    @unflagged  # a thread has flags of its own
    def of_place(place: slice) -> ClassMoments:
        workspace = workspaces.get()
        try:
            shifts = None if around_origin else _first_rows(z, members[place])
            return _moments(workspace, shifts, members[place], weights, dense=dense)
        finally:
            workspaces.put(workspace)

    if n_threads == 1:
        return [of_place(place) for place in places]
    with ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(of_place, places))


def _n_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@unflagged
def _lie_around_origin(z: Array) -> bool:
    """Say whether no axis of ``z`` (N, d) is much farther from 0 than its samples vary."""
    xp = namespace(z)
    some = z[:: max(1, z.shape[0] // _SAMPLED), :]
    some = xp.astype(some, working_dtype(z), copy=False)
    center = xp.mean(some, axis=0)
    spread = xp.mean((some - center) ** 2, axis=0)
    return bool(xp.all((center * center <= _NEAR * spread) & xp.isfinite(spread)))


def _first_rows(z: Array, members: Sequence[_Rows]) -> Array:
    """Take the first row of each class."""
    xp = namespace(z)
    firsts = xp.asarray(np.stack([rows[0] for rows in members]), device=device_of(z))
    return xp.astype(xp.take(z, firsts, axis=0), working_dtype(z))


def _moments(
    workspace: "_Workspace",
    shifts: Array | None,
    members: Sequence[_Rows],
    weights: Array | None,
    *,
    dense: bool,
) -> ClassMoments:
    """Compute the moments of a few classes, summed about ``shifts``, or about the origin."""
    xp = namespace(workspace.z)
    moments = _moments_about(shifts, workspace, members, weights, dense=dense)
    for _ in range(_REPEATS):
        variances = xp.linalg.diagonal(moments.covariance) if dense else moments.covariance
        offsets = moments.mean if shifts is None else moments.mean - shifts
        # squares about a far point lose the digits of its squared distance: sum about the mean
        far = xp.any(offsets * offsets > _FARTHEST * variances, axis=1)
        if not bool(xp.any(far)):
            break
        shifts = moments.mean
        nearer = _moments_about(shifts, workspace, members, weights, dense=dense)
        pairs = zip(nearer, moments, strict=True)
        moments = ClassMoments(*(_chosen(far, *pair) for pair in pairs))
    return moments


def _moments_about(
    shifts: Array | None,
    workspace: "_Workspace",
    members: Sequence[_Rows],
    weights: Array | None,
    *,
    dense: bool,
) -> ClassMoments:
    """Compute the moments of a few classes from sums of x - shift and its squares."""
    xp = namespace(workspace.z)
    each = [None] * len(members) if shifts is None else [shifts[k, :] for k in range(len(members))]
    sums = [
        _sums(workspace, shift, rows, weights, dense=dense)
        for shift, rows in zip(each, members, strict=True)
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
    return ClassMoments(count, offset if shifts is None else shifts + offset, covariance)


def _without_negative(covariance: Array) -> Array:
    """Replace variances that rounding alone made negative by zero, in (n, d, d)."""
    xp = namespace(covariance)
    variances = xp.linalg.diagonal(covariance)
    if not bool(xp.any(variances < 0.0)):
        return covariance
    own = eye_like(covariance.shape[-1], covariance) > 0.0
    return xp.where(own & (covariance < 0.0), xp.zeros_like(covariance), covariance)


def _sums(
    workspace: "_Workspace", shift: Array | None, rows: _Rows, weights: Array | None, *, dense: bool
) -> tuple[Array, Array, Array]:
    """Sum the weights w, w (x - shift), and w (x - shift)(x - shift)' or its diagonal."""
    xp = namespace(workspace.z)
    index = xp.asarray(rows, device=device_of(workspace.z))

    def of_piece(piece: slice) -> tuple[Any, Array, Array]:
        weighted = x = workspace.centered(index[piece], shift)  # (n, d)
        count: Any = x.shape[0]
        if weights is not None:
            w = xp.take(weights, index[piece])
            count, weighted = xp.sum(w), workspace.weighted(x, w)
        squares = transposed(weighted) @ x if dense else workspace.column_dots(weighted, x)
        return count, xp.sum(weighted, axis=0), squares

    pieces = map(of_piece, blocks(rows.shape[0], 1, workspace.n_rows))
    count, total, squares = reduce(lambda sums, more: tuple(map(add, sums, more)), pieces)
    return 0.0 * total[0] + count, total, squares


class _Workspace:
    """Where pieces are gathered and weighted: anew each time, or in place for numpy.

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

    def centered(self, index: Array, shift: Array | None) -> Array:
        """Gather the rows ``index`` of z, minus ``shift``, in the dtype that sums are taken in."""
        xp = namespace(self.z)
        x = xp.astype(xp.take(self.z, index, axis=0), working_dtype(self.z), copy=False)
        return x if shift is None else x - shift

    def weighted(self, x: Array, w: Array) -> Array:
        """Multiply the rows of ``x`` (n, d) by ``w`` (n,)."""
        return x * w[:, None]

    def column_dots(self, a: Array, b: Array) -> Array:
        """Compute the inner products of the columns of two arrays (n, d)."""
        return namespace(a).sum(a * b, axis=0)


class _NumpyWorkspace(_Workspace):
    def __init__(self, z: Array, n_rows: int) -> None:
        super().__init__(z, n_rows)
        shape = (n_rows, z.shape[1])
        self._gathered = np.empty(shape, z.dtype)
        self._centered, self._weighted = np.empty((2, *shape), working_dtype(z))

    def centered(self, index: Array, shift: Array | None) -> Array:
        gathered, x = self._gathered[: index.shape[0]], self._centered[: index.shape[0]]
        np.take(self.z, index, axis=0, out=gathered, mode="clip")  # "clip": no check, no buffer
        x[...] = gathered
        if shift is not None:
            x -= shift
        return x

    def weighted(self, x: Array, w: Array) -> Array:
        return np.multiply(x, w[:, None], out=self._weighted[: x.shape[0]])

    def column_dots(self, a: Array, b: Array) -> Array:
        # no array of products, and no BLAS, in which threads would wait for one another
        return np.einsum("ij,ij->j", a, b)


def _chosen(condition: Array, yes: Array, no: Array) -> Array:
    """Take ``yes`` for the classes where ``condition`` (K,) holds, ``no`` for the others."""
    xp = namespace(yes)
    return xp.where(xp.reshape(condition, (-1,) + (1,) * (yes.ndim - 1)), yes, no)


def merged(a: ClassMoments, b: ClassMoments) -> ClassMoments:
    """Merge the moments of two parts (Chan, Golub & LeVeque 1983); counts () or (K,)."""
    xp = namespace(a.mean)
    count = a.count + b.count
    scale = xp.where(count > 0.0, count, xp.ones_like(count))
    # counts that have decayed to zero leave what was there
    kept = xp.where(count > 0.0, a.count / scale, xp.ones_like(scale))[..., None]
    share = (b.count / scale)[..., None]
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
