"""A walk in lam: the solutions for smaller ones lead to that for one far past the data."""

from collections.abc import Callable, Sequence
from dataclasses import replace

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
    track, n_spent, current = Track(), 0, start
    track.add(start, 0.0)
    if not solver.searches or converged(problem, equations, start, tol):
        lams = ()
    for lam in lams:
        if n_spent + 3 > max_iter:  # one at this lam, a step, one at the lam that was asked for
            break
        stage = replace(problem, lam=lam)
        here = evaluated(stage, equations, current, _STILL, admissible)
        n_spent += 1
        if here is None:
            break
        outcome = iterate(
            stage,
            equations,
            solver,
            here,
            admissible=admissible,
            max_iter=min(_STAGE, max_iter - n_spent - 1),
            tol=_LOOSE,
            runaway=None,
            observe=None,
            advance=advance,
        )
        n_spent += outcome.n_iter
        current = outcome.evaluation
    if current is not start:
        end = evaluated(problem, equations, current, _STILL, admissible)
        n_spent += 1
        comparable = problem.repulsion.has_potential
        if end is not None and not (comparable and end.objective >= start.objective):
            track.add(end, 1.0)
            return Outcome(end, Status.RUNNING, n_spent, track.arrays())
    return Outcome(start, Status.RUNNING, n_spent, track.arrays())
