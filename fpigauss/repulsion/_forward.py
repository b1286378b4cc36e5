"""Eq. 9: each pair's own divergence."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily
from fpigauss.repulsion._base import KnownRepulsion

__all__ = ["ForwardRepulsion"]


@dataclass(frozen=True)
class ForwardRepulsion(KnownRepulsion):
    """Eq. 9, ``pi="forward"``: pi = D_yy', so that L falls with the logarithm of every KLD.

    See Also
    --------
    critical_lam : the largest ``lam`` with a minimum, for a covariance per class.
    """

    has_potential: ClassVar[bool] = True

    def measure(self, blocks: Iterable[Array], n_classes: int) -> None:
        return None

    def kernel(self, divergences: Array, pi: None, alpha: float) -> Array:
        return math.exp(-1.0 / alpha) / alpha / divergences  # alpha * D may underflow

    def potential(self, divergences: Array, pi: None, alpha: float) -> Array:
        scale = math.exp(-1.0 / alpha) / alpha
        return -scale * namespace(divergences).log(divergences)

    def slope(self, divergences: Array, pi: None, alpha: float) -> Array:
        return -self.kernel(divergences, pi, alpha) / divergences

    def critical_lam(
        self, family: CovarianceFamily, n_classes: int, dim: int, alpha: float
    ) -> float:
        if family.tied:
            return math.inf
        try:
            return family.inflated_dim(dim) * n_classes * alpha * math.exp(1.0 / alpha) / 2.0
        except OverflowError:  # a tiny alpha: nothing repels
            return math.inf
