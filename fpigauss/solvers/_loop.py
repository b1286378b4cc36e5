"""The iteration, written once for all solvers."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fpigauss._arrays import namespace
from fpigauss._linalg import broke_down
from fpigauss.equations import Equations, Evaluation, Point, Problem, Step
from fpigauss.result import History, Status

__all__ = ["Outcome", "Runaway", "Solver", "iterate"]


class Solver(Protocol):
    """Where to go from a point, and what to accept on the way."""

    @property
    def searches(self) -> bool:
        """Whether a step that does not help is shortened, or fails the fit."""
        ...

    def start(self, problem: Problem) -> Any:
        """What is remembered before the first step."""
        ...

    def directions(self, memory: Any, current: Evaluation) -> Iterator[tuple[Step, float, Any]]:
        """Steps to try in turn, each with the shortest part worth trying and its memory."""
        ...

    def accepts(self, current: Evaluation, trial: Evaluation, step: Step, expected: float) -> bool:
        """Whether ``trial`` is better; ``expected`` is the first-order change of L, <= 0."""
        ...

    def remember(self, memory: Any, current: Evaluation, trial: Evaluation, step: Step) -> Any:
        """The memory after an accepted step."""
        ...


@dataclass(frozen=True)
class Runaway:
    """Where a covariance counts as having run away."""

    largest: float
    condition: float

    def seen_at(self, problem: Problem, point: Point) -> bool:
        """Whether an eigenvalue, or the condition of a class covariance, is past all bounds."""
        low, high = problem.family.spectrum(point.factor)
        past = (high > self.largest) | (high > self.condition * low)
        return bool(namespace(past).any(past))


@dataclass
class Track:
    """The history as it grows."""

    objective: list[float] = field(default_factory=list)
    residual: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    smallest_kld: list[float] = field(default_factory=list)

    def add(self, evaluation: Evaluation, step: float) -> None:
        """One accepted point."""
        self.objective.append(evaluation.objective)
        self.residual.append(evaluation.residual)
        self.step.append(step)
        self.smallest_kld.append(evaluation.smallest_kld)

    def arrays(self) -> History:
        """As arrays by name."""
        return {name: np.asarray(values) for name, values in vars(self).items()}


#: Accepted steps without progress after which a fit counts as stalled.
_PATIENCE = 20


@dataclass
class Progress:
    """How long neither L, beyond its rounding, nor its natural gradient has fallen."""

    objective: float
    slope: float  # minus the squared norm of the natural gradient, up to a metric
    idle: int = 0

    def add(self, evaluation: Evaluation) -> None:
        """One accepted point."""
        self.idle += 1
        if evaluation.objective < self.objective - evaluation.rounding:
            self.objective, self.idle = evaluation.objective, 0
        if evaluation.slope > self.slope:
            self.slope, self.idle = evaluation.slope, 0


@dataclass(frozen=True)
class Outcome:
    """Where the iteration ended, and why."""

    evaluation: Evaluation
    status: Status
    n_iter: int
    history: History


def iterate(
    problem: Problem,
    equations: Equations,
    solver: Solver,
    start: Evaluation,
    *,
    admissible: Callable[[Point], bool],
    max_iter: int,
    tol: float,
    runaway: Runaway | None,
    observe: Callable[[Outcome], bool] | None,
    advance: Callable[[Evaluation], None],
) -> Outcome:
    """Iterate until something ends it.

    Parameters
    ----------
    start : Evaluation
        Of the initial point.
    admissible : callable
        Whether a point's covariances are positive definite numbers in the latent space too.
    runaway : Runaway, optional
        Bounds past which the objective counts as unbounded; None where a minimum is certain.
    observe : callable, optional
        Told of every accepted step; True ends the iteration.
    advance : callable
        Told of every evaluation, for a progress bar.
    """
    current, memory, track, n_iter = start, solver.start(problem), Track(), 0
    track.add(current, 0.0)
    progress = Progress(current.objective, current.slope)

    def outcome(status: Status) -> Outcome:
        return Outcome(current, status, n_iter, track.arrays())

    while True:
        if tol > 0.0 and current.residual <= tol:
            return outcome(Status.CONVERGED)
        if runaway is not None and runaway.seen_at(problem, current.point):
            return outcome(Status.UNBOUNDED)
        if n_iter >= max_iter:
            return outcome(Status.MAX_ITER)
        if current.failure is not None:
            raise current.failure
        if solver.searches and progress.idle >= _PATIENCE:
            return outcome(Status.STALLED)
        accepted = None
        for direction, shortest, recall in solver.directions(memory, current):
            t, slope = 1.0, _slope(current, direction)
            while n_iter < max_iter and accepted is None and t >= shortest:
                step = direction.scaled(t)
                trial = _evaluated(problem, equations, current, step, admissible)
                n_iter += 1 if trial is not None or solver.searches else 0
                advance(current if trial is None else trial)
                if trial is not None and solver.accepts(current, trial, step, t * slope):
                    accepted, memory = (trial, step, t), recall
                else:
                    t *= _shortening(current, trial, t * slope)
            if accepted is not None or n_iter >= max_iter:
                break
        if accepted is None:
            if n_iter >= max_iter and solver.searches:
                return outcome(Status.MAX_ITER)
            return outcome(Status.STALLED if solver.searches else Status.DIVERGED)
        trial, step, t = accepted
        memory = solver.remember(memory, current, trial, step)
        current = trial
        track.add(current, t)
        progress.add(current)
        if observe is not None and observe(outcome(Status.RUNNING)):
            return outcome(Status.STOPPED)


def _evaluated(
    problem: Problem,
    equations: Equations,
    current: Evaluation,
    step: Step,
    admissible: Callable[[Point], bool],
) -> Evaluation | None:
    """The evaluation where ``step`` leads, or None if there are no such Gaussians."""
    with np.errstate(all="ignore"):  # what is not finite is told by the numbers themselves
        try:
            point = problem.retracted(current.point, step)
            if not admissible(point):
                return None
            trial = equations.evaluate(problem, point, current)
        except Exception as error:
            if broke_down(error):
                return None
            raise
    usable = trial.finite and not math.isnan(trial.residual)
    return trial if usable else None


def _slope(current: Evaluation, direction: Step) -> float:
    gradient = current.gradient
    return 0.0 if gradient is None else float(gradient.dot(direction))


def _shortening(current: Evaluation, trial: Evaluation | None, expected: float) -> float:
    """By how much to shorten a step: the minimum of the parabola through what is known."""
    if trial is None:
        return 0.25
    excess = trial.judged - current.objective - expected
    return min(0.5, max(0.1, -0.5 * expected / excess)) if excess > 0.0 else 0.5
