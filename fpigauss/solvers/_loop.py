"""The iteration, written once for all solvers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fpigauss._array.linalg import broke_down
from fpigauss._array.namespaces import namespace
from fpigauss.equations import Equations, Evaluation, Move, Point, Problem, Step
from fpigauss.result import History, Status
from fpigauss.solvers._base import Solver

__all__ = ["Outcome", "Runaway", "Track", "converged", "evaluated", "iterate"]


@dataclass(frozen=True)
class Runaway:
    """The bounds past which a covariance counts as having run away."""

    largest: float
    condition: float

    def seen_at(self, problem: Problem, point: Point) -> bool:
        """Say whether an eigenvalue or a condition number of a covariance is past its bound."""
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
        """Add an accepted point."""
        self.objective.append(evaluation.objective)
        self.residual.append(evaluation.residual)
        self.step.append(step)
        self.smallest_kld.append(evaluation.smallest_kld)

    @classmethod
    def of(cls, history: History) -> "Track":
        """Go on with a history."""
        return cls(**{name: values.tolist() for name, values in history.items()})

    def arrays(self) -> History:
        """Return the history as arrays by name."""
        return {name: np.asarray(values) for name, values in vars(self).items()}


#: Accepted steps without progress after which a fit counts as stalled.
_PATIENCE = 40


@dataclass
class Progress:
    """For how long neither L, beyond its rounding, nor its natural gradient has fallen."""

    lowest: float
    level: float
    slope: float  # minus the squared norm of the natural gradient, up to a metric
    idle: int = 0

    @classmethod
    def at(cls, start: Evaluation) -> "Progress":
        """Begin at a point."""
        return cls(start.objective, start.objective, start.update.slope)

    def add(self, before: Evaluation, after: Evaluation) -> None:
        """Add an accepted step."""
        self.idle += 1
        # values of L at different pi do not compare: each step's change is judged at one pi
        self.level += after.judged - before.objective
        if self.level < self.lowest - after.rounding:
            self.lowest, self.idle = self.level, 0
        if after.update.slope > self.slope:
            self.slope, self.idle = after.update.slope, 0


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
    begun: Outcome | None = None,
    admissible: Callable[[Point], bool],
    max_iter: int,
    tol: float,
    runaway: Runaway | None,
    observe: Callable[[Outcome], bool] | None,
    advance: Callable[[Evaluation], None],
) -> Outcome:
    """Iterate until a criterion, the budget or ``observe`` ends it.

    Parameters
    ----------
    start : Evaluation
        The evaluation of the initial point.
    begun : Outcome, optional
        What was done before, to go on from; ``start`` is where it ended.
    admissible : callable
        Whether a point's covariances are positive definite numbers in the latent space too.
    runaway : Runaway, optional
        Bounds past which the objective counts as unbounded; None where a minimum is certain.
    observe : callable, optional
        Called after every accepted step; True ends the iteration.
    advance : callable
        Called after every evaluation, for a progress bar.
    """
    current, memory, track, n_iter = start, solver.start(problem), Track(), 0
    if begun is None:
        track.add(current, 0.0)
    else:
        track, n_iter = Track.of(begun.history), begun.n_iter
    progress = Progress.at(current)

    def attempt(step: Step) -> Evaluation | None:
        return evaluated(problem, equations, current, step, admissible)

    def outcome(status: Status) -> Outcome:
        return Outcome(current, status, n_iter, track.arrays())

    while True:
        ended = _ended(problem, equations, current, runaway=runaway, tol=tol)
        if ended is None:
            idle = solver.searches and progress.idle >= _PATIENCE
            ended = _given_up(spent=n_iter >= max_iter, idle=idle)
        if ended is not None:
            return outcome(ended)
        current.check_step()
        search = _searched(
            solver, memory, current, attempt, budget=max_iter - n_iter, advance=advance
        )
        n_iter += search.n_spent
        if search.trial is None:
            return outcome(_failed(solver, spent=n_iter >= max_iter))
        memory = solver.remember(search.memory, current, search.trial, search.move)
        progress.add(current, search.trial)
        current = search.trial
        track.add(current, search.taken)
        del search  # and with it the oldest pair of a history that is full
        if observe is not None and observe(outcome(Status.RUNNING)):
            return outcome(Status.STOPPED)


def _ended(
    problem: Problem,
    equations: Equations,
    current: Evaluation,
    *,
    runaway: Runaway | None,
    tol: float,
) -> Status | None:
    """Say what ends the iteration at an accepted point, if anything about the point does."""
    if converged(problem, equations, current, tol):
        return Status.CONVERGED
    if runaway is not None and runaway.seen_at(problem, current.point):
        return Status.UNBOUNDED
    return None


def _given_up(*, spent: bool, idle: bool) -> Status | None:
    if spent:
        return Status.MAX_ITER
    return Status.STALLED if idle else None


#: The forces on a covariance must cancel to this many times ``tol``, relative to their sizes.
_BALANCED = 100.0


def converged(problem: Problem, equations: Equations, current: Evaluation, tol: float) -> bool:
    """Say whether the residual is at most ``tol``, and the point stationary.

    The residual divides the gradient by the curvature that keeps the update positive definite,
    which grows as 1 / KLD for classes that nearly coincide: there it is small at any gradient.
    """
    if problem.lam == 0.0 and equations.exact:
        # the answer is known, and what the residual measures there is rounding
        return current.residual <= tol or current.residual <= problem.rounding
    if not (tol > 0.0 and current.residual <= tol):
        return False
    return equations.imbalance(problem, current) <= _BALANCED * tol


def _failed(solver: Solver, *, spent: bool) -> Status:
    """Say how the iteration ends where no step was accepted."""
    if not solver.searches:
        return Status.DIVERGED
    return Status.MAX_ITER if spent else Status.STALLED


class _Search(NamedTuple):
    """The first move that the solver accepts, if there is one, and what the search cost."""

    n_spent: int
    trial: Evaluation | None = None
    move: Move = Move(Step(None, None), 0.0, 0.0, 0.0)
    taken: float = 0.0  # the part of the direction that was taken
    memory: Any = None


def _searched(
    solver: Solver,
    memory: Any,
    current: Evaluation,
    attempt: Callable[[Step], Evaluation | None],
    *,
    budget: int,
    advance: Callable[[Evaluation], None],
) -> _Search:
    """Try the solver's directions in turn, each shortened until a step is accepted."""
    n_spent = 0
    for direction, shortest, recall in solver.directions(memory, current):
        t = 1.0
        while n_spent < budget and t >= shortest:
            move = direction.scaled(t)
            trial = attempt(move.step)
            # a plain iteration counts the updates that it has applied
            n_spent += 1 if trial is not None or solver.searches else 0
            advance(current if trial is None else trial)
            if trial is not None and solver.accepts(current, trial, move):
                return _Search(n_spent, trial, move, t, recall)
            t *= _shortening(current, trial, move.slope)
        if n_spent >= budget:
            break
    return _Search(n_spent)


def evaluated(
    problem: Problem,
    equations: Equations,
    current: Evaluation,
    step: Step,
    admissible: Callable[[Point], bool],
) -> Evaluation | None:
    """Evaluate where ``step`` leads; None if there are no such Gaussians."""
    try:
        point = problem.retracted(current.point, step)
        if not admissible(point):
            return None
        trial = equations.evaluate(problem, point, current)
    except Exception as error:
        if broke_down(error):
            return None
        raise
    usable = trial.finite
    return trial if usable else None


def _shortening(current: Evaluation, trial: Evaluation | None, expected: float) -> float:
    """Say by how much to shorten a step: to the minimum of the parabola through what is known."""
    if trial is None:
        return 0.25
    excess = trial.judged - current.objective - expected
    return min(0.5, max(0.1, -0.5 * expected / excess)) if excess > 0.0 else 0.5
