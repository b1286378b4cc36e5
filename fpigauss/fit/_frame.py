"""The frame that a fit works in: centered latents, scaled by the pooled covariance."""

from dataclasses import dataclass

from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily, Factor

__all__ = ["Frame"]


@dataclass(frozen=True)
class Frame:
    """x = center + L x', with one L of the family's shape for all classes.

    KLDs do not depend on it; the log-densities of a class shift by ``log_volume`` = log |L|.
    """

    family: CovarianceFamily
    center: Array  # (1, d)
    factor: Factor  # of L, leading axis 1

    @classmethod
    def of(cls, family: CovarianceFamily, center: Array, pooled: Array | None = None) -> "Frame":
        """Make the frame about ``center`` (1, d).

        ``pooled`` holds the values (1, ...) of the covariance to whiten by; None for L = I.
        """
        dim = center.shape[1]
        if pooled is None:
            pooled = family.average(family.unit(dim, center), dim)
        return cls(family, center, family.factor(pooled))

    @property
    def log_volume(self) -> float:
        """The logarithm of |L|."""
        dim = self.center.shape[1]
        return 0.5 * float(self.family.log_det(self.factor, dim)[0])

    def means_into(self, means: Array) -> Array:
        """Take means (K, d) into the frame."""
        return self.family.whiten(self.factor, means - self.center)

    def projections_into(self, projections: Array) -> Array:
        """Take projections about a mean into the frame."""
        return self.family.whiten_projections(self.factor, projections)

    def factor_into(self, factor: Factor) -> Factor:
        """Compute L^-1 F."""
        return self.family.composed(Factor(self.factor.inverse, self.factor.root), factor)

    def means_back(self, means: Array) -> Array:
        """Take means (K, d) back to the latent space."""
        return self.center + self.family.color(self.factor, means)

    def values_back(self, factor: Factor) -> Array:
        """Compute the values of the covariances in the latent space."""
        return self.family.values(self.family.composed(self.factor, factor))
