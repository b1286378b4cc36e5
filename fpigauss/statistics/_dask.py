"""Statistics of dask arrays: one task per chunk, and a tree of merges. Only this uses dask."""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, Protocol, Self, TypeVar

from fpigauss._array.checks import check_matrix
from fpigauss._array.labels import as_labels
from fpigauss._array.namespaces import as_floating
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
    labels = _in_chunks(y, "y", lengths)
    weights = [None] * len(lengths)
    if sample_weight is not None:
        weights = _in_chunks(sample_weight, "sample_weight", lengths)
    gather_chunk = dask.delayed(_gathered, pure=False)
    merge = dask.delayed(_merged, pure=False)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    chunks = zip(z.to_delayed().ravel(), labels, weights, starts, lengths, strict=True)
    parts = [gather_chunk(gather, *chunk, start) for *chunk, start, length in chunks if length > 0]
    while len(parts) > 1:
        parts = [merge(*parts[i : i + _FAN_IN]) for i in range(0, len(parts), _FAN_IN)]
    (result,) = dask.compute(parts[0])
    merged: S = result
    return merged


def _gathered(
    gather: Callable[[Any, Any, Any], S], z: Any, y: Any, sample_weight: Any, start: int
) -> S:
    """Gather a chunk's part; its errors name the chunk."""
    try:
        return gather(z, y, sample_weight)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"chunk of z from row {start} (rows are counted from there): {error}"
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


def _in_chunks(x: Any, name: str, lengths: tuple[int, ...]) -> list[Any]:
    """Split labels or weights (N,), of dask or in memory, into chunks of the given lengths."""
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
        return list(x.rechunk((lengths,)).to_delayed().ravel())
    if name == "y":
        x = as_labels(x)
        check_n_labels(x, n_rows)
    else:
        x = check_sample_weight(x, n_rows)
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    return [x[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _check_known_chunks(x: Any, name: str) -> None:
    if any(math.isnan(size) for size in x.shape):
        raise InvalidInputError(
            f"{name} has chunks of unknown size; call {name}.compute_chunk_sizes() first"
        )
