"""A fit from statistics to its result, and the warnings at its end."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from fpigauss._array.checks import check_range
from fpigauss._array.flags import without_flags
from fpigauss._array.labels import listed
from fpigauss._array.linalg import broke_down
from fpigauss._array.namespaces import cast_like, on_numpy
from fpigauss._array.typing import Array
from fpigauss._progress import fit_bar
from fpigauss._warnings import warn_user
from fpigauss.equations import Evaluation
from fpigauss.errors import (
    ConvergenceWarning,
    PooledCovarianceWarning,
    UnboundedObjectiveWarning,
)
from fpigauss.fit._adjoint import Adjoint
from fpigauss.fit._options import Options
from fpigauss.fit._start import Setup, prepare
from fpigauss.fit._starts import starts
from fpigauss.gaussians import ClassGaussians
from fpigauss.result import FixedPointResult, Status
from fpigauss.solvers import Outcome, converged, iterate, walked
from fpigauss.statistics import ClassStatistics

__all__ = ["Warn", "solved"]

#: Takes a message and the category of a warning.
Warn: TypeAlias = Callable[[str, type[Warning]], None]

#: What helps where the objective has no lower bound.
_REMEDIES = 'tied=True, or else update="means", pi="initial" or a smaller lam'

#: Objectives closer than this, relative to their size, are of the same minimum.
_SAME = 1e-9


def solved(
    statistics: ClassStatistics,
    options: Options,
    *,
    source: str,
    like: Array,
    warn: Warn = warn_user,
) -> FixedPointResult:
    """Run a fit of statistics from ``source``; results have the dtype of ``like``."""
    # what is not finite is found in the numbers themselves
    return without_flags(
        _solved, statistics, options, source=source, like=like, warn=warn, flags=np.geterr()
    )


def _solved(
    statistics: ClassStatistics,
    options: Options,
    *,
    source: str,
    like: Array,
    warn: Warn,
    flags: Any,
) -> FixedPointResult:
    """Run a fit; ``flags`` are those of numpy that the callback is used to."""
    lam = options.lam
    assert lam is not None  # FixedPoint has checked it
    first = prepare(_on_numpy(statistics), options, lam, source, like)
    callback = options.callback

    def observe(begun: Setup, outcome: Outcome) -> bool:
        assert callback is not None
        try:
            result = _result(begun, outcome, like)
            with np.errstate(**flags):
                callback(result)
        except StopIteration:
            return True
        return False

    with fit_bar(options.n_init * options.max_iter, options.progress) as bar:

        def advance(evaluation: Evaluation) -> None:
            bar.update()
            if options.progress:
                bar.set_postfix(residual=f"{evaluation.residual:.1e}", refresh=False)

        setup, outcome = _lowest(first, None if callback is None else observe, advance)
    for category, message in _warnings_of(outcome, setup):
        warn(message, category)
    result = _result(setup, outcome, like)
    object.__setattr__(result, "_adjoint", Adjoint.of(first, outcome, statistics))
    return result


def _on_numpy(statistics: ClassStatistics) -> ClassStatistics:
    """Return statistics of jax as numpy's, in which a fit of many small steps takes less time."""
    means = on_numpy(statistics.means)
    if means is statistics.means:
        return statistics
    counts, covariances = on_numpy(statistics.counts), on_numpy(statistics.covariances)
    return replace(statistics, counts=counts, means=means, covariances=covariances)


def _lowest(
    first: Setup,
    observe: Callable[[Setup, Outcome], bool] | None,
    advance: Callable[[Evaluation], None],
) -> tuple[Setup, Outcome]:
    """Iterate from every start, and keep the lowest outcome: of those that converged, if any."""
    kept: tuple[Setup, Outcome] | None = None
    for setup in starts(first):
        outcome = _iterated(setup, None if observe is None else partial(observe, setup), advance)
        stopped = outcome.status is Status.STOPPED
        outcome = _as_stored(setup, outcome)
        if kept is None or _is_better(outcome, kept[1]):
            kept = setup, outcome
        if stopped:
            break
    assert kept is not None
    return kept


def _is_better(outcome: Outcome, kept: Outcome) -> bool:
    """Say whether an outcome has converged where the other has not, or else is lower."""
    converged, other = (o.status is Status.CONVERGED for o in (outcome, kept))
    if converged is not other:
        return converged
    # the same minimum, reached from elsewhere, is lower by rounding at most
    size = max(1.0, abs(kept.evaluation.objective))
    return outcome.evaluation.objective < kept.evaluation.objective - _SAME * size


def _iterated(
    setup: Setup,
    observe: Callable[[Outcome], bool] | None,
    advance: Callable[[Evaluation], None],
) -> Outcome:
    """Walk to the lam of the fit if it is far past the data, then iterate."""
    options = setup.options
    strategies = options.strategies
    begun = None
    if setup.on_the_way:
        begun = walked(
            setup.problem,
            strategies.equations,
            strategies.solver,
            setup.start,
            setup.on_the_way,
            admissible=setup.admissible,
            max_iter=options.max_iter,
            tol=options.tol,
            advance=advance,
        )
        moved = begun.evaluation is not setup.start
        if moved and observe is not None and observe(begun):
            return replace(begun, status=Status.STOPPED)
    return iterate(
        setup.problem,
        strategies.equations,
        strategies.solver,
        setup.start if begun is None else begun.evaluation,
        begun=begun,
        admissible=setup.admissible,
        max_iter=options.max_iter,
        tol=options.tol,
        runaway=setup.runaway,
        observe=observe,
        advance=advance,
    )


def _as_stored(setup: Setup, outcome: Outcome) -> Outcome:
    """Measure an ill-conditioned end as the numbers that are returned, not as their factors."""
    options, end = setup.options, outcome.evaluation
    equations = options.strategies.equations
    moved = options.updates_covariances and end.point is not setup.start.point
    if not (equations.exact and moved and setup.ill_conditioned(end.point)):
        return outcome
    with np.errstate(all="ignore"):
        try:
            stored = equations.evaluate(setup.problem, setup.as_stored(end.point))
        except Exception as error:
            if broke_down(error):
                return outcome
            raise
    if not stored.finite:
        return outcome
    status = outcome.status
    if status is Status.CONVERGED and not converged(setup.problem, equations, stored, options.tol):
        status = Status.STALLED
    history = {name: values.copy() for name, values in outcome.history.items()}
    history["objective"][-1], history["residual"][-1] = stored.objective, stored.residual
    history["smallest_kld"][-1] = stored.smallest_kld
    stored = replace(stored, point=end.point)
    return replace(outcome, evaluation=stored, status=status, history=history)


def _result(setup: Setup, outcome: Outcome, like: Array) -> FixedPointResult:
    """Take an outcome back to the latent space and the dtype of the input."""
    evaluation, family = outcome.evaluation, setup.family
    means = setup.means_at(evaluation.point)
    check_range(means, like, "means", positive=False)
    values = family.rounded(setup.covariances_at(evaluation.point), like)
    gaussians = ClassGaussians(  # which copies them
        cast_like(means, like),
        cast_like(family.pack(values), like),
        covariance=family,
        tied=family.tied,
        classes=setup.statistics.classes,
        counts=setup.counts,
    )
    pi = evaluation.pi
    if getattr(pi, "ndim", 0) == 2:
        pi = cast_like(pi + 0.0, like)  # the running fit goes on with its own
    return FixedPointResult(
        gaussians=gaussians,
        status=outcome.status,
        n_iter=outcome.n_iter,
        objective=evaluation.objective,
        residual=evaluation.residual,
        pi=pi,
        history=outcome.history,
        lam=setup.problem.lam,
    )


def _warnings_of(outcome: Outcome, setup: Setup) -> Iterator[tuple[type[Warning], str]]:
    """Yield the warnings: no lower bound, a tolerance not reached, classes left out of a pool."""
    options, status = setup.options, outcome.status
    without = setup.without_samples
    if options.updates_covariances and setup.family.tied and without.size:
        message = (
            f"the shared covariance is that of the samples alone, and the frozen classes "
            f"{listed(without)} have none: they get it too, and may be closer to each other than "
            'in init; pass update="means", which keeps the covariance of init, or statistics that '
            "have these classes too (ClassStatistics.merge)"
        )
        yield PooledCovarianceWarning, message
    after = f"after {outcome.n_iter} evaluations at lam={options.lam:g}"
    past = setup.problem.lam >= setup.lam_star and options.strategies.equations.runs_away
    if status is Status.UNBOUNDED:
        message = f"pass {_REMEDIES}: {after}, {status.message}; {_no_minimum(setup)}"
        yield UnboundedObjectiveWarning, message
    elif past:
        message = f"lam={options.lam:g}: {_no_minimum(setup)}; remedies: {_REMEDIES}"
        yield UnboundedObjectiveWarning, message
    remedies = {
        Status.MAX_ITER: (
            "raise max_iter or tol, or reach this lam by warm starts (init=result.gaussians)"
        ),
        Status.STALLED: "raise tol: rounding may not allow a smaller residual at this lam",
        Status.DIVERGED: 'use solver="auto", or a smaller lam',
    }
    if options.tol > 0.0 and status in remedies:
        residual, above = outcome.evaluation.residual, f"above tol={options.tol:g}"
        if residual <= options.tol:
            above = "within tol, but the gradient is not small: some classes nearly coincide"
        message = (
            f'status "{status}" {after}, residual {residual:.1e} {above}: '
            f"{status.message}; {remedies[status]}"
        )
        yield ConvergenceWarning, message


def _no_minimum(setup: Setup) -> str:
    """Say why no minimum is certain."""
    if math.isfinite(setup.lam_star):
        return (
            f'with pi="forward" and per-class "{setup.family.name}" covariances the '
            f"objective has no lower bound past lam* = {setup.lam_star:.6g} "
            "(a local minimum may survive)"
        )
    return (
        "with this pi and per-class covariances there is no sharp lam* below which a minimum is "
        "certain"
    )
