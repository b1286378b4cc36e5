r"""The Kullback-Leibler divergences between all pairs of Gaussians, a block of rows at a time.

They are::

    D_yy' = 1/2 [tr(Sigma_y'^-1 Sigma_y) + (mu_y - mu_y')' Sigma_y'^-1 (mu_y - mu_y') - d
                 + log |Sigma_y'| / |Sigma_y|],

computed as matrix products of second moments with precisions; the few entries that lose digits
there are recomputed from differences.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fpigauss._array.blocks import (
    MEMORY_LIMIT,
    PAIR_BYTES,
    blocks,
    is_lost,
    mend,
    row_distances,
)
from fpigauss._array.flags import unflagged
from fpigauss._array.linalg import flattened, inner_products, squared_norms, transposed
from fpigauss._array.namespaces import cast_like, detached, device_of, namespace, to_numpy
from fpigauss._array.traced import check_concrete
from fpigauss._array.typing import Array
from fpigauss._array.units import unit_near
from fpigauss.covariance import CovarianceFamily, Factor
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians, check_gaussians

__all__ = ["PairTerms", "pairwise_kld", "smallest_kld", "terms_of"]


@dataclass(frozen=True)
class PairTerms:
    """What the pairs of K Gaussians need of each Gaussian, computed once at a point.

    Build it with ``at``.
    """

    family: CovarianceFamily
    means: Array  # (K, d)
    factor: Factor
    #: mu_y about a center, since only differences matter; F^-1 times that where tied (K, d).
    centered: Array
    #: Values of Sigma_y^-1, None where tied (as are the next three).
    precisions: Array | None = None
    #: Projections of Sigma_y + mu_y mu_y', mu_y being centered here and below.
    second_moments: Array | None = None
    #: Sigma_y^-1 mu_y (K, d).
    scaled_means: Array | None = None
    log_dets: Array | None = None
    #: D (K, K), once it is known.
    whole: Array | None = None

    #: Bytes that a block of pairs may take.
    memory_limit: int = MEMORY_LIMIT

    @classmethod
    def at(
        cls,
        family: CovarianceFamily,
        means: Array,
        factor: Factor,
        memory_limit: int = MEMORY_LIMIT,
    ) -> "PairTerms":
        """Compute the terms of the Gaussians with ``means`` (K, d) and Sigma = F F'."""
        centered = means - family.center(means, factor)
        if family.tied:
            white = family.whiten(factor, centered)
            return cls(family, means, factor, white, memory_limit=memory_limit)
        dim = means.shape[1]
        precisions = family.precisions(factor)
        return cls(
            family,
            means,
            factor,
            centered,
            precisions=precisions,
            second_moments=family.values_projections(family.values(factor), dim)
            + family.outer(centered, centered),
            scaled_means=family.apply(precisions, centered),
            log_dets=family.log_det(factor, dim),
            memory_limit=memory_limit,
        )

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return int(self.means.shape[0])

    def blocks(self) -> Iterator[slice]:
        """Split the rows of D into blocks within the memory limit, temporaries included.

        All rows are one block if they fit. Blocks need not be large: smaller ones are as fast.
        """
        row_bytes = PAIR_BYTES * self.n_classes
        fits = row_bytes * self.n_classes <= self.memory_limit
        return blocks(self.n_classes, row_bytes, self.memory_limit // (1 if fits else 4))

    def diagonal(self, rows: slice) -> Array:
        """Mark where a block of ``rows`` crosses the diagonal (R, K)."""
        xp = namespace(self.means)
        classes = xp.arange(self.n_classes, device=device_of(self.means))
        return classes[rows][:, None] == classes[None, :]

    def counting(self, rows: slice, held: Any = None) -> Array:
        """Mark the pairs of a block of ``rows`` (R, K) that count for how far apart classes are.

        Those of two different classes, unless both are ``held`` (K,), an array of any namespace.
        """
        if held is None:
            return ~self.diagonal(rows)
        xp = namespace(self.means)
        held = xp.asarray(to_numpy(held), device=device_of(self.means))
        return ~(self.diagonal(rows) | (held[rows][:, None] & held[None, :]))

    def measured(self) -> "PairTerms":
        """Compute all of D now, if it fits into one block, and let go of what only D needs."""
        rows = list(self.blocks())
        if len(rows) > 1:
            return self
        whole = self.divergences(rows[0])
        return replace(self, whole=whole, second_moments=None, scaled_means=None)

    def divergences(self, rows: slice) -> Array:
        """Compute D of ``rows`` against all classes (R, K), zero on the diagonal."""
        if self.whole is not None:
            return self.whole[rows, :]
        xp = namespace(self.means)
        own = self.diagonal(rows)
        if self.family.tied:
            squared = self._squared(rows, own)
            return xp.where(own, xp.zeros_like(squared), 0.5 * squared)
        block = self._by_products(rows, own)
        # rounding alone can leave a tiny negative number
        return xp.where(own | (block < 0.0), xp.zeros_like(block), block)

    def _squared(self, rows: slice, own: Array) -> Array:
        """Compute squared Mahalanobis distances between the means, where tied."""

        def exact(row: Array, column: Array) -> Array:
            difference = self._difference(row + rows.start, column)
            return squared_norms(self.family.whiten(self.factor, difference))

        white = self.centered
        return row_distances(
            white[rows, :], white, exact, known=own, memory_limit=self.memory_limit
        )

    def _difference(self, row: Array, column: Array) -> Array:
        """Compute mu_y - mu_y' (n, d) of pairs of classes."""
        xp = namespace(self.means)
        return xp.take(self.means, row, axis=0) - xp.take(self.means, column, axis=0)

    def _by_products(self, rows: slice, own: Array) -> Array:
        xp = namespace(self.means)
        assert self.precisions is not None and self.second_moments is not None
        assert self.scaled_means is not None and self.log_dets is not None
        dim = self.means.shape[1]
        traces = flattened(self.second_moments[rows, ...]) @ transposed(flattened(self.precisions))
        norms = inner_products(self.centered, self.scaled_means)
        cross = self.centered[rows, :] @ transposed(self.scaled_means)
        log_ratio = self.log_dets[None, :] - self.log_dets[rows][:, None]
        raw = 0.5 * (traces - 2.0 * cross + norms[None, :] - dim + log_ratio)
        terms = traces + norms[None, :] + dim + xp.abs(log_ratio)

        def exact(row: Array, column: Array) -> Array:
            row = row + rows.start
            return self.family.paired_divergence(
                self._difference(row, column),
                self.family.rows(self.factor, row),
                self.family.rows(self.factor, column),
            )

        entry = int(self.precisions.shape[-1]) * (dim if self.family.needs_dense else 1)
        return mend(
            raw,
            is_lost(raw, terms) & ~own,
            exact,
            row_bytes=8 * (6 * entry + 4 * dim),
            memory_limit=self.memory_limit,
        )


@unflagged
def pairwise_kld(gaussians: ClassGaussians) -> Array:
    r"""Compute the matrix of Kullback-Leibler divergences between all class Gaussians.

    Entry (y, y') is KLD(N_y || N_y'), the D of Eqs. 9 and 10; the diagonal is zero. The matrix is
    computed in float64 where the device supports it, and is differentiable where the namespace is.
    jax may transform it (jit, grad, vmap).

    Parameters
    ----------
    gaussians : ClassGaussians
        K Gaussians.

    Returns
    -------
    (K, K) array
        In the namespace, device and dtype of the means, in nats.

    Raises
    ------
    InvalidInputError
        If ``gaussians`` is not a ClassGaussians.

    See Also
    --------
    smallest_kld : of the closest two classes.
    pairwise_overlap : the same as a probability of error.

    Examples
    --------
    >>> import numpy as np
    >>> from fpigauss import ClassGaussians, pairwise_kld
    >>> unit = ClassGaussians([[0.0], [2.0]], [[1.0], [1.0]])
    >>> pairwise_kld(unit)
    array([[0., 2.],
           [2., 0.]])
    """
    check_gaussians(gaussians)
    terms = PairTerms.at(gaussians.family, *_in_units(*gaussians.working()))
    divergences = [terms.divergences(block) for block in terms.blocks()]
    return cast_like(namespace(terms.means).concat(divergences), gaussians.means)


@unflagged
def smallest_kld(gaussians: ClassGaussians, *, held: Any = None) -> float:
    r"""Compute the smallest Kullback-Leibler divergence over ordered pairs of class Gaussians.

    The separation of the Gaussians: how far apart the closest two classes are. It is computed a
    block of rows at a time, in float64 where the device supports it.

    Parameters
    ----------
    gaussians : ClassGaussians
        K Gaussians.
    held : (K,) array-like of bool, optional
        Classes whose pairs with one another do not count.

    Returns
    -------
    float
        In nats; infinite if no pair counts.

    Raises
    ------
    InvalidInputError
        If ``gaussians`` is not a ClassGaussians, or ``held`` not one truth value per class.

    See Also
    --------
    pairwise_kld : of every pair.
    fit_separated : ask for it.

    Examples
    --------
    >>> from fpigauss import ClassGaussians, smallest_kld
    >>> gaussians = ClassGaussians([[0.0], [2.0], [5.0]], [1.0], tied=True)
    >>> smallest_kld(gaussians), smallest_kld(gaussians, held=[True, True, False])
    (2.0, 4.5)
    """
    terms = terms_of(gaussians)
    held = _checked_held(held, terms.n_classes)
    xp = namespace(terms.means)
    smallest = math.inf
    for block in terms.blocks():
        divergences = terms.divergences(block)
        far = xp.full_like(divergences, math.inf)
        counted = xp.where(terms.counting(block, held), divergences, far)
        smallest = min(smallest, float(xp.min(counted)))
    return smallest


def terms_of(gaussians: ClassGaussians) -> PairTerms:
    """Compute the terms of class Gaussians, without gradients."""
    check_gaussians(gaussians)
    check_concrete(gaussians.means, "gaussians.means")
    check_concrete(gaussians.covariances, "gaussians.covariances")
    means, factor = gaussians.working()
    factor = Factor(detached(factor.root), detached(factor.inverse))
    return PairTerms.at(gaussians.family, *_in_units(detached(means), factor))


def _in_units(means: Array, factor: Factor) -> tuple[Array, Factor]:
    """Divide means and F by one power of two, which no divergence depends on.

    Squares of means, variances and precisions are in range then wherever divergences are. The unit
    is half way, by its logarithm, from the smallest standard deviation to the largest number.
    """
    xp = namespace(means)
    sizes = [xp.max(xp.abs(detached(x))) for x in (means, *factor)]
    unit = unit_near(xp.sqrt(xp.maximum(*sizes[:2])) / xp.sqrt(sizes[2]))
    return means / unit, Factor(factor.root / unit, factor.inverse * unit)


def _checked_held(held: Any, n_classes: int) -> Any:
    """Check that there is one truth value per class, and bring them to the host."""
    if held is None:
        return None
    marks = to_numpy(held) if hasattr(held, "dtype") else np.asarray(held)
    if marks.dtype != np.bool_ or marks.shape != (n_classes,):
        raise InvalidInputError(
            f"held has shape {marks.shape} and dtype {marks.dtype}; "
            f"pass one truth value for each of the {n_classes} classes"
        )
    return marks
