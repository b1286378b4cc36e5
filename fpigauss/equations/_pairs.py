"""Sums over all pairs, weighted by the kernel; the weights themselves are never kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from fpigauss._arrays import namespace
from fpigauss._blocks import blocks
from fpigauss._linalg import transposed, weighted_sum
from fpigauss._typing import Array
from fpigauss.divergence import PairTerms
from fpigauss.repulsion import Repulsion

__all__ = ["PairSums", "sum_over_pairs"]


@dataclass(frozen=True)
class PairSums:
    """What one pass over the pairs leaves."""

    outgoing: Array  # sum_y' W_yy'  (K,)
    incoming: Array  # sum_y' W_y'y  (K,)
    forward: tuple[Array, ...]  # sum_y' W_yy' X_y' for each X asked for
    backward: tuple[Array, ...]  # sum_y' W_y'y X_y'
    potential: float  # sum phi(D) with pi as here
    judged: float  # sum phi(D) with pi as given
    smallest_kld: float
    pi: Any


def sum_over_pairs(
    terms: PairTerms,
    repulsion: Repulsion,
    *,
    forward: Sequence[Array],
    backward: Sequence[Array],
    memory_limit: int,
    judge: Any = None,
) -> PairSums:
    """One pass over the pairs in row blocks (two where pi depends on all of D and it is large).

    Parameters
    ----------
    terms : PairTerms
        The Gaussians.
    repulsion : Repulsion
        Where W and phi come from.
    forward, backward : sequences of (K, ...) arrays
        What W and W' are multiplied with.
    memory_limit : int
        Bytes for a block.
    judge : number or (K, K) array, optional
        Another pi to sum phi with.
    """
    xp = namespace(terms.means)
    rows = list(blocks(terms.n_classes, terms.row_bytes, memory_limit))
    kept = terms.divergences(rows[0]) if len(rows) == 1 else None

    def divergences(block: slice) -> Array:
        return terms.divergences(block) if kept is None else kept

    def all_blocks() -> Iterator[Array]:
        return (divergences(block) for block in rows)

    pi = repulsion.measure(all_blocks(), terms.n_classes)
    columns: list[tuple[Any, ...]] = []
    for block in rows:
        own = terms.diagonal(block)
        d = xp.where(own, xp.ones_like(own, dtype=terms.means.dtype), divergences(block))
        zero = xp.zeros_like(d)
        w = xp.where(own, zero, repulsion.kernel(d, _at(pi, block)))  # (R, K)
        phi = xp.sum(xp.where(own, zero, repulsion.potential(d, _at(pi, block))))
        judged = phi
        if judge is not None and not repulsion.has_potential:
            judged = xp.sum(xp.where(own, zero, repulsion.potential(d, _at(judge, block))))
        largest = xp.max(d)
        columns.append(
            (
                xp.sum(w, axis=1),
                xp.sum(w, axis=0),
                [weighted_sum(w, x) for x in forward],
                [weighted_sum(transposed(w), x[block, ...]) for x in backward],
                phi,
                judged,
                xp.min(xp.where(own, largest, d)),
            )
        )
    outgoing, incoming, ahead, back, potential, judged_sum, smallest = zip(*columns, strict=True)
    return PairSums(
        outgoing=xp.concat(outgoing),
        incoming=reduce(add, incoming),
        forward=tuple(xp.concat(parts) for parts in zip(*ahead, strict=True)),
        backward=tuple(reduce(add, parts) for parts in zip(*back, strict=True)),
        potential=float(reduce(add, potential)),
        judged=float(reduce(add, judged_sum)),
        smallest_kld=min(float(x) for x in smallest),
        pi=pi,
    )


def _at(pi: Any, rows: slice) -> Any:
    """The rows of a matrix pi; a number, or None, as it is."""
    return pi[rows, :] if getattr(pi, "ndim", 0) == 2 else pi
