"""Class densities in the dtype of the latents, safe far from the origin."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpigauss._array.blocks import mend
from fpigauss._array.checks import check_range
from fpigauss._array.labels import grouped
from fpigauss._array.linalg import squared_norms
from fpigauss._array.namespaces import cast_like, detached, device_of, namespace, working_dtype
from fpigauss._array.rounding import rounds_products
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily, Factor

__all__ = ["Density", "best", "by_class_rows", "index_of"]

#: The squared distance, per dimension, below which it is computed from differences: above it, the
#: products' error of 2e-13 (m + d), see ``is_lost``, is 2e-12 m.
_NEAR = 0.1


@dataclass(frozen=True)
class Density:
    """Class densities in the dtype of the latents, about a center that is exact in it.

    Where products of float32 matrices may be rounded to fewer digits, they are computed in float64.
    """

    family: CovarianceFamily
    center: Array  # (1, d)
    means: Array  # (K, d), centered
    factor: Factor
    log_normalizers: Array  # (n,)
    dtype: Any  # of the results

    @classmethod
    def of(cls, family: CovarianceFamily, means: Array, factor: Factor, z: Array) -> "Density":
        """Prepare the densities of the Gaussians N(means, F F') for latents like ``z``."""
        xp = namespace(z)
        dtype = z.dtype if xp.finfo(z.dtype).bits >= 32 else xp.float32
        widened = dtype == xp.float32 and rounds_products(z)
        computed = working_dtype(z) if widened else dtype
        like = xp.zeros((1,), dtype=computed, device=device_of(z))
        for part in factor:
            check_range(detached(part), like, "inverse covariances", positive=False)
        center = family.center(means, factor)
        center = _rounded(center if family.tied else _nearest(means, center), like)
        log_det = family.log_det(factor, means.shape[1])
        return cls(
            family,
            cast_like(center, like),
            cast_like(means - center, like),
            Factor(*(cast_like(x, like) for x in factor)),
            cast_like(-0.5 * (log_det + means.shape[1] * math.log(2.0 * math.pi)), like),
            dtype,
        )

    def _centered(self, z: Array) -> Array:
        return namespace(z).astype(z, self.center.dtype, copy=False) - self.center

    def _narrowed(self, x: Array) -> Array:
        return namespace(x).astype(x, self.dtype, copy=False)

    def by_class(self, z: Array) -> Array:
        """Compute log N_y(z) (N, K)."""
        squared = self._distances(self._centered(z))
        return self._narrowed(self.log_normalizers[None, :] - 0.5 * squared)

    def squared_distances(self, z: Array) -> Array:
        """Compute squared Mahalanobis distances (N, K), from differences near the means.

        Log-densities need digits that are small compared with d; distances need their own.
        """
        x = self._centered(z)
        xp, dim = namespace(x), x.shape[-1]

        def exact(rows: Array, classes: Array) -> Array:
            difference = xp.take(x, rows, axis=0) - xp.take(self.means, classes, axis=0)
            own = self.family.rows(self.factor, classes)
            return squared_norms(self.family.whiten(own, difference))

        raw = self._distances(x)
        numbers = 1 if self.family.tied else math.prod(self.factor.inverse.shape[1:])
        row_bytes = 8 * (4 * dim + 2 * numbers)
        return self._narrowed(mend(raw, raw < _NEAR * dim, exact, row_bytes=row_bytes))

    def _distances(self, x: Array) -> Array:
        xp = namespace(x)
        squared = self.family.squared_distances(x, self.means, self.factor)
        # squares that overflow cancel to NaN: such latents are infinitely far
        return xp.where(xp.isnan(squared), xp.full_like(squared, math.inf), squared)

    def of_classes(self, codes: Array, z: Array) -> Array:
        """Compute log N_y(z) (N,) of the classes ``codes`` (N,), or one for all (1,).

        It is computed from differences, with a factor per row.
        """
        xp = namespace(z)
        own = self.family.rows(self.factor, codes)
        white = self.family.whiten(own, self._centered(z) - xp.take(self.means, codes, axis=0))
        normalizers = self.log_normalizers
        if not self.family.tied:
            normalizers = xp.take(normalizers, codes, axis=0)
        return self._narrowed(normalizers - 0.5 * squared_norms(white))


def _nearest(means: Array, x: Array) -> Array:
    """Return the one of ``means`` (K, d) that is nearest to ``x`` (1, d), as (1, d).

    A sum of means is rounded, and so is what is left of a latent when it is subtracted.
    """
    xp = namespace(means)
    return xp.take(means, xp.reshape(xp.argmin(squared_norms(means - x)), (1,)), axis=0)


def _rounded(x: Array, like: Array) -> Array:
    """Round ``x`` to what the dtype of ``like`` can hold, in its own namespace and dtype."""
    xp = namespace(x)
    same = xp is namespace(like)
    dtype = like.dtype if same else getattr(xp, str(like.dtype).rpartition(".")[2])
    return xp.astype(xp.astype(x, dtype, copy=False), x.dtype, copy=False)


def index_of(code: int, like: Array) -> Array:
    """Return the position ``code`` as an index array (1,) on the device of ``like``."""
    return namespace(like).asarray([code], device=device_of(like))


def best(log_prob: Array) -> Array:
    """Return the position of the largest entry of each row."""
    return namespace(log_prob).argmax(log_prob, axis=-1)


def by_class_rows(
    codes: np.ndarray[Any, Any], like: Array, function: Callable[[int, Array], Array]
) -> Array:
    """Call ``function(code, rows)`` class by class; return rows in the order of ``codes``."""
    xp = namespace(like)
    groups = grouped(codes)
    if not groups:  # an empty result of the right shape
        return function(0, xp.asarray(codes, device=device_of(like)))
    order = np.concatenate([rows for _, rows in groups])
    pieces = [function(code, xp.asarray(rows, device=device_of(like))) for code, rows in groups]
    return xp.take(xp.concat(pieces), xp.asarray(np.argsort(order), device=device_of(like)), axis=0)
