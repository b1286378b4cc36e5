"""A fit from statistics to its result, and the warnings at its end."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fpigauss._array.checks import check_range
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss._progress import fit_bar
from fpigauss._warnings import warn_user
from fpigauss.equations import Evaluation
from fpigauss.errors import ConvergenceWarning, UnboundedObjectiveWarning
from fpigauss.fit._options import Options
from fpigauss.fit._start import Setup, prepare
from fpigauss.gaussians import ClassGaussians
from fpigauss.result import FixedPointResult, Status
from fpigauss.solvers import Outcome, iterate
from fpigauss.statistics import ClassStatistics

__all__ = ["solved"]


def solved(
    statistics: ClassStatistics, options: Options, *, source: str, like: Array
) -> FixedPointResult:
    """Run a fit of statistics from ``source``; results have the dtype of ``like``."""
    flags = np.geterr()
    with np.errstate(all="ignore"):  # what is not finite is found in the numbers themselves
        return _solved(statistics, options, source=source, like=like, flags=flags)


def _solved(
    statistics: ClassStatistics, options: Options, *, source: str, like: Array, flags: Any
) -> FixedPointResult:
    """Run a fit; ``flags`` are those of numpy that the callback is used to."""
    lam = options.lam
    assert lam is not None  # FixedPoint has checked it
    setup = prepare(statistics, options, lam, source, like)
    equations = options.strategies.equations
    if lam >= setup.lam_star and equations.runs_away:
        warn_user(f"lam={lam:g}: {_no_minimum(setup)}", UnboundedObjectiveWarning)

    callback = options.callback

    def observe(outcome: Outcome) -> bool:
        assert callback is not None
        try:
            result = _result(setup, outcome, like)
            with np.errstate(**flags):
                callback(result)
        except StopIteration:
            return True
        return False

    with fit_bar(options.max_iter, options.progress) as bar:

        def advance(evaluation: Evaluation) -> None:
            bar.update()
            if options.progress:
                bar.set_postfix(residual=f"{evaluation.residual:.1e}", refresh=False)

        outcome = iterate(
            setup.problem,
            equations,
            options.strategies.solver,
            setup.start,
            admissible=setup.admissible,
            max_iter=options.max_iter,
            tol=options.tol,
            runaway=setup.runaway,
            observe=None if callback is None else observe,
            advance=advance,
        )
    for category, message in _warnings_of(outcome, setup):
        warn_user(message, category)
    return _result(setup, outcome, like)


def _result(setup: Setup, outcome: Outcome, like: Array) -> FixedPointResult:
    """Take an outcome back to the latent space and the dtype of the input."""
    evaluation, family = outcome.evaluation, setup.family
    means = setup.means_at(evaluation.point)
    check_range(means, like, "means", positive=False)
    values = family.rounded(setup.covariances_at(evaluation.point), like)
    gaussians = ClassGaussians(
        namespace(means).astype(means, like.dtype, copy=True),
        family.pack(values),
        covariance=family,
        tied=family.tied,
        classes=setup.statistics.classes,
    )
    pi = evaluation.pi
    if getattr(pi, "ndim", 0) == 2:
        pi = namespace(pi).astype(pi, like.dtype, copy=True)  # the running fit goes on with its own
    return FixedPointResult(
        gaussians=gaussians,
        status=outcome.status,
        n_iter=outcome.n_iter,
        objective=evaluation.objective,
        residual=evaluation.residual,
        pi=pi,
        history=outcome.history,
    )


def _warnings_of(outcome: Outcome, setup: Setup) -> Iterator[tuple[type[Warning], str]]:
    """Yield the warning of an objective that ran away, or of a tolerance that was not reached."""
    options, status = setup.options, outcome.status
    after = f"after {outcome.n_iter} evaluations"
    if status is Status.UNBOUNDED:
        message = f"at lam={options.lam:g} {status.message} ({after}); {_no_minimum(setup)}"
        yield UnboundedObjectiveWarning, message
    remedies = {
        Status.MAX_ITER: (
            "raise max_iter or tol, or reach this lam by warm starts (init=result.gaussians)"
        ),
        Status.STALLED: "raise tol: rounding may not allow a smaller residual at this lam",
        Status.DIVERGED: 'use solver="auto", or a smaller lam',
    }
    if options.tol > 0.0 and status in remedies:
        message = (
            f'status "{status}" {after}, residual {outcome.evaluation.residual:.1e} above '
            f"tol={options.tol:g}: {status.message}; {remedies[status]}"
        )
        yield ConvergenceWarning, message


def _no_minimum(setup: Setup) -> str:
    remedies = 'tied=True first, or update="means", pi="initial" or a smaller lam'
    if math.isfinite(setup.lam_star):
        return (
            f'with pi="forward" and per-class "{setup.family.name}" covariances the '
            f"objective has no lower bound past lam* = {setup.lam_star:.6g} "
            f"(a local minimum may survive); remedies: {remedies}"
        )
    return (
        "with this pi and per-class covariances there is no sharp lam* below which a minimum is "
        f"certain; remedies: {remedies}"
    )
