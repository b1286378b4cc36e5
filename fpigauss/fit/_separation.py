"""How far apart the fitted Gaussians should be: the targets of a separation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from scipy.special import ndtri_exp

from fpigauss._array.checks import as_number, check_positive
from fpigauss.divergence import smallest_kld
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians
from fpigauss.overlap import largest_log_overlap

__all__ = [
    "TARGETS",
    "LargestOverlap",
    "NatsPerDimension",
    "Separation",
    "SmallestKLD",
    "separation_of",
]

#: How far above a target fitted Gaussians may be.
_MARGIN = 1.05


@dataclass(frozen=True)
class Separation(ABC):
    """A measure of how far apart Gaussians are, and the value that it should have.

    Parameters
    ----------
    bound : float
        The target, in the units that the argument of its name has.
    """

    bound: float

    #: The argument of ``fit_separated`` that asks for it.
    name: ClassVar[str]
    #: The measure and its unit, in words.
    measure: ClassVar[str]
    unit: ClassVar[str] = " nats"
    #: What the bound is to the measure, in words.
    relation: ClassVar[str] = "at least"

    def __post_init__(self) -> None:
        """Check the target."""
        object.__setattr__(self, "bound", self.checked(self.bound))

    def checked(self, bound: object) -> float:
        """Return the target, or raise InvalidInputError."""
        return check_positive(bound, self.name)

    @abstractmethod
    def nats(self, gaussians: ClassGaussians, *, held: Any = None) -> float:
        """Measure the separation, on a scale that is zero for equal Gaussians and grows.

        Pairs of two classes that ``held`` (K,) marks do not count.
        """

    def shown(self, nats: float) -> float:
        """Convert a measured separation to the units of the target."""
        return nats

    @property
    def needed(self) -> float:
        """The separation that meets the target."""
        return self.bound

    def kld(self, nats: float, dim: int) -> float:
        """Convert a separation to the smallest KLD that goes with it, if only roughly."""
        return nats

    def value(self, gaussians: ClassGaussians, *, held: Any = None) -> float:
        """Measure the separation, in the units of the target."""
        return self.shown(self.nats(gaussians, held=held))

    def met(self, gaussians: ClassGaussians, *, held: Any = None) -> bool:
        """Say whether the Gaussians are as far apart as asked, or farther."""
        return self.nats(gaussians, held=held) >= self.needed

    def band(self, dim: int) -> tuple[float, float]:
        """Return the smallest and the largest KLD that meet the target closely enough."""
        return self.kld(self.needed, dim), self.kld(_MARGIN * self.needed, dim)

    def __str__(self) -> str:
        """Write the target in words."""
        return f"{self.measure} of {self.relation} {self.bound:g}{self.unit}"


@dataclass(frozen=True)
class SmallestKLD(Separation):
    """The smallest KLD over ordered pairs, in nats."""

    name: ClassVar[str] = "min_kld"
    measure: ClassVar[str] = "smallest KLD"

    def nats(self, gaussians: ClassGaussians, *, held: Any = None) -> float:
        return smallest_kld(gaussians, held=held)


@dataclass(frozen=True)
class NatsPerDimension(Separation):
    """The smallest KLD over ordered pairs, divided by the dimension."""

    name: ClassVar[str] = "per_dim"
    measure: ClassVar[str] = "smallest KLD per dimension"

    def nats(self, gaussians: ClassGaussians, *, held: Any = None) -> float:
        return smallest_kld(gaussians, held=held) / gaussians.dim

    def kld(self, nats: float, dim: int) -> float:
        return nats * dim


@dataclass(frozen=True)
class LargestOverlap(Separation):
    """The largest overlap of a pair at equal priors, measured by minus its logarithm."""

    name: ClassVar[str] = "max_overlap"
    measure: ClassVar[str] = "largest overlap"
    unit: ClassVar[str] = ""
    relation: ClassVar[str] = "at most"

    def checked(self, bound: object) -> float:
        number = as_number(bound, self.name)
        if not 0.0 < number <= 1.0:
            raise InvalidInputError(
                f"{self.name} is {number:g}; pass a probability in (0, 1], for example 0.01"
            )
        return number

    def nats(self, gaussians: ClassGaussians, *, held: Any = None) -> float:
        return -largest_log_overlap(gaussians, held=held)

    def shown(self, nats: float) -> float:
        return math.exp(-nats)

    @property
    def needed(self) -> float:
        return -math.log(self.bound)

    def kld(self, nats: float, dim: int) -> float:
        # that of tied families
        return 2.0 * float(ndtri_exp(-nats - math.log(2.0))) ** 2


#: The targets by the arguments that ask for them.
TARGETS: dict[str, type[Separation]] = {
    kind.name: kind for kind in (SmallestKLD, LargestOverlap, NatsPerDimension)
}


def separation_of(targets: Mapping[str, Any]) -> Separation:
    """Resolve the one target that is given, among arguments by name."""
    given = [name for name in TARGETS if targets.get(name) is not None]
    if len(given) == 1:
        return TARGETS[given[0]](targets[given[0]])
    names = ", ".join(TARGETS)
    if not given:
        raise InvalidInputError(f"no target is given; pass one of {names}")
    raise InvalidInputError(f"{' and '.join(given)} are given; pass only one of {names}")
