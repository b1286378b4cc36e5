r"""How hard the classes repel: pi_KLD, the kernel W and its potential phi, and lam*.

The repulsion of Eq. 4 is the mean over ordered pairs of phi(D_yy'); W = -phi' with pi frozen is
the paper's kernel K_yy'.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss._arrays import as_floating, cast_like, namespace
from fpigauss._blocks import PAIR_BYTES
from fpigauss._errors import InvalidInputError
from fpigauss._linalg import eye_like
from fpigauss._typing import Array, PiFunction
from fpigauss._validation import check_positive, check_positive_integer
from fpigauss.covariance import CovarianceFamily, resolve_family

__all__ = [
    "CallablePi",
    "ForwardPi",
    "FrozenPi",
    "InitialPi",
    "MeanPi",
    "NoRepulsion",
    "Repulsion",
    "check_pi",
    "critical_lam",
    "resolve_repulsion",
]


@dataclass(frozen=True)
class Repulsion(ABC):
    """A choice of pi_KLD.

    Parameters
    ----------
    alpha : float
        The scale of pi, > 0.
    """

    alpha: float

    #: Whether L is one function of the Gaussians, so that its values can be compared.
    has_potential: ClassVar[bool] = False

    @abstractmethod
    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        """Pi at a point, from the rows of D block by block; None where each pair has its own."""

    def kernel(self, divergences: Array, pi: Any) -> Array:
        """W = exp(-D / tau) / tau, tau = alpha pi."""
        tau = self.alpha * pi
        return namespace(divergences).exp(-divergences / tau) / tau

    def potential(self, divergences: Array, pi: Any) -> Array:
        """Phi = exp(-D / tau), tau = alpha pi."""
        return namespace(divergences).exp(-divergences / (self.alpha * pi))

    def at_start(self, pi: Any) -> "Repulsion":
        """The repulsion to iterate with, once ``pi`` of the initial Gaussians is known."""
        return self


@dataclass(frozen=True)
class ForwardPi(Repulsion):
    """Eq. 9: pi = D_yy', so that L falls with the logarithm of every divergence."""

    has_potential: ClassVar[bool] = True

    def measure(self, blocks: Iterable[Array], n_classes: int) -> None:
        return None

    def kernel(self, divergences: Array, pi: None) -> Array:
        return math.exp(-1.0 / self.alpha) / (self.alpha * divergences)

    def potential(self, divergences: Array, pi: None) -> Array:
        scale = math.exp(-1.0 / self.alpha) / self.alpha
        return -scale * namespace(divergences).log(divergences)


@dataclass(frozen=True)
class MeanPi(Repulsion):
    """Eq. 10: pi = mean(D) over all ordered pairs, at the current Gaussians."""

    def measure(self, blocks: Iterable[Array], n_classes: int) -> float:
        total = sum(float(namespace(block).sum(block)) for block in blocks)
        return total / (n_classes * (n_classes - 1))


@dataclass(frozen=True)
class FrozenPi(Repulsion):
    """A number: L is bounded, and has a minimum for every lam."""

    pi: float

    has_potential: ClassVar[bool] = True

    def measure(self, blocks: Iterable[Array], n_classes: int) -> float:
        return self.pi


@dataclass(frozen=True)
class InitialPi(MeanPi):
    """Eq. 10 measured once, at the initial Gaussians."""

    has_potential: ClassVar[bool] = True

    def at_start(self, pi: float) -> FrozenPi:
        return FrozenPi(self.alpha, pi)


@dataclass(frozen=True)
class CallablePi(Repulsion):
    """A user's function of the (K, K) matrix D, giving a positive scalar or (K, K) matrix."""

    function: PiFunction

    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        (divergences,) = blocks  # memory_limit was checked to hold the whole matrix
        xp = namespace(divergences)
        result = self.function(divergences + 0.0)  # a copy: it may write to it
        if result is None:
            raise InvalidInputError("pi returned None; return a number or a (K, K) matrix")
        pi = cast_like(as_floating(result, "pi"), divergences)
        if tuple(pi.shape) not in ((), (n_classes, n_classes)):
            raise InvalidInputError(
                f"pi returned an array of shape {tuple(pi.shape)}; return a number or a "
                f"({n_classes}, {n_classes}) matrix"
            )
        if pi.ndim == 2:
            own = eye_like(n_classes, pi) > 0.0  # the diagonal is never used
            pi = xp.where(own, xp.ones_like(pi), pi)
        if not bool(xp.all(xp.isfinite(pi) & (pi > 0.0))):
            raise InvalidInputError(
                "pi returned a number that is not positive and finite; "
                "return one that is for every pair of different classes"
            )
        return pi if pi.ndim == 2 else float(pi)


@dataclass(frozen=True)
class NoRepulsion(Repulsion):
    """lam = 0: pi is measured, and nothing repels."""

    measured: Repulsion

    has_potential: ClassVar[bool] = True

    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        return self.measured.measure(blocks, n_classes)

    def kernel(self, divergences: Array, pi: Any) -> Array:
        return namespace(divergences).zeros_like(divergences)

    def potential(self, divergences: Array, pi: Any) -> Array:
        return namespace(divergences).zeros_like(divergences)

    def at_start(self, pi: Any) -> Repulsion:
        return NoRepulsion(self.alpha, self.measured.at_start(pi))


def check_pi(pi: object) -> None:
    """The public ``pi=``: a name, a callable or a positive number."""
    if isinstance(pi, str):
        if pi not in _NAMES:
            known = ", ".join(f'"{name}"' for name in _NAMES)
            raise InvalidInputError(
                f"pi is {pi!r}; pass one of {known}, a positive number, or a callable"
            )
    elif getattr(pi, "ndim", 0) == 2:
        raise InvalidInputError("pi is a matrix; pass a callable that returns it: lambda D: matrix")
    elif not callable(pi):
        check_positive(pi, "pi")


def resolve_repulsion(
    pi: Any, alpha: float, lam: float, n_classes: int, memory_limit: int
) -> Repulsion:
    """The repulsion of a checked ``pi=``."""
    repulsion: Repulsion
    if isinstance(pi, str):
        repulsion = _NAMES[pi](alpha)
    elif callable(pi):
        needed = PAIR_BYTES * n_classes**2
        if needed > memory_limit:
            raise InvalidInputError(
                f"memory_limit is {memory_limit} bytes, but a callable pi is given the whole "
                f"matrix D, which takes {needed}; raise memory_limit or pass a name"
            )
        repulsion = CallablePi(alpha, pi)
    else:
        repulsion = FrozenPi(alpha, check_positive(pi, "pi"))
    return repulsion if lam > 0.0 else NoRepulsion(alpha, repulsion)


_NAMES: dict[str, type[Repulsion]] = {"forward": ForwardPi, "mean": MeanPi, "initial": InitialPi}


def critical_lam(
    n_classes: int,
    alpha: float = 1.0,
    *,
    covariance: str | CovarianceFamily = "diagonal",
    tied: bool = False,
    dim: int | None = None,
) -> float:
    r"""lam*, past which L with ``pi="forward"`` has no lower bound.

    lam* = K alpha exp(1/alpha) / 2, times d for isotropic covariances: there one variance can
    inflate for ever, which costs 1/2 log t and earns more. Shared (tied) covariances, fixed
    ones (``update="means"``) and every pi that is frozen at a number have no such bound.

    Parameters
    ----------
    n_classes : int
        The number of classes K, at least 2.
    alpha : float
        The scale of pi.
    covariance : {"diagonal", "dense", "isotropic"} or CovarianceFamily
        The family.
    tied : bool
        One covariance shared by all classes.
    dim : int, optional
        The number of dimensions d; needed for isotropic covariances.

    Returns
    -------
    float
        lam*, or infinity for tied families.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used.

    Examples
    --------
    >>> from fpigauss import critical_lam
    >>> round(critical_lam(6), 2)
    8.15
    >>> critical_lam(6, tied=True)
    inf
    """
    n_classes = check_positive_integer(n_classes, "n_classes")
    if n_classes < 2:
        raise InvalidInputError("n_classes is 1; at least two classes are needed to repel")
    alpha = check_positive(alpha, "alpha")
    family = resolve_family(covariance, tied)
    if family.tied:
        return math.inf
    if dim is not None:
        factor = family.inflated_dim(check_positive_integer(dim, "dim"))
    else:
        factor = family.inflated_dim(1)
        if family.inflated_dim(2) != factor:
            raise InvalidInputError(
                f'dim is needed for "{family.name}" covariances: there lam* grows with it'
            )
    try:
        return factor * n_classes * alpha * math.exp(1.0 / alpha) / 2.0
    except OverflowError:  # a tiny alpha: nothing repels
        return math.inf
