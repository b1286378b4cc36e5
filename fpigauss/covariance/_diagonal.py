"""Diagonal covariances: one variance per axis, or per group of axes that share one."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from fpigauss._array.blocks import is_lost, mend
from fpigauss._array.checks import check_range
from fpigauss._array.linalg import squared_norms, transposed, x_minus_log1p
from fpigauss._array.namespaces import (
    as_floating,
    cast_like,
    detached,
    first_true,
    namespace,
    to_numpy,
)
from fpigauss._array.traced import is_traced
from fpigauss._array.typing import Array
from fpigauss._array.units import are_near_one, unit_near
from fpigauss.covariance._base import CovarianceFamily, Factor

__all__ = ["Diagonal"]


@dataclass(frozen=True)
class Diagonal(CovarianceFamily):
    """One variance per axis: ``covariances`` are (K, d), or (d,) if tied.

    Families in which groups of axes share a variance override ``fold`` and ``per_axis``; their
    values are (n, number of groups), and what else depends on the groups follows from ``fold``.

    See Also
    --------
    Dense : full covariances.
    Isotropic : one variance.
    """

    name: ClassVar[str] = "diagonal"

    def fold(self, x: Array) -> Array:
        """Sum the axes (..., d) over the groups that share a variance."""
        return x

    def per_axis(self, values: Array) -> Array:
        """Return one value per axis, or an array that broadcasts to that."""
        return values

    def multiplicity(self, dim: int) -> Any:
        """Return the number of axes in a group: a float, or one number per group."""
        return _group_sizes(self, dim)

    def _sizes(self, dim: int, like: Array) -> Any:
        """Return the number of axes in a group, to multiply an array with."""
        sizes = self.multiplicity(dim)
        if isinstance(sizes, float):
            return sizes
        return cast_like(as_floating(sizes, "multiplicity"), like)

    def _times(self, values: Array, dim: int) -> Array:
        """Multiply ``values`` by the number of axes that share each."""
        sizes = self._sizes(dim, values)
        return values if isinstance(sizes, float) and sizes == 1.0 else sizes * values

    # -- the border ------------------------------------------------------------------------

    def entry_shape(self, dim: int) -> tuple[int, ...]:
        return tuple(self.fold(np.ones((1, dim))).shape[1:])

    def inflated_dim(self, dim: int) -> int:
        return int(np.min(to_numpy(as_floating(self.multiplicity(dim), "multiplicity"))))

    def first_not_positive(self, values: Array) -> int | None:
        return first_true(namespace(values).any(~(values > 0.0), axis=-1))

    def first_asymmetric(self, values: Array) -> int | None:
        return None

    def first_singular(self, values: Array, noise: Array) -> int | None:
        flat = ~(values * self._sizes(noise.shape[-1], values) > self.fold(noise))
        return first_true(namespace(values).any(flat, axis=-1))

    def rounded(self, values: Array, like: Array) -> Array:
        check_range(values, like, "covariances")
        return namespace(values).astype(values, like.dtype, copy=True)

    # -- projections ---------------------------------------------------------------------------

    def projections(self, covariances: Array) -> Array:
        if covariances.ndim == 3:
            covariances = namespace(covariances).linalg.diagonal(covariances)
        return self.fold(covariances)

    def outer(self, a: Array, b: Array) -> Array:
        return self.pooled(self.fold(a * b))

    def values_projections(self, values: Array, dim: int) -> Array:
        return self._times(values, dim)

    def unit(self, dim: int, like: Array) -> Array:
        return self.fold(namespace(like).ones_like(like[:1, :dim]))

    def plus_identity(self, projections: Array, weights: Array, like: Array) -> Array:
        # one number per class and group: broadcast, not written out per axis
        return projections + self._times(weights[:, None], like.shape[-1])

    def trace(self, projections: Array) -> Array:
        return namespace(projections).sum(projections, axis=-1)

    def average(self, projections: Array, dim: int) -> Array:
        return projections / self._sizes(dim, projections)

    # -- factors ---------------------------------------------------------------------------

    def factor(self, values: Array) -> Factor:
        root = namespace(values).sqrt(values)
        return Factor(root, 1.0 / root)

    def values(self, factor: Factor) -> Array:
        return factor.root * factor.root

    def precisions(self, factor: Factor) -> Array:
        return factor.inverse * factor.inverse

    def log_det(self, factor: Factor, dim: int) -> Array:
        xp = namespace(factor.root)
        return 2.0 * xp.sum(self._times(xp.log(factor.root), dim), axis=-1)

    def composed(self, outer: Factor, inner: Factor) -> Factor:
        return Factor(outer.root * inner.root, outer.inverse * inner.inverse)

    # -- vectors and matrices through factors ----------------------------------------------

    def apply(self, values: Array, x: Array) -> Array:
        return self.per_axis(values) * x

    def whiten(self, factor: Factor, x: Array) -> Array:
        return self.per_axis(factor.inverse) * x

    def color(self, factor: Factor, x: Array) -> Array:
        return self.per_axis(factor.root) * x

    def color_adjoint(self, factor: Factor, x: Array) -> Array:
        return self.color(factor, x)

    def whiten_projections(self, factor: Factor, projections: Array) -> Array:
        return projections * factor.inverse * factor.inverse

    def color_precisions(self, factor: Factor, values: Array, dim: int) -> Array:
        return self._times(values * factor.root * factor.root, dim)

    def anticommutator(self, values: Array, projections: Array, dim: int) -> Array:
        return 2.0 * values * projections

    # -- updates ---------------------------------------------------------------------------

    def log_solution(self, a: Array, b: Array) -> Array:
        return 0.5 * namespace(a).log(b / a)

    def precondition(self, a: Array, gradient: Array) -> Array:
        return gradient / a

    def retract(self, factor: Factor, step: Array) -> Factor:
        xp = namespace(step)
        root = factor.root * xp.exp(0.5 * step)
        return Factor(root, 1.0 / root)

    def step_sizes(self, step: Array) -> Array:
        xp = namespace(step)
        return xp.maximum(xp.max(step, axis=-1), -xp.min(step, axis=-1))

    def spectrum(self, factor: Factor) -> tuple[Array, Array]:
        xp = namespace(factor.root)
        values = self.values(factor)
        return xp.min(values, axis=-1), xp.max(values, axis=-1)

    def as_matrices(self, factor: Factor, dim: int) -> Factor:
        return Factor(*map(self.per_axis, factor))

    # -- pairs -----------------------------------------------------------------------------

    def distances_by_class(self, x: Array, means: Array, factor: Factor) -> Array:
        xp = namespace(x, means)
        ordinary = are_near_one(detached(factor.root))
        if is_traced(ordinary) or not bool(ordinary):
            unit = _unit(factor)
            factor = Factor(factor.root / unit, factor.inverse * unit)
            x, means = x / self.per_axis(unit), means / self.per_axis(unit)
        precisions = self.precisions(factor)
        scaled = self.apply(precisions, means)  # (K, d)
        far = self.fold(x * x) @ transposed(precisions) + xp.sum(means * scaled, axis=-1)[None, :]
        raw = far - 2.0 * (x @ transposed(scaled))

        def exact(rows: Array, classes: Array) -> Array:
            difference = xp.take(x, rows, axis=0) - xp.take(means, classes, axis=0)
            return squared_norms(self.whiten(self.rows(factor, classes), difference))

        # the products' error, eps * far, must stay small compared with the terms of log p
        lost = is_lost(raw, far, tolerated=x.shape[-1])
        return mend(raw, lost, exact, row_bytes=32 * x.shape[-1])

    def paired_divergence(self, difference: Array, first: Factor, second: Factor) -> Array:
        xp = namespace(difference)
        dim = difference.shape[-1]
        precision = self.precisions(second)
        growth = (first.root - second.root) * (first.root + second.root) * precision
        excess = x_minus_log1p(growth, 2.0 * xp.log(first.root * second.inverse))
        shape = xp.sum(self._times(excess, dim), axis=-1)
        return 0.5 * (xp.sum(self.fold(difference * difference) * precision, axis=-1) + shape)


def _unit(factor: Factor) -> Array:
    """Return units (1, groups) in which squares of latents, and of their inverses, stay in range.

    They are half way, by the logarithm, from the smallest standard deviation to the largest.
    """
    xp = namespace(factor.inverse)
    least, most = (f(detached(factor.root), axis=0, keepdims=True) for f in (xp.min, xp.max))
    return unit_near(xp.sqrt(least) * xp.sqrt(most))


@lru_cache
def _group_sizes(family: Diagonal, dim: int) -> Any:
    """Count the axes in each group, from their sums; one number if all groups are as large."""
    sizes = np.asarray(family.fold(np.ones((1, dim))))[0, :]
    return float(sizes[0]) if bool(np.all(sizes == sizes[0])) else sizes
