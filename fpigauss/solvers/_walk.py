"""A walk in lam: the solutions for smaller ones lead to that for one far past the data."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from fpigauss._array.linalg import broke_down
from fpigauss.equations import Equations, Evaluation, Point, Problem, Step
from fpigauss.result import Status
from fpigauss.solvers._base import Solver
from fpigauss.solvers._loop import Outcome, Track, converged, evaluated, iterate

__all__ = ["walked"]

#: The residual to reach at each lam, and the evaluations to spend on it.
_LOOSE = 1e-2
_STAGE = 60

_STILL = Step(None, None)


def walked(
    problem: Problem,
    equations: Equations,
    solver: Solver,
    start: Evaluation,
    lams: Sequence[float],
    *,
    admissible: Callable[[Point], bool],
    max_iter: int,
    tol: float,
    advance: Callable[[Evaluation], None],
) -> Outcome:
    """Solve loosely for each of ``lams``, from where the one before led, then look from there.

    All of it counts as one accepted step of the fit, taken if it leads down. There is no walk if
    the start has converged, or if ``max_iter`` leaves no evaluations for one.
    """
    track = Track()
    track.add(start, 0.0)
    if not solver.searches or converged(problem, equations, start, tol):
        lams = ()

    def at(lam: float, point: Point, departure: Evaluation) -> Evaluation | None:
        there = replace(problem, lam=lam)
        advance(departure)
        return evaluated(there, equations, replace(departure, point=point), _STILL, admissible)

    def begun(lam: float, before: Evaluation | None, current: Evaluation) -> Evaluation | None:
        """Evaluate at ``lam`` where the last step ended, and where another would."""
        here = at(lam, current.point, current)
        if before is None or here is None:
            return here
        ahead = _extrapolated(problem, before, current)
        there = None if ahead is None else at(lam, ahead, current)
        return there if there is not None and there.objective < here.objective else here

    n_spent, before, current = 0, None, start
    for lam in lams:
        # two at this lam, a step, and two at the lam that was asked for
        if n_spent + 5 > max_iter:
            break
        here = begun(lam, before, current)
        n_spent += 1 if before is None else 2
        if here is None:
            break
        outcome = iterate(
            replace(problem, lam=lam),
            equations,
            solver,
            here,
            admissible=admissible,
            max_iter=min(_STAGE, max_iter - n_spent - 2),
            tol=_LOOSE,
            runaway=None,
            observe=None,
            advance=advance,
        )
        n_spent += outcome.n_iter
        # the first step is from the data, which are no solution for a smaller lam
        before, current = (None if current is start else current), outcome.evaluation
    if current is not start:
        end = begun(problem.lam, before, current)
        n_spent += 1 if before is None else 2
        comparable = problem.repulsion.has_potential
        if end is not None and not (comparable and end.objective >= start.objective):
            track.add(end, 1.0)
            return Outcome(end, Status.RUNNING, n_spent, track.arrays())
    return Outcome(start, Status.RUNNING, n_spent, track.arrays())


def _extrapolated(problem: Problem, before: Evaluation, after: Evaluation) -> Point | None:
    """Repeat the step between two solutions: in log covariances, and in whitened means.

    As lam grows by a factor, so do the divergences and, each by its own, the eigenvalues.
    """
    family, (means, factor) = problem.family, after.point
    values = family.values_projections(family.values(before.point.factor), problem.dim)
    unit = family.unit(problem.dim, means)
    try:
        step = -2.0 * family.log_solution(unit, family.whiten_projections(factor, values))
    except Exception as error:
        if broke_down(error):
            return None
        raise
    white = family.whiten(factor, means)
    ahead = family.retract(factor, step)
    growth = math.sqrt(after.smallest_kld / before.smallest_kld)
    return problem.moved(after.point, Point(growth * family.color(ahead, white), ahead))
