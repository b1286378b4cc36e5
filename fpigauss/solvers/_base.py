"""What the iteration asks of a solver."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss.equations import Evaluation, Move, Problem

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
    def directions(self, memory: Any, current: Evaluation) -> Iterator[tuple[Move, float, Any]]:
        """Yield moves to try in turn, each with its smallest part worth trying and its memory."""

    @abstractmethod
    def accepts(self, current: Evaluation, trial: Evaluation, move: Move) -> bool:
        """Say whether ``trial``, where ``move`` leads, is better."""

    @abstractmethod
    def remember(self, memory: Any, current: Evaluation, trial: Evaluation, move: Move) -> Any:
        """Return the memory after an accepted move."""
