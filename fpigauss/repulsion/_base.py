"""What the equations ask of a choice of pi."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss._array.linalg import eye_like
from fpigauss._array.namespaces import as_floating, cast_like, namespace
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily
from fpigauss.errors import InvalidInputError

__all__ = ["KnownRepulsion", "NoRepulsion", "Repulsion", "checked_pi"]


@dataclass(frozen=True, eq=False)
class Repulsion(ABC):
    r"""A choice of pi_KLD, and with it the kernel W and the potential phi of the repulsion.

    By default W = exp(-D / tau) / tau and phi = exp(-D / tau), tau = alpha pi. For a choice of
    your own, define ``measure`` in a subclass and pass an instance as ``pi=``.

    Attributes
    ----------
    bounded : bool
        Whether L with phi is bounded below, so that a minimum exists for every lam; a class
        variable, False by default.
    has_potential : bool
        Whether L is one function of the Gaussians, so that its values can be compared, since pi
        stays as it is; a class variable, False by default.
    """

    bounded: ClassVar[bool] = False
    has_potential: ClassVar[bool] = False

    @abstractmethod
    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        """Measure pi at a point, from D (K, K) in blocks of rows.

        The blocks come in order and cover all rows: row i of a block that begins at row r belongs
        to class r + i. The diagonal of D is zero and belongs to no pair. Return a positive number,
        a (K, K) array of them, or None if each pair has its own (with a ``kernel`` and a
        ``potential`` that need no pi).
        """

    def measured(self, blocks: Iterable[Array], n_classes: int, like: Array) -> Any:
        """Measure pi, and check it, since it is a user's own."""
        watched = _Watched(blocks)
        pi = self.measure(watched, n_classes)
        return None if pi is None else checked_pi(pi, n_classes, like, watched.is_usable)

    def kernel(self, divergences: Array, pi: Any, alpha: float) -> Array:
        """Compute W, elementwise; ``pi`` is a number or of the shape of ``divergences``."""
        tau = _tau(divergences, pi, alpha)
        return namespace(divergences).exp(-divergences / tau) / tau

    def potential(self, divergences: Array, pi: Any, alpha: float) -> Array:
        """Compute phi, elementwise."""
        return namespace(divergences).exp(-divergences / _tau(divergences, pi, alpha))

    def slope(self, divergences: Array, pi: Any, alpha: float) -> Array:
        """Compute dW/dD at fixed pi, elementwise, for the gradients of a fit.

        A subclass that has a ``kernel`` of its own needs a ``slope`` of its own too.
        """
        self._check_kernel_known("slope")
        return -self.kernel(divergences, pi, alpha) / _tau(divergences, pi, alpha)

    def slope_in_pi(self, divergences: Array, pi: Any, alpha: float) -> Array:
        """Compute dW/dpi at fixed D, elementwise, where pi is a number that moves."""
        self._check_kernel_known("slope_in_pi")
        xp = namespace(divergences)
        kernel = self.kernel(divergences, pi, alpha)
        slope = kernel * (divergences / _tau(divergences, pi, alpha) - 1.0) / pi
        return xp.where(kernel > 0.0, slope, xp.zeros_like(slope))  # 0 * inf far apart

    def _check_kernel_known(self, method: str) -> None:
        """Raise if ``method`` is asked of a subclass whose kernel is not that of this class."""
        if type(self).kernel is not Repulsion.kernel:
            name = type(self).__name__
            raise InvalidInputError(
                f"pi is a {name}, whose kernel is its own, so that its derivative is not known; "
                f"define {name}.{method}"
            )

    @property
    def is_mean_kld(self) -> bool:
        """Whether pi is the mean of D over ordered pairs: gradients of a fit then follow it.

        Any other pi is held in them.
        """
        return False

    @property
    def pushing(self) -> "Repulsion":
        """What repels as soon as lam is positive."""
        return self

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


def _tau(divergences: Array, pi: Any, alpha: float) -> Any:
    """Compute alpha pi; where that underflows, the smallest number, with which nothing repels."""
    xp = namespace(divergences)
    tau, least = alpha * pi, float(xp.finfo(divergences.dtype).smallest_normal)
    if isinstance(tau, float):
        return max(tau, least)  # NaN stays
    return xp.where(tau < least, xp.full_like(tau, least), tau)


@dataclass(frozen=True, eq=False)
class KnownRepulsion(Repulsion):
    """A choice of pi of this package: where it cannot be used, a step is rejected."""

    def measured(self, blocks: Iterable[Array], n_classes: int, like: Array) -> Any:
        """Measure pi."""
        return self.measure(blocks, n_classes)


@dataclass(frozen=True)
class NoRepulsion(KnownRepulsion):
    """lam = 0: pi is measured, and nothing repels."""

    inner: Repulsion

    bounded: ClassVar[bool] = True
    has_potential: ClassVar[bool] = True

    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        return self.inner.measure(blocks, n_classes)

    def measured(self, blocks: Iterable[Array], n_classes: int, like: Array) -> Any:
        return self.inner.measured(blocks, n_classes, like)

    def kernel(self, divergences: Array, pi: Any, alpha: float) -> Array:
        return namespace(divergences).zeros_like(divergences)

    def potential(self, divergences: Array, pi: Any, alpha: float) -> Array:
        return namespace(divergences).zeros_like(divergences)

    @property
    def pushing(self) -> Repulsion:
        return self.inner

    def slope(self, divergences: Array, pi: Any, alpha: float) -> Array:
        return namespace(divergences).zeros_like(divergences)

    def slope_in_pi(self, divergences: Array, pi: Any, alpha: float) -> Array:
        return namespace(divergences).zeros_like(divergences)

    def at_start(self, pi: Any) -> Repulsion:
        return NoRepulsion(self.inner.at_start(pi))

    def check_memory(self, n_classes: int, memory_limit: int) -> None:
        self.inner.check_memory(n_classes, memory_limit)


class _Watched(Iterator[Array]):
    """Copies of the blocks of D, which may be written to, and the sums of those that were read."""

    def __init__(self, blocks: Iterable[Array]) -> None:
        self._blocks = iter(blocks)
        self._totals: list[Array] = []

    def __next__(self) -> Array:
        block = next(self._blocks)
        self._totals.append(namespace(block).sum(block))
        return block + 0.0

    def is_usable(self) -> bool:
        """Say whether a pi can be measured from what was read, if anything was."""
        return not self._totals or 0.0 < sum(map(float, self._totals)) < math.inf


def checked_pi(result: Any, n_classes: int, like: Array, is_usable: Callable[[], bool]) -> Any:
    """Check a pi that a user's own function or repulsion returned: a float, or a matrix.

    NaN stands for a pi that cannot be used because D has overflowed, or vanished between all pairs,
    of which ``is_usable`` asks: such a step is rejected, and not the user's fault.
    """
    if result is None:
        raise InvalidInputError("pi returned None; return a number or a (K, K) matrix")
    pi = cast_like(as_floating(result, "pi"), like)
    xp = namespace(pi)
    if tuple(pi.shape) not in ((), (n_classes, n_classes)):
        raise InvalidInputError(
            f"pi returned an array of shape {tuple(pi.shape)}; return a number or a "
            f"({n_classes}, {n_classes}) matrix"
        )
    if pi.ndim == 2:
        own = eye_like(n_classes, pi) > 0.0  # the diagonal is never used
        pi = xp.where(own, xp.ones_like(pi), pi)
    if not bool(xp.all(xp.isfinite(pi) & (pi > 0.0))):
        if not is_usable():
            return math.nan
        raise InvalidInputError(
            "pi returned a number that is not positive and finite; "
            "return positive, finite numbers for all pairs of different classes"
        )
    return pi if pi.ndim == 2 else float(pi)
