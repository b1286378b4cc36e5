"""L-BFGS in the moving frame, preconditioned by the fixed point."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss._array.checks import check_positive_integer
from fpigauss.equations import Evaluation, Problem, Step
from fpigauss.solvers._base import Solver
from fpigauss.solvers._guarded import SHORTEST, Reach, descends

__all__ = ["Accelerated"]


@dataclass(frozen=True)
class _Pair:
    step: Step
    change: Step  # of the gradient
    curvature: Any  # their inner product, > 0


@dataclass(frozen=True)
class _Memory:
    reach: Reach
    limit: int
    pairs: tuple[_Pair, ...] = ()

    @property
    def problem(self) -> Problem:
        return self.reach.problem


@dataclass(frozen=True)
class Accelerated(Solver):
    """The default solver: quasi-Newton steps, with backtracking as in ``Guarded``.

    L-BFGS on u and S, the coordinates of the moving frame (mu <- mu + F u, F <- F exp(S / 2)).

    Pairs stored in these coordinates need no transport from one frame to the next. The linearized
    update is the initial inverse Hessian. If a direction fails, the update itself is tried, as in
    the guarded solver.

    Parameters
    ----------
    history : int
        Pairs of steps and gradient changes to remember, >= 1; fewer if ``memory_limit`` requires.

    Examples
    --------
    >>> from fpigauss import Accelerated, FixedPoint
    >>> FixedPoint(lam=1.0, solver=Accelerated(history=10)).solver
    Accelerated(history=10)
    """

    history: int = 30

    searches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the number."""
        object.__setattr__(self, "history", check_positive_integer(self.history, "history"))

    def start(self, problem: Problem) -> _Memory:
        """Start without pairs, and set how many there may be."""
        size = 0
        if problem.updates_means:
            size += problem.n_classes * problem.dim
        if problem.updates_covariances:
            size += _size(problem)
        limit = problem.memory_limit // (2 * 8 * max(1, size))
        # one pair fewer than fits: the next one is made before the oldest is dropped
        return _Memory(Reach(problem), max(1, min(self.history, limit - 1)))

    def directions(
        self, memory: _Memory, current: Evaluation
    ) -> Iterator[tuple[Step, float, _Memory]]:
        """Yield the quasi-Newton step, then the update."""
        if memory.pairs:
            gradient = current.gradient
            assert gradient is not None
            direction = _newton(memory, current, gradient)
            if gradient.dot(direction) < 0.0:
                yield memory.reach.bounded(direction), 1e-3, memory
        yield memory.reach.bounded(current.step), SHORTEST, _Memory(memory.reach, memory.limit)

    def accepts(self, current: Evaluation, trial: Evaluation, step: Step, expected: float) -> bool:
        """Judge as the guarded solver does."""
        return descends(current, trial, step, expected)

    def remember(
        self, memory: _Memory, current: Evaluation, trial: Evaluation, step: Step
    ) -> _Memory:
        """Add a pair, if the objective curves upward along it."""
        before, after = current.gradient, trial.gradient
        assert before is not None and after is not None
        change = _combined(after, before, -1.0)
        curvature = step.dot(change)
        pairs = memory.pairs
        # a pair without positive curvature says nothing about a minimum
        if curvature > 1e-10 * (step.dot(step) * change.dot(change)) ** 0.5:
            pairs = (*pairs, _Pair(step, change, curvature))[-memory.limit :]
        return _Memory(memory.reach.after(step), memory.limit, pairs)


def _newton(memory: _Memory, current: Evaluation, gradient: Step) -> Step:
    """Apply minus the inverse Hessian to the gradient, by the two-loop recursion."""
    family = memory.problem.family
    curvature = current.descent.curvature if current.descent else None

    def preconditioned(gradient: Step) -> Step:
        if gradient.covariances is None:
            return gradient
        inner = family.precondition(curvature, gradient.covariances)
        return Step(gradient.means, inner)

    q, weights = gradient, []
    for pair in reversed(memory.pairs):
        weight = pair.step.dot(q) / pair.curvature
        weights.append(weight)
        q = _combined(q, pair.change, -weight)
    last = memory.pairs[-1]
    scale = last.curvature / last.change.dot(preconditioned(last.change))
    direction = preconditioned(q).scaled(scale)
    for pair, weight in zip(memory.pairs, reversed(weights), strict=True):
        correction = weight - pair.change.dot(direction) / pair.curvature
        direction = _combined(direction, pair.step, correction)
    return direction.scaled(-1.0)


def _combined(a: Step, b: Step, factor: Any) -> Step:
    """Compute a + factor b."""
    return Step(
        *(None if x is None or y is None else x + factor * y for x, y in zip(a, b, strict=True))
    )


def _size(problem: Problem) -> int:
    """Count the entries of the covariances' values."""
    return math.prod(problem.family.public_shape(problem.n_classes, problem.dim))
