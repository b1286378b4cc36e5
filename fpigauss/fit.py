"""The two calls: fit the class Gaussians of latents, or of their statistics."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

from fpigauss._arrays import namespace
from fpigauss._errors import ConvergenceWarning, InvalidInputError, UnboundedObjectiveWarning
from fpigauss._options import Callback, Options
from fpigauss._progress import fit_bar
from fpigauss._range import check_range
from fpigauss._rows import as_rows, kind_of
from fpigauss._setup import Setup, prepare
from fpigauss._typing import Array, InitName, PiFunction, UpdateName
from fpigauss.covariance import CovarianceFamily
from fpigauss.equations import Evaluation, ReleasedEquations
from fpigauss.gaussians import ClassGaussians
from fpigauss.result import FixedPointResult, Status
from fpigauss.solvers import Outcome, iterate
from fpigauss.statistics import ClassStatistics

__all__ = ["fit_fixed_point", "solve_fixed_point"]


def fit_fixed_point(
    z: Any,
    y: Any,
    lam: float,
    *,
    covariance: str | CovarianceFamily = "diagonal",
    tied: bool = False,
    update: UpdateName = "both",
    init: InitName | ClassGaussians = "data",
    pi: str | float | PiFunction = "forward",
    alpha: float = 1.0,
    equations: str | ReleasedEquations = "stationary",
    solver: str = "auto",
    max_iter: int = 1000,
    tol: float = 1e-6,
    shrinkage: float | str = 0.0,
    sample_weight: Any = None,
    memory_limit: int = 2**30,
    progress: bool = False,
    callback: Callback | None = None,
) -> FixedPointResult:
    r"""Give every class of labelled latents its own Gaussian, pushed apart from the others.

    Minimises Eq. 4 of Enescu & Sahbi (2024),

        L = sum_y (1/N_y) sum_{i in y} -log N(z_i; mu_y, Sigma_y)
            + lam / (K (K-1)) sum_{y != y'} phi(KLD(N_y || N_y')),

    by iterating its stationarity conditions (Eqs. 5 to 7, corrected). phi falls as two classes
    part: with ``pi="forward"`` as minus the logarithm of their divergence, else as
    exp(-KLD / (alpha pi)).

    Parameters
    ----------
    z : (N, d) array
        Latents, of any array-API namespace (numpy, torch, ...) or array-like. No gradients are
        tracked. Computed in float64 where the device has it.
    y : (N,) array-like
        Labels: integers, strings, or floats with integral values.
    lam : float
        The weight of the repulsion, >= 0. At 0 the answer is the class means and covariances.
    covariance : {"diagonal", "dense", "isotropic"} or CovarianceFamily
        The covariance family.
    tied : bool
        One covariance shared by all classes. Tied families have a minimum for every ``lam``;
        per-class ones with ``pi="forward"`` do below ``critical_lam``.
    update : {"both", "means", "covariances"}
        What is updated; the rest stays as initialised.
    init : {"data", "identity"} or ClassGaussians
        Class means with class covariances, or with identity covariances; or a warm start of the
        same family, dimension and classes.
    pi : {"forward", "mean", "initial"}, float or callable
        pi_KLD: each pair's own divergence (Eq. 9), the mean of all (Eq. 10), that mean at the
        initial Gaussians, a positive number, or a function of the (K, K) matrix of divergences
        that gives a positive number or (K, K) matrix.
    alpha : float
        The scale of pi, > 0.
    equations : {"stationary", "printed", "released"} or ReleasedEquations
        The reading of the paper's equations: exact, as printed, or as in the authors' code.
    solver : {"auto", "accelerated", "guarded", "picard"}
        "auto" is "accelerated" for the stationary reading and "picard" for the others.
    max_iter : int
        Evaluations (passes over all pairs of classes) at most, the one at the start not counted.
    tol : float
        On the residual, see ``FixedPointResult``. 0 asks for ``max_iter`` evaluations.
    shrinkage : float or "oas"
        Shrinks each class covariance towards its own scaled identity first, by a part in [0, 1].
    sample_weight : (N,) array-like, optional
        Repetition weights >= 0.
    memory_limit : int
        Bytes that the pairwise part, and the solver's history, may each take.
    progress : bool
        Show a progress bar.
    callback : callable, optional
        Called with a FixedPointResult of status "running" once an accepted step; stops the fit
        by raising StopIteration.

    Returns
    -------
    FixedPointResult
        Gaussians in the namespace, device and floating dtype of ``z``, with status and history.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used; the message names it, the class or row, and the remedy.
    NotPositiveDefiniteError
        If A of the printed or released reading is not positive definite on the way.

    Warns
    -----
    UnboundedObjectiveWarning
        If L has no lower bound for this ``lam`` and family, or runs away.
    ConvergenceWarning
        If ``tol`` was not reached.

    Examples
    --------
    >>> import numpy as np
    >>> from fpigauss import fit_fixed_point, pairwise_kld
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], 50)
    >>> z = rng.normal(size=(150, 2)) + np.array([[0, 0], [1, 0], [0, 1]])[y]
    >>> result = fit_fixed_point(z, y, lam=30.0, tied=True)
    >>> result.status
    <Status.CONVERGED: 'converged'>
    >>> near = pairwise_kld(fit_fixed_point(z, y, lam=0.0, tied=True).gaussians)
    >>> far = pairwise_kld(result.gaussians)
    >>> bool(far[0, 1] > 5 * near[0, 1])
    True
    """
    options = Options.checked(
        lam,
        covariance=covariance,
        tied=tied,
        update=update,
        init=init,
        pi=pi,
        alpha=alpha,
        equations=equations,
        solver=solver,
        max_iter=max_iter,
        tol=tol,
        shrinkage=shrinkage,
        memory_limit=memory_limit,
        progress=progress,
        callback=callback,
    )
    z = as_rows(z)
    statistics = ClassStatistics.from_samples(
        z,
        y,
        covariance="dense" if options.family.needs_dense else "diagonal",
        sample_weight=sample_weight,
    )
    return _solved(statistics, options, source="z", like=kind_of(z))


def solve_fixed_point(
    statistics: ClassStatistics,
    lam: float,
    *,
    covariance: str | CovarianceFamily = "diagonal",
    tied: bool = False,
    update: UpdateName = "both",
    init: InitName | ClassGaussians = "data",
    pi: str | float | PiFunction = "forward",
    alpha: float = 1.0,
    equations: str | ReleasedEquations = "stationary",
    solver: str = "auto",
    max_iter: int = 1000,
    tol: float = 1e-6,
    shrinkage: float | str = 0.0,
    memory_limit: int = 2**30,
    progress: bool = False,
    callback: Callback | None = None,
) -> FixedPointResult:
    """Fit from class statistics: ``fit_fixed_point`` without a second look at the data.

    Parameters
    ----------
    statistics : ClassStatistics
        Of at least two classes, none empty; "dense" for dense families.
    lam, covariance, tied, update, init, pi, alpha, equations, solver, max_iter, tol
        As in ``fit_fixed_point``.
    shrinkage, memory_limit, progress, callback
        As in ``fit_fixed_point``.

    Returns
    -------
    FixedPointResult
        Gaussians in the namespace, device and dtype of the statistics.

    Raises
    ------
    InvalidInputError, NotPositiveDefiniteError
        As ``fit_fixed_point``.

    Examples
    --------
    >>> from fpigauss import ClassStatistics, solve_fixed_point
    >>> statistics = ClassStatistics(
    ...     counts=[10, 10], means=[[0.0], [1.0]], covariances=[[1.0], [1.0]], classes=[0, 1]
    ... )
    >>> solve_fixed_point(statistics, 0.0).gaussians.means
    array([[0.],
           [1.]])
    """
    options = Options.checked(
        lam,
        covariance=covariance,
        tied=tied,
        update=update,
        init=init,
        pi=pi,
        alpha=alpha,
        equations=equations,
        solver=solver,
        max_iter=max_iter,
        tol=tol,
        shrinkage=shrinkage,
        memory_limit=memory_limit,
        progress=progress,
        callback=callback,
    )
    if not isinstance(statistics, ClassStatistics):
        raise InvalidInputError(
            f"statistics is a {type(statistics).__name__}; pass a ClassStatistics, "
            "or samples to fit_fixed_point"
        )
    return _solved(statistics, options, source="statistics", like=statistics.means)


def _solved(
    statistics: ClassStatistics, options: Options, *, source: str, like: Array
) -> FixedPointResult:
    """Run a fit; results have the dtype of ``like``."""
    setup = prepare(statistics, options, source, like)
    if options.lam >= setup.lam_star and not isinstance(options.equations, ReleasedEquations):
        _warn(UnboundedObjectiveWarning, f"lam={options.lam:g}: {_no_minimum(setup)}")

    callback = options.callback

    def observe(outcome: Outcome) -> bool:
        assert callback is not None
        try:
            callback(_result(setup, outcome, like))
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
            options.equations,
            options.solver,
            setup.start,
            admissible=setup.admissible,
            max_iter=options.max_iter,
            tol=options.tol,
            runaway=setup.runaway,
            observe=None if callback is None else observe,
            advance=advance,
        )
    for category, message in _warnings_of(outcome, setup):
        _warn(category, message)
    return _result(setup, outcome, like)


def _result(setup: Setup, outcome: Outcome, like: Array) -> FixedPointResult:
    """An outcome in the latent space and the dtype of the input."""
    evaluation, family = outcome.evaluation, setup.options.family
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
        pi = namespace(pi).astype(pi, like.dtype, copy=False)
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
    """Of an objective that ran away, or of a tolerance that was not reached."""
    options, status = setup.options, outcome.status
    after = f"after {outcome.n_iter} evaluations"
    if status is Status.UNBOUNDED:
        yield (
            UnboundedObjectiveWarning,
            f"at lam={options.lam:g} {status.message} ({after}); {_no_minimum(setup)}",
        )
    remedies = {
        Status.MAX_ITER: (
            "raise max_iter or tol, or reach this lam by warm starts (init=result.gaussians)"
        ),
        Status.STALLED: "raise tol: rounding may not allow more at this lam",
        Status.DIVERGED: 'use solver="auto", or a smaller lam',
    }
    if options.tol > 0.0 and status in remedies:
        yield (
            ConvergenceWarning,
            f'status "{status}" {after}, residual {outcome.evaluation.residual:.1e} above '
            f"tol={options.tol:g}: {status.message}; {remedies[status]}",
        )


def _no_minimum(setup: Setup) -> str:
    remedies = 'tied=True first, or update="means", pi="initial", a smaller lam'
    if math.isfinite(setup.lam_star):
        return (
            f'with pi="forward" and per-class "{setup.options.family.name}" covariances the '
            f"objective has no lower bound past lam* = {setup.lam_star:.6g} "
            f"(a local minimum may survive); remedies: {remedies}"
        )
    return (
        "with this pi and per-class covariances there is no sharp lam* below which a minimum is "
        f"certain; remedies: {remedies}"
    )


def _warn(category: type[Warning], message: str) -> None:
    """Warn from where ``_solved`` was called by a public function."""
    warnings.warn(message, category, stacklevel=4)
