"""Statistics of dask arrays: one task per chunk, and a tree of merges. Only this uses dask."""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any, Protocol, Self, TypeVar
from uuid import uuid4

import numpy as np

from fpigauss._array.checks import check_matrix
from fpigauss._array.labels import as_labels
from fpigauss._array.namespaces import as_floating, to_numpy
from fpigauss.errors import InvalidInputError
from fpigauss.statistics._checks import check_n_labels, check_sample_weight

__all__ = ["tree_of"]

#: Parts that one task merges: each level of the tree has an eighth of the tasks of the one below.
_FAN_IN = 8


class _Mergeable(Protocol):
    def merge(self, other: Self, /) -> Self: ...


S = TypeVar("S", bound=_Mergeable)


def tree_of(gather: Callable[[Any, Any, Any], S], z: Any, y: Any, sample_weight: Any) -> S:
    """Run ``gather(z, y, sample_weight)`` on every chunk of rows, by dask, and merge the results.

    The shape of the tree depends only on the chunks: the same sums in the same order, whoever
    computes them and however often.
    """
    try:
        import dask
    except ImportError as error:
        raise ImportError(
            'ClassStatistics.from_dask needs dask: pip install "dask[array,distributed]"'
        ) from error
    z = _checked_latents(z)
    lengths = z.chunks[0]
    arrays = [(z, "ij"), (_in_chunks(y, "y", lengths), "i")]
    if sample_weight is not None:
        arrays.append((_in_chunks(sample_weight, "sample_weight", lengths), "i"))
    gathered = _by_chunks(partial(_gathered, gather), arrays, lengths)
    merge = dask.delayed(_merged, pure=False)
    parts = [part for part, length in zip(gathered, lengths, strict=True) if length > 0]
    while len(parts) > 1:
        parts = [merge(*parts[i : i + _FAN_IN]) for i in range(0, len(parts), _FAN_IN)]
    (result,) = dask.compute(parts[0])
    merged: S = result
    return merged


def _by_chunks(
    function: Callable[..., Any], arrays: list[tuple[Any, str]], lengths: tuple[int, ...]
) -> list[Any]:
    """Call ``function(first_row, *chunks)`` for each chunk of rows: one delayed result per chunk.

    A blockwise operation is one task with those that made its chunks, where these are blockwise
    too: latents are gathered by the worker that read them. As a task of its own, a call would at
    times be sent to another worker, with all of its latents.
    """
    import dask.array as da

    starts = np.cumsum([0, *lengths[:-1]])
    arrays = [(da.from_array(starts, chunks=1, name=False), "i"), *arrays]
    results = da.blockwise(
        function,
        "ij",
        *(x for pair in arrays for x in pair),
        name=f"class-statistics-{uuid4().hex}",
        dtype=object,
        meta=np.empty((0, 0), dtype=object),
        align_arrays=False,
    )
    return list(results.to_delayed().ravel())


def _gathered(
    gather: Callable[[Any, Any, Any], S], start: Any, z: Any, y: Any, sample_weight: Any = None
) -> S | None:
    """Gather a chunk's part, None if it is empty; its errors name the chunk."""
    if z.shape[0] == 0:
        return None
    try:
        return gather(z, y, sample_weight)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"chunk of z from row {int(start[0])} (rows are counted from there): {error}"
        ) from error


def _merged(*parts: S) -> S:
    """Merge the parts from left to right."""
    return reduce(lambda merged, part: merged.merge(part), parts)


def _checked_latents(z: Any) -> Any:
    """Check a dask array (N, d) of real numbers; return it in chunks of whole rows."""
    import dask.array as da

    if not isinstance(z, da.Array):
        raise InvalidInputError(
            f"z is a {type(z).__name__}, but from_dask takes a dask array; "
            "pass dask.array.from_array(z), a frame's z.to_dask_array(lengths=True), "
            "or z to from_samples"
        )
    _check_known_chunks(z, "z")
    check_matrix(z, "z")
    as_floating(z._meta, "z")
    return z.rechunk({1: -1})


def _in_chunks(x: Any, name: str, lengths: tuple[int, ...]) -> Any:
    """Return labels or weights (N,), of dask or in memory, as dask arrays with the given chunks."""
    import dask.array as da

    n_rows = sum(lengths)
    if hasattr(x, "to_dask_array"):  # a Series, which does not know its partitions' lengths
        x = x.to_dask_array(lengths=True)
    if isinstance(x, da.Array):
        _check_known_chunks(x, name)
        if x.shape != (n_rows,):
            raise InvalidInputError(
                f"{name} has shape {x.shape}, ({n_rows},) is needed; pass one per row of z"
            )
        return x.rechunk((lengths,))
    if name == "y":
        x = as_labels(x)
        check_n_labels(x, n_rows)
    else:
        x = to_numpy(check_sample_weight(x, n_rows))
    return da.from_array(x, chunks=(lengths,), name=False)


def _check_known_chunks(x: Any, name: str) -> None:
    if any(math.isnan(size) for size in x.shape):
        raise InvalidInputError(
            f"{name} has chunks of unknown size; call {name}.compute_chunk_sizes() first"
        )
