"""What the equations ask of a choice of pi."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily

__all__ = ["NoRepulsion", "Repulsion"]


@dataclass(frozen=True)
class Repulsion(ABC):
    r"""A choice of pi_KLD, and with it the kernel W and the potential phi of the repulsion.

    By default W = exp(-D / tau) / tau and phi = exp(-D / tau), tau = alpha pi. For a choice of
    your own, define ``measure`` in a subclass and pass an instance as ``pi=``.
    """

    #: Whether L with phi is bounded below, so that a minimum exists for every lam.
    bounded: ClassVar[bool] = False
    #: Whether L is one function of the Gaussians, so that its values can be compared.
    has_potential: ClassVar[bool] = False

    @abstractmethod
    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        """Measure pi at a point, from D (K, K) in blocks of rows; None if each pair has its own.

        The diagonal of D is zero and belongs to no pair.
        """

    def kernel(self, divergences: Array, pi: Any, alpha: float) -> Array:
        """Compute W, elementwise; ``pi`` is a number or of the shape of ``divergences``."""
        tau = alpha * pi
        return namespace(divergences).exp(-divergences / tau) / tau

    def potential(self, divergences: Array, pi: Any, alpha: float) -> Array:
        """Compute phi, elementwise."""
        return namespace(divergences).exp(-divergences / (alpha * pi))

    def at_start(self, pi: Any) -> "Repulsion":
        """Return the repulsion to iterate with, once ``pi`` of the initial Gaussians is known."""
        return self

    def critical_lam(
        self, family: CovarianceFamily, n_classes: int, dim: int, alpha: float
    ) -> float:
        """Return lam*: below it a minimum is certain, from it on there is none.

        Infinite where a minimum is certain for every lam, NaN where no sharp bound is known.
        """
        return math.inf if self.bounded or family.tied else math.nan

    def check_memory(self, n_classes: int, memory_limit: int) -> None:
        """Raise InvalidInputError if ``measure`` needs more memory than ``memory_limit``."""
        return  # D comes block by block


@dataclass(frozen=True)
class NoRepulsion(Repulsion):
    """lam = 0: pi is measured, and nothing repels."""

    measured: Repulsion

    bounded: ClassVar[bool] = True
    has_potential: ClassVar[bool] = True

    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        return self.measured.measure(blocks, n_classes)

    def kernel(self, divergences: Array, pi: Any, alpha: float) -> Array:
        return namespace(divergences).zeros_like(divergences)

    def potential(self, divergences: Array, pi: Any, alpha: float) -> Array:
        return namespace(divergences).zeros_like(divergences)

    def at_start(self, pi: Any) -> Repulsion:
        return NoRepulsion(self.measured.at_start(pi))

    def check_memory(self, n_classes: int, memory_limit: int) -> None:
        self.measured.check_memory(n_classes, memory_limit)
