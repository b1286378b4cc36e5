"""The update, shortened until it lowers the objective."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fpigauss.equations import Evaluation, Problem, Step
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

    problem: Problem
    means: float = _LONGEST

    def bounded(self, step: Step) -> Step:
        """Scale ``step`` down if it goes too far."""
        of_means, of_covariances = self.problem.lengths(step)
        excess = max(of_means / self.means, of_covariances / _LONGEST)
        return step if excess <= 1.0 else step.scaled(1.0 / excess)

    def after(self, step: Step) -> "Reach":
        """Return the reach after ``step`` was accepted."""
        length, _ = self.problem.lengths(step)
        return Reach(self.problem, max(_LONGEST, min(2.0 * self.means, 4.0 * length)))


@dataclass(frozen=True)
class Guarded(Solver):
    """Backtracking along mu + t delta and the geodesic Sigma #_t Sigma_new: monotone in L."""

    searches: ClassVar[bool] = True

    def start(self, problem: Problem) -> Reach:
        """Return the reach of the first step."""
        return Reach(problem)

    def directions(self, memory: Reach, current: Evaluation) -> Iterator[tuple[Step, float, Reach]]:
        """Yield the update, as far as it may go."""
        yield memory.bounded(current.step), SHORTEST, memory

    def accepts(self, current: Evaluation, trial: Evaluation, step: Step, expected: float) -> bool:
        """Require Armijo's condition, or its approximate form where changes of L are rounding."""
        return descends(current, trial, step, expected)

    def remember(self, memory: Reach, current: Evaluation, trial: Evaluation, step: Step) -> Reach:
        """Return the reach of the next step."""
        return memory.after(step)


def descends(current: Evaluation, trial: Evaluation, step: Step, expected: float) -> bool:
    """Say whether ``trial`` improves on ``current``, ``expected`` <= 0 being the linear change.

    Where the change of L is only rounding, it is taken from gradients, which are still accurate
    there: the mean of the slopes at both ends of the step (the approximate condition of Hager &
    Zhang, 2005).
    """
    change = trial.judged - current.objective
    if abs(change) <= current.rounding:
        gradient = trial.gradient
        assert gradient is not None
        change = 0.5 * (expected + float(gradient.dot(step)))
    return change <= _SUFFICIENT * expected
