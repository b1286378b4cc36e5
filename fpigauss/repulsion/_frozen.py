"""A pi that stays fixed: a number, or Eq. 10 measured once."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss._array.checks import check_positive
from fpigauss._array.typing import Array
from fpigauss.repulsion._base import KnownRepulsion, Repulsion
from fpigauss.repulsion._mean import MeanRepulsion

__all__ = ["FrozenRepulsion", "InitialRepulsion"]


@dataclass(frozen=True)
class FrozenRepulsion(KnownRepulsion):
    """A positive number: L is bounded below, and has a minimum for every lam.

    Parameters
    ----------
    pi : float
        In nats, > 0.
    """

    pi: float

    bounded: ClassVar[bool] = True
    has_potential: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the number."""
        object.__setattr__(self, "pi", check_positive(self.pi, "pi"))

    def measure(self, blocks: Iterable[Array], n_classes: int) -> float:
        return self.pi


@dataclass(frozen=True)
class InitialRepulsion(MeanRepulsion):
    """Eq. 10 measured once, at the initial Gaussians: ``pi="initial"``."""

    bounded: ClassVar[bool] = True
    has_potential: ClassVar[bool] = True

    def at_start(self, pi: Any) -> Repulsion:
        pi = float(pi)
        # zero means that all initial Gaussians coincide, which is an error of its own
        return FrozenRepulsion(pi) if pi > 0.0 else self
