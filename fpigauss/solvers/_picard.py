"""Plain iteration of the update."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fpigauss.equations import Evaluation, Move, Problem
from fpigauss.solvers._base import Solver

__all__ = ["Picard"]


@dataclass(frozen=True)
class Picard(Solver):
    """Plain iteration: every full update is taken. It may oscillate or overflow.

    See Also
    --------
    Guarded : the same steps, shortened until the objective falls.
    Accelerated : the default.
    """

    searches: ClassVar[bool] = False

    def start(self, problem: Problem) -> None:
        """Remember nothing."""

    def directions(self, memory: None, current: Evaluation) -> Iterator[tuple[Move, float, None]]:
        """Yield the full update."""
        yield current.update, 1.0, None

    def accepts(self, current: Evaluation, trial: Evaluation, move: Move) -> bool:
        """Accept every trial."""
        return True

    def remember(self, memory: None, current: Evaluation, trial: Evaluation, move: Move) -> None:
        """Remember nothing."""
