"""Sums over all pairs, weighted by the kernel; the weights themselves are never kept."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from fpigauss._array.blocks import joined
from fpigauss._array.linalg import transposed, weighted_sum
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.divergence import PairTerms
from fpigauss.equations._held import Held
from fpigauss.repulsion import Repulsion

__all__ = ["PairSums", "counted_pairs", "is_matrix", "rows_of_pi", "sum_over_pairs"]


class PairSums(NamedTuple):
    """The results of one pass over the pairs; W and phi are multiplied by ``scale`` throughout."""

    outgoing: Array  # sum_y' W_yy'  (K,)
    incoming: Array  # sum_y' W_y'y  (K,)
    forward: tuple[Array, ...]  # sum_y' W_yy' X_y' for each X asked for
    backward: tuple[Array, ...]  # sum_y' W_y'y X_y'
    apart: tuple[Array, ...]  # sum_y' (W_yy' + W_y'y) (X_y - X_y')
    potential: Array  # sum phi(D) with pi as here  ()
    judged: Array  # sum phi(D) with pi as given  ()
    smallest_kld: Array  # ()
    pi: Any

    def without_arrays(self) -> "PairSums":
        """Keep only the numbers and the sums of the weights."""
        return self._replace(forward=(), backward=(), apart=())


def sum_over_pairs(
    terms: PairTerms,
    repulsion: Repulsion,
    alpha: float,
    *,
    scale: float,
    forward: Sequence[Array] = (),
    backward: Sequence[Array] = (),
    apart: Sequence[Array] = (),
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
    scale : float
        The weight c of one pair.
    forward, backward : sequences of (K, ...) arrays
        What W and W' are multiplied by.
    apart : sequence of (K, ...) arrays
        What is pushed apart by W + W', in one product; only where D is symmetric.
    judge : number or (K, K) array, optional
        Another pi for a second sum of phi.
    held : Held, optional
        Classes that are held: pairs whose KLD is constant are left out, and pairs of two held
        classes have no part in the smallest KLD.
    """
    xp = namespace(terms.means)
    terms = terms.measured()
    rows = list(terms.blocks())
    pi = repulsion.measured(map(terms.divergences, rows), terms.n_classes, terms.means)
    rowwise: list[tuple[Array, ...]] = []
    total: tuple[Any, ...] | None = None
    smallest: list[Array] = []
    for block in rows:
        out, d = counted_pairs(terms, held, block)
        zero = xp.zeros_like(d)

        def weights(pi: Any, out: Array = out, d: Array = d, zero: Array = zero) -> Array:
            return xp.where(out, zero, scale * repulsion.kernel(d, pi, alpha))

        def potential(pi: Any, out: Array = out, d: Array = d, zero: Array = zero) -> Array:
            return scale * xp.sum(xp.where(out, zero, repulsion.potential(d, pi, alpha)))

        w = weights(rows_of_pi(pi, block))  # (R, K)
        phi = judged = potential(rows_of_pi(pi, block))
        if judge is not None and not repulsion.has_potential:
            judged = potential(rows_of_pi(judge, block))
        uncounted = out if held is None else out | held.both(block)
        smallest.append(xp.min(xp.where(uncounted, xp.max(d), d)))
        ahead = [weighted_sum(w, x) for x in forward]
        if apart:
            # D is symmetric, so that W' is the kernel at the transposed pi
            both = w + (weights(transposed(pi)[block, :]) if is_matrix(pi) else w)
            own = out if held is None else terms.diagonal(block)
            laplacian = xp.where(own, xp.sum(both, axis=1)[:, None], -both)
            ahead += [weighted_sum(laplacian, x) for x in apart]
        rowwise.append((xp.sum(w, axis=1), *ahead))
        summed = (
            phi,
            judged,
            xp.sum(w, axis=0),
            *(weighted_sum(transposed(w), x[block, ...]) for x in backward),
        )
        total = summed if total is None else tuple(map(add, total, summed))
    assert total is not None  # there are at least two classes
    phi, judged, incoming, *back = total
    outgoing, *ahead = (joined(parts) for parts in zip(*rowwise, strict=True))
    return PairSums(
        outgoing=outgoing,
        incoming=incoming,
        forward=tuple(ahead[: len(forward)]),
        backward=tuple(back),
        apart=tuple(ahead[len(forward) :]),
        potential=phi,
        judged=judged,
        smallest_kld=reduce(xp.minimum, smallest),
        pi=pi,
    )


def is_matrix(pi: Any) -> bool:
    """Say whether pi has a number for each pair."""
    return getattr(pi, "ndim", 0) == 2


def counted_pairs(terms: PairTerms, held: Held | None, rows: slice) -> tuple[Array, Array]:
    """Mark the pairs in ``rows`` that are left out (R, K), and return D with ones there."""
    out = terms.diagonal(rows) if held is None else held.constant(rows)
    d = terms.divergences(rows)
    return out, namespace(d).where(out, namespace(d).ones_like(d), d)


def rows_of_pi(pi: Any, rows: slice) -> Any:
    """Take the rows of a matrix pi; a number or None stays as it is."""
    return pi[rows, :] if is_matrix(pi) else pi
