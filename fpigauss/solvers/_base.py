"""What the iteration asks of a solver."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss.equations import Evaluation, Problem, Step

__all__ = ["Solver"]


@dataclass(frozen=True, eq=False)
class Solver(ABC):
    """Where to go from a point, and what to accept on the way."""

    #: Whether a step that does not help is shortened, for which the objective needs gradients;
    #: otherwise it ends the fit.
    searches: ClassVar[bool]

    @abstractmethod
    def start(self, problem: Problem) -> Any:
        """Return the memory before the first step."""

    @abstractmethod
    def directions(self, memory: Any, current: Evaluation) -> Iterator[tuple[Step, float, Any]]:
        """Yield steps to try in turn, each with its smallest part worth trying and its memory."""

    @abstractmethod
    def accepts(self, current: Evaluation, trial: Evaluation, step: Step, expected: float) -> bool:
        """Say whether ``trial`` is better; ``expected`` is the first-order change of L, <= 0."""

    @abstractmethod
    def remember(self, memory: Any, current: Evaluation, trial: Evaluation, step: Step) -> Any:
        """Return the memory after an accepted step."""
