"""What the iteration asks of a solver."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss.equations import Evaluation, Problem, Step

__all__ = ["Solver"]


@dataclass(frozen=True)
class Solver(ABC):
    """Where to go from a point, and what to accept on the way."""

    #: Whether a step that does not help is shortened, by an objective with gradients, or fails
    #: the fit.
    searches: ClassVar[bool]

    @abstractmethod
    def start(self, problem: Problem) -> Any:
        """Give what is remembered before the first step."""

    @abstractmethod
    def directions(self, memory: Any, current: Evaluation) -> Iterator[tuple[Step, float, Any]]:
        """Yield steps to try in turn, each with the shortest part worth trying and its memory."""

    @abstractmethod
    def accepts(self, current: Evaluation, trial: Evaluation, step: Step, expected: float) -> bool:
        """Say whether ``trial`` is better; ``expected`` is the first-order change of L, <= 0."""

    @abstractmethod
    def remember(self, memory: Any, current: Evaluation, trial: Evaluation, step: Step) -> Any:
        """Give the memory after an accepted step."""
