"""Sums over all pairs, weighted by the kernel; the weights themselves are never kept."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import add
from typing import Any

from fpigauss._array.linalg import transposed, weighted_sum
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.divergence import PairTerms
from fpigauss.equations._held import Held
from fpigauss.repulsion import Repulsion

__all__ = ["PairSums", "sum_over_pairs"]


@dataclass(frozen=True)
class PairSums:
    """The results of one pass over the pairs."""

    outgoing: Array  # sum_y' W_yy'  (K,)
    incoming: Array  # sum_y' W_y'y  (K,)
    forward: tuple[Array, ...]  # sum_y' W_yy' X_y' for each X asked for
    backward: tuple[Array, ...]  # sum_y' W_y'y X_y'
    potential: float  # sum phi(D) with pi as here
    judged: float  # sum phi(D) with pi as given
    smallest_kld: float
    pi: Any

    def without_arrays(self) -> "PairSums":
        """Keep only the numbers and the sums of the weights."""
        return replace(self, forward=(), backward=())


def sum_over_pairs(
    terms: PairTerms,
    repulsion: Repulsion,
    alpha: float,
    *,
    forward: Sequence[Array],
    backward: Sequence[Array],
    judge: Any = None,
    held: Held | None = None,
) -> PairSums:
    """Sum over the pairs in blocks of rows: one pass, or two where pi needs all of a large D.

    Parameters
    ----------
    terms : PairTerms
        The Gaussians.
    repulsion : Repulsion
        The source of W and phi.
    alpha : float
        The scale of pi.
    forward, backward : sequences of (K, ...) arrays
        What W and W' are multiplied by.
    judge : number or (K, K) array, optional
        Another pi for a second sum of phi.
    held : Held, optional
        Classes that are held: pairs whose KLD is constant are left out, and pairs of two held
        classes have no part in the smallest KLD.
    """
    xp = namespace(terms.means)
    rows = list(terms.blocks())
    kept = terms.divergences(rows[0]) if len(rows) == 1 else None

    def divergences(block: slice) -> Array:
        return terms.divergences(block) if kept is None else kept

    def all_blocks() -> Iterator[Array]:
        return (divergences(block) for block in rows)

    pi = repulsion.measured(all_blocks(), terms.n_classes, terms.means)
    rowwise: list[tuple[Array, list[Array]]] = []
    total: tuple[Any, ...] | None = None
    smallest = math.inf
    for block in rows:
        out = terms.diagonal(block) if held is None else held.constant(block)
        d = xp.where(out, xp.ones_like(out, dtype=terms.means.dtype), divergences(block))
        zero = xp.zeros_like(d)
        w = xp.where(out, zero, repulsion.kernel(d, _at(pi, block), alpha))  # (R, K)
        phi = xp.sum(xp.where(out, zero, repulsion.potential(d, _at(pi, block), alpha)))
        judged = phi
        if judge is not None and not repulsion.has_potential:
            judged = xp.sum(xp.where(out, zero, repulsion.potential(d, _at(judge, block), alpha)))
        uncounted = out if held is None else out | held.both(block)
        smallest = min(smallest, float(xp.min(xp.where(uncounted, xp.max(d), d))))
        rowwise.append((xp.sum(w, axis=1), [weighted_sum(w, x) for x in forward]))
        summed = (
            phi,
            judged,
            xp.sum(w, axis=0),
            *(weighted_sum(transposed(w), x[block, ...]) for x in backward),
        )
        total = summed if total is None else tuple(map(add, total, summed))
    assert total is not None  # there are at least two classes
    potential, judged_sum, incoming, *back = total
    outgoing, ahead = zip(*rowwise, strict=True)
    return PairSums(
        outgoing=xp.concat(outgoing),
        incoming=incoming,
        forward=tuple(xp.concat(parts) for parts in zip(*ahead, strict=True)),
        backward=tuple(back),
        potential=float(potential),
        judged=float(judged_sum),
        smallest_kld=smallest,
        pi=pi,
    )


def _at(pi: Any, rows: slice) -> Any:
    """Take the rows of a matrix pi; a number or None stays as it is."""
    return pi[rows, :] if getattr(pi, "ndim", 0) == 2 else pi
