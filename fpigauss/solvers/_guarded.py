"""The update, shortened until it lowers the objective."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fpigauss.equations import Evaluation, Move, Problem
from fpigauss.solvers._base import Solver

__all__ = ["SHORTEST", "Guarded", "Reach", "descends"]

#: The smallest part of an update that is tried before a fit counts as stalled.
SHORTEST = 1e-10

#: Armijo's part of the expected decrease.
_SUFFICIENT = 1e-4

#: A covariance changes by at most this many e-folds per step, so that a runaway is seen.
_LONGEST = 3.0


@dataclass(frozen=True)
class Reach:
    """How far a step may go.

    Means may at first move as many standard deviations as covariances e-folds, and farther as
    such steps succeed: for large lam they settle thousands of standard deviations apart.
    """

    means: float = _LONGEST

    def bounded(self, move: Move) -> Move:
        """Scale ``move`` down if it goes too far."""
        excess = max(move.of_means / self.means, move.of_covariances / _LONGEST)
        return move if excess <= 1.0 else move.scaled(1.0 / excess)

    def after(self, move: Move) -> "Reach":
        """Return the reach after ``move`` was accepted."""
        return Reach(max(_LONGEST, min(2.0 * self.means, 4.0 * move.of_means)))


@dataclass(frozen=True)
class Guarded(Solver):
    """Backtracking along mu + t delta and the geodesic Sigma #_t Sigma_new: monotone in L.

    See Also
    --------
    Picard : full steps.
    Accelerated : the default.
    """

    searches: ClassVar[bool] = True

    def start(self, problem: Problem) -> Reach:
        """Return the reach of the first step."""
        return Reach()

    def directions(self, memory: Reach, current: Evaluation) -> Iterator[tuple[Move, float, Reach]]:
        """Yield the update, as far as it may go."""
        yield memory.bounded(current.update), SHORTEST, memory

    def accepts(self, current: Evaluation, trial: Evaluation, move: Move) -> bool:
        """Require Armijo's condition, or its approximate form where changes of L are rounding."""
        return descends(current, trial, move)

    def remember(self, memory: Reach, current: Evaluation, trial: Evaluation, move: Move) -> Reach:
        """Return the reach of the next step."""
        return memory.after(move)


def descends(current: Evaluation, trial: Evaluation, move: Move) -> bool:
    """Say whether ``trial`` improves on ``current`` as much as the slope of ``move`` promises.

    Where the change of L is only rounding, it is taken from the slopes at both ends of the step,
    which are still accurate there (the approximate condition of Hager & Zhang, 2005).
    """
    change = trial.judged - current.objective
    if abs(change) <= current.rounding:
        change = 0.5 * (move.slope - float(trial.force.dot(move.step)))
    return change <= _SUFFICIENT * move.slope
