"""L-BFGS in the moving frame, preconditioned by the fixed point."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from fpigauss._array.checks import check_positive_integer
from fpigauss._array.linalg import broke_down, dot
from fpigauss._array.namespaces import on_host
from fpigauss._array.typing import Array
from fpigauss.equations import Evaluation, Move, Problem, Step, largest
from fpigauss.solvers._base import Solver
from fpigauss.solvers._guarded import SHORTEST, Reach, descends

__all__ = ["Accelerated"]

#: Pairs to remember by default, for steps of up to so many numbers and for larger ones.
_MANY, _SMALL, _FEW = 30, 2**16, 10


@dataclass(frozen=True)
class _Pair:
    step: Array  # flat, as is the change
    change: Array  # of the gradient
    curvature: float  # their inner product, > 0


@dataclass(frozen=True)
class _Memory:
    problem: Problem
    limit: int
    reach: Reach
    pairs: tuple[_Pair, ...] = ()
    #: The force at the latest point, flat; None before the first step.
    force: Array | None = None


@dataclass(frozen=True)
class Accelerated(Solver):
    """The default solver: quasi-Newton steps, with backtracking as in ``Guarded``.

    L-BFGS on u and S, the coordinates of the moving frame (mu <- mu + F u, F <- F exp(S / 2)).

    Pairs stored in these coordinates need no transport from one frame to the next. The linearized
    update is the initial inverse Hessian. If a direction fails, the update itself is tried, as in
    the guarded solver.

    Parameters
    ----------
    history : int, optional
        Pairs of steps and gradient changes to remember, >= 1; fewer if ``memory_limit`` requires.
        By default 30, or 10 where a step has more than 2**16 numbers: there the passes over more
        pairs take longer than the evaluations that they save.

    See Also
    --------
    Guarded : what it falls back to.
    Picard : full steps.

    Examples
    --------
    >>> from fpigauss import Accelerated, FixedPoint
    >>> FixedPoint(lam=1.0, solver=Accelerated(history=10)).solver
    Accelerated(history=10)
    """

    history: int | None = None

    searches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the number."""
        if self.history is not None:
            object.__setattr__(self, "history", check_positive_integer(self.history, "history"))

    def start(self, problem: Problem) -> _Memory:
        """Start without pairs, and set how many there may be."""
        size = 0
        if problem.updates_means:
            size += problem.n_classes * problem.dim
        if problem.updates_covariances:
            size += _size(problem)
        history = self.history or (_MANY if size <= _SMALL else _FEW)
        limit = problem.memory_limit // (2 * 8 * max(1, size))
        # one pair fewer than fits: the next one is made before the oldest is dropped
        return _Memory(problem, max(1, min(history, limit - 1)), Reach())

    def directions(
        self, memory: _Memory, current: Evaluation
    ) -> Iterator[tuple[Move, float, _Memory]]:
        """Yield the quasi-Newton step, then the update."""
        if memory.pairs and memory.force is not None:
            direction = _newton_or_none(memory, current, memory.force)
            if direction is not None and direction.slope < 0.0:
                yield memory.reach.bounded(direction), 1e-3, memory
        yield memory.reach.bounded(current.update), SHORTEST, replace(memory, pairs=())

    def accepts(self, current: Evaluation, trial: Evaluation, move: Move) -> bool:
        """Judge as the guarded solver does."""
        return descends(current, trial, move)

    def remember(
        self, memory: _Memory, current: Evaluation, trial: Evaluation, move: Move
    ) -> _Memory:
        """Add a pair, if the objective curves upward along it."""
        before = current.force.flat() if memory.force is None else memory.force
        step, force = move.step.flat(), trial.force.flat()
        change = before - force
        curvature, of_step, of_change = on_host(
            dot(step, change), dot(step, step), dot(change, change)
        )
        pairs = memory.pairs
        # a pair without positive curvature says nothing about a minimum
        if curvature > 1e-10 * (of_step * of_change) ** 0.5:
            pairs = (*pairs, _Pair(step, change, curvature))[-memory.limit :]
        return replace(memory, reach=memory.reach.after(move), pairs=pairs, force=force)


def _newton_or_none(memory: _Memory, current: Evaluation, force: Array) -> Move | None:
    """Compute the quasi-Newton step; None if it overflows, so that a factorization breaks down."""
    try:
        return _newton(memory, current, force)
    except Exception as error:
        if broke_down(error):
            return None
        raise


def _newton(memory: _Memory, current: Evaluation, force: Array) -> Move:
    """Apply the inverse Hessian to the ``force``, flat, by the two-loop recursion."""
    problem, shape = memory.problem, current.force
    curvature = current.descent.curvature if current.descent else None

    def preconditioned(flat: Array) -> Array:
        if shape.covariances is None:
            return flat
        means, covariances = shape.shaped(flat)
        return Step(means, problem.family.precondition(curvature, covariances)).flat()

    q, weights = force, []
    for pair in reversed(memory.pairs):
        weights.append(dot(pair.step, q) / pair.curvature)
        q = q + (-weights[-1]) * pair.change  # a sum is computed within the product's memory
    last = memory.pairs[-1]
    q = (last.curvature / dot(last.change, preconditioned(last.change))) * preconditioned(q)
    for pair, weight in zip(memory.pairs, reversed(weights), strict=True):
        q = q + (weight - dot(pair.change, q) / pair.curvature) * pair.step
    step = shape.shaped(q)
    along, *sizes = on_host(dot(force, q), *map(largest, problem.sizes(step)))
    return Move.of(step, -along, *sizes)


def _size(problem: Problem) -> int:
    """Count the entries of the covariances' values."""
    return math.prod(problem.family.public_shape(problem.n_classes, problem.dim))
