"""The update, shortened until it lowers the objective."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss._arrays import namespace
from fpigauss.equations import Evaluation, Problem, Step

__all__ = ["SHORTEST", "Guarded", "descends"]

#: The shortest part of an update that is tried before a fit counts as stalled.
SHORTEST = 1e-10

#: Armijo's part of the expected decrease.
_SUFFICIENT = 1e-4

#: Differences of L below this part of |L| are rounding.
_NOISE = 1e-13

#: Steps are at most this long in units of the current standard deviations (and e-folds).
LONGEST = 3.0


@dataclass(frozen=True)
class Guarded:
    """Backtracking along mu + t delta and the geodesic Sigma #_t Sigma_new: monotone in L."""

    searches: ClassVar[bool] = True

    def start(self, problem: Problem) -> Problem:
        """The problem, for its norms."""
        return problem

    def directions(
        self, memory: Problem, current: Evaluation
    ) -> Iterator[tuple[Step, float, Problem]]:
        """The update, at most so long."""
        yield bounded(memory, current.step), SHORTEST, memory

    def accepts(self, current: Evaluation, trial: Evaluation, expected: float) -> bool:
        """Armijo's condition, or below its rounding a falling natural-gradient norm."""
        return descends(current, trial, expected)

    def remember(
        self, memory: Problem, current: Evaluation, trial: Evaluation, step: Step
    ) -> Problem:
        """Nothing new."""
        return memory


def descends(current: Evaluation, trial: Evaluation, expected: float) -> bool:
    """Whether ``trial`` improves on ``current``, ``expected`` <= 0 being the linear change."""
    change = trial.judged - current.objective
    if abs(change) <= _NOISE * max(1.0, abs(current.objective)):
        return trial.slope > current.slope  # slope = -|natural gradient|^2, up to a metric
    return change <= _SUFFICIENT * expected


def bounded(problem: Problem, step: Step, longest: float = LONGEST) -> Step:
    """``step``, scaled down if a part of it is longer than ``longest``."""
    longest_part = 0.0
    if step.means is not None:
        xp = namespace(step.means)
        squared = float(xp.max(xp.sum(step.means * step.means, axis=-1)))
        longest_part = math.sqrt(squared)
    if step.covariances is not None:
        sizes: Any = problem.family.step_sizes(step.covariances)
        longest_part = max(longest_part, float(namespace(sizes).max(sizes)))
    return step if longest_part <= longest else step.scaled(longest / longest_part)
