"""Work in blocks within a memory budget, and entries recomputed where products lose digits."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fpigauss._array.linalg import squared_norms, transposed
from fpigauss._array.namespaces import device_of, namespace
from fpigauss._array.traced import is_traced, mended
from fpigauss._array.typing import Array

__all__ = [
    "MEMORY_LIMIT",
    "PAIR_BYTES",
    "blocks",
    "is_lost",
    "joined",
    "mend",
    "row_distances",
]

#: Bytes that a block may take where the caller sets no limit.
MEMORY_LIMIT = 2**30

#: Bytes that one pair of classes takes in a block: its divergence, weight and temporaries.
PAIR_BYTES = 10 * 8

#: Bytes of differences to mend at a time: more would not be faster.
_MENDED_BYTES = 2**26


def blocks(length: int, row_bytes: int, memory_limit: int = MEMORY_LIMIT) -> Iterator[slice]:
    """Yield slices that cover ``range(length)`` in blocks of at most ``memory_limit`` bytes.

    A block holds at least one row, however small the limit.
    """
    rows = max(1, memory_limit // max(1, row_bytes))
    for start in range(0, length, rows):
        yield slice(start, min(start + rows, length))


def joined(parts: Sequence[Any]) -> Any:
    """Join blocks of rows; a single one is not copied, and None stands for all where one is."""
    if parts[0] is None or len(parts) == 1:
        return parts[0]
    return namespace(parts[0]).concat(parts)


def _lost_below(like: Array) -> float:
    """Return the part of its terms below which a difference of products has lost too many digits.

    The products' error is eps times the terms; what is left is good to 2e-13 in float64 and to
    1e-5 in float32.
    """
    return max(1e-3, 1e5 * float(namespace(like).finfo(like.dtype).eps))


def is_lost(raw: Array, terms: Array, tolerated: float = 0.0) -> Array:
    """Mark differences of products that have lost too many digits, or all where terms overflow.

    ``tolerated`` is the size of what they will be added to.
    """
    kept = raw + tolerated >= _lost_below(raw) * terms  # false of differences of infinite terms
    return ~(kept | namespace(raw).isnan(terms))


def mend(
    raw: Array,
    lost: Array,
    exact: Callable[[Array, Array], Array],
    *,
    row_bytes: int,
    memory_limit: int = MEMORY_LIMIT,
) -> Array:
    """Recompute the entries of ``raw`` that ``lost`` marks by ``exact(rows, columns)``.

    Nothing is written in place, so that any namespace can run and differentiate it.
    """
    limit = min(memory_limit, _MENDED_BYTES)
    if is_traced(lost):
        return mended(raw, lost, exact, row_bytes=row_bytes, limit=limit)
    xp = namespace(raw)
    rows, columns = xp.nonzero(lost)
    if rows.shape[0] == 0:
        return raw
    pieces = [
        exact(rows[piece], columns[piece]) for piece in blocks(rows.shape[0], row_bytes, limit)
    ]
    values = xp.concat(pieces)
    flat = xp.astype(xp.reshape(lost, (-1,)), rows.dtype)
    one = xp.asarray(1, dtype=rows.dtype, device=device_of(raw))
    position = xp.maximum(xp.cumulative_sum(flat) - one, 0 * one)
    return xp.where(lost, xp.reshape(xp.take(values, position), raw.shape), raw)


def row_distances(
    x: Array,
    y: Array,
    exact: Callable[[Array, Array], Array],
    *,
    known: Array | None = None,
    tolerated: float = 0.0,
    memory_limit: int = MEMORY_LIMIT,
) -> Array:
    """Compute the squared Euclidean distances (N, K) between rows, from one product.

    Its error is eps times the squared lengths: entries that these dwarf, even with ``tolerated``
    (the terms that they will be added to), are recomputed, unless marked in ``known``.
    """
    far = squared_norms(x)[:, None] + squared_norms(y)[None, :]
    raw = far - 2.0 * (x @ transposed(y))  # BLAS computes half of it where y is x
    lost = is_lost(raw, far, tolerated)
    if known is not None:
        lost = lost & ~known
    return mend(raw, lost, exact, row_bytes=24 * x.shape[-1], memory_limit=memory_limit)
