"""Fits of Gaussians that are as far apart as asked: the calls, and what they return."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack

from fpigauss._array.checks import check_positive
from fpigauss._array.typing import Array
from fpigauss._progress import fit_bar
from fpigauss._warnings import warn_user
from fpigauss.errors import InvalidInputError
from fpigauss.fit._checks import Source
from fpigauss.fit._continued import Continuation, check_no_lam
from fpigauss.fit._documented import checked_names, with_options
from fpigauss.fit._fixed_point import FixedPoint, checked_statistics, gathered
from fpigauss.fit._options import Options
from fpigauss.fit._search import Trial, searched
from fpigauss.fit._separation import Separation, separation_of
from fpigauss.fit._typed_options import FixedPointOptions
from fpigauss.gaussians import ClassGaussians
from fpigauss.result import FixedPointResult
from fpigauss.statistics import ClassStatistics

__all__ = ["SeparatedResult", "fit_separated", "separated", "solve_separated"]


@dataclass(frozen=True, eq=False)
class SeparatedResult:
    """Gaussians that are as far apart as asked, and how ``lam`` was found.

    Attributes
    ----------
    lam : float
        The weight of the repulsion; 0 if the data are that far apart without any.
    result : FixedPointResult
        The last fit; its ``n_iter`` and ``history`` are its own.
    path : tuple of Trial
        Every fit that was tried, in order: lam, value, status, n_iter. The ``value`` is in the
        units of the target.
    target : Separation
        What was asked for.

    See Also
    --------
    fit_separated : gives one.
    FixedPointResult : its ``result``.
    """

    lam: float
    result: FixedPointResult
    path: tuple[Trial, ...]
    target: Separation

    @property
    def gaussians(self) -> ClassGaussians:
        """The fitted Gaussians."""
        return self.result.gaussians

    @property
    def value(self) -> float:
        """What was asked for, at the fitted Gaussians."""
        return self.path[-1].value

    @property
    def n_iter(self) -> int:
        """The evaluations of all fits."""
        return sum(trial.n_iter for trial in self.path)

    @property
    def without_repulsion(self) -> bool:
        """Whether the target is met at ``lam=0``, by the data themselves."""
        return self.lam == 0.0

    @property
    def message(self) -> str:
        """What was found, in words."""
        how = (
            "without repulsion (lam=0)"
            if self.without_repulsion
            else f"at lam={self.lam:.6g}, after {len(self.path)} fits and {self.n_iter} evaluations"
        )
        return f"{self.target.measure} {self.value:.4g}{self.target.unit}, {how}"

    def __repr__(self) -> str:
        """Show the figures, without the arrays."""
        return (
            f"SeparatedResult(lam={self.lam:.6g}, {self.target.name}={self.target.bound:g}, "
            f"value={self.value:.6g}, status={self.result.status.value!r}, n_iter={self.n_iter})"
        )


def separated(
    statistics: ClassStatistics,
    options: Options,
    target: Separation,
    *,
    near: float | None = None,
    source: str = "statistics",
    like: Array | None = None,
) -> SeparatedResult:
    """Find the lam whose fitted Gaussians meet ``target``, from statistics alone.

    Parameters
    ----------
    statistics : ClassStatistics
        What to fit to.
    options : Options
        Those of every fit, without lam. Pairs of two ``frozen`` classes do not count.
    target : Separation
        How far apart.
    near : float, optional
        A lam > 0 to try first, that of an earlier fit of similar data.
    source : str
        The argument that the statistics come from, for messages.
    like : array, optional
        What gives results their dtype; the statistics by default.
    """
    check_no_lam(options, f"{target.name} is to find one")
    options.check_start()
    if near is not None:
        near = check_positive(near, "near")
    with fit_bar(None, options.progress, "separation") as bar:
        fits = Continuation(
            statistics,
            options,
            source=source,
            like=statistics.means if like is None else like,
            advance=bar.update,
        )
        found, path = searched(fits, target, near)
    for message, category in found.warnings:
        warn_user(message, category)
    assert found.result is not None  # it is usable
    return SeparatedResult(found.lam, found.result, path, target)


_DEFAULTS = {"tied": True}

F = TypeVar("F", bound=Callable[..., Any])


def _with_options(function: F) -> F:
    """Show the options, with the defaults of a separated fit."""
    return with_options(checked_names(function), without=("lam",), defaults=_DEFAULTS)


@_with_options
def fit_separated(
    z: Any,
    y: Any,
    *,
    min_kld: float | None = None,
    max_overlap: float | None = None,
    per_dim: float | None = None,
    sample_weight: Any = None,
    **options: Unpack[FixedPointOptions],
) -> SeparatedResult:
    r"""Fit Gaussians that are as far apart as asked, and find the ``lam`` that does it.

    How far apart a ``lam`` puts the classes depends on their number, their dimension and the data.
    This call takes the distance instead. Exactly one target is given; it is met from above, within
    5 per cent on its scale in nats, or exceeded at ``lam=0`` if the data are that far apart by
    themselves.

    In tied families, the default here, the separation grows with ``lam`` without bound, and there
    is one such ``lam``. With a covariance per class there may be none: see ``lam*`` in
    ``critical_lam``.

    Parameters
    ----------
    z : (N, d) array
        Latents, of any array-API namespace (numpy, torch, ...) or array-like. They are read once.
    y : (N,) array-like
        Labels: integers, strings, or floats with integral values. -1 is a class like any other.
    min_kld : float, optional
        The smallest KLD over ordered pairs of classes (``smallest_kld``), in nats, > 0: at least
        this, and at most 1.05 times this.
    max_overlap : float, optional
        The largest overlap of a pair (``pairwise_overlap``), in (0, 1]: at most this, and at least
        this to the power 1.05. For covariances per class it is a bound of the overlap.
    per_dim : float, optional
        The smallest KLD over ordered pairs divided by the dimension, in nats, > 0.
    sample_weight : (N,) array-like, optional
        Repetition weights >= 0.
    {options}

    Returns
    -------
    SeparatedResult
        ``lam``, the fit, its Gaussians, and the path of fits that led there.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used, no target or several are given, or a ``lam`` beside one.
    UnreachableSeparationError
        If none of the ``lam`` tried meets the target; the message names the largest separation
        short of it that a converged fit reached, and what stands in the way.

    Warns
    -----
    ConvergenceWarning, UnboundedObjectiveWarning
        As in ``fit_fixed_point``, about the last fit only.

    See Also
    --------
    fit_fixed_point : for a given ``lam``.
    lam_path : fits for many ``lam``, to choose from.

    Notes
    -----
    ``lam`` is bracketed in steps of at most ten, then found by a guarded secant in log lam. Fits
    start from earlier ones, and all but the last are solved loosely. A search that fails is
    repeated with cold fits to ``tol``, and with fits along both sides of a jump. The first one with
    ``lam`` > 0 starts cold, from ``init``, and only cold starts make ``n_init`` starts. With
    ``pi="initial"`` all keep the number of the first. ``max_iter`` limits each fit; ``callback`` is
    called in each, and stopping one ends the search with what it has. (With
    ``equations="released"``, ``lam=0`` is not the data: see ``ReleasedEquations``.)

    Pairs of two ``frozen`` classes do not count for the target: they stay as far apart as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from fpigauss import fit_separated, smallest_kld
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], 50)
    >>> z = rng.normal(size=(150, 2)) + np.array([[0, 0], [1, 0], [0, 1]])[y]
    >>> separated = fit_separated(z, y, min_kld=50.0)
    >>> 50.0 <= smallest_kld(separated.gaussians) <= 52.5
    True
    >>> fit_separated(z, y, min_kld=0.1).message
    'smallest KLD 0.4039 nats, without repulsion (lam=0)'
    """
    targets = {"min_kld": min_kld, "max_overlap": max_overlap, "per_dim": per_dim}
    target, fixed_point = _resolved(targets, options)
    statistics, like = gathered(z, y, sample_weight, fixed_point)
    return separated(statistics, fixed_point, target, source=Source.of(z), like=like)


@_with_options
def solve_separated(
    statistics: ClassStatistics,
    *,
    min_kld: float | None = None,
    max_overlap: float | None = None,
    per_dim: float | None = None,
    **options: Unpack[FixedPointOptions],
) -> SeparatedResult:
    """Fit Gaussians that are as far apart as asked, from class statistics.

    Parameters
    ----------
    statistics : ClassStatistics
        Statistics of at least two classes, none empty; "dense" ones for dense families.
    min_kld, max_overlap, per_dim : float, optional
        The target, exactly one of them, as in ``fit_separated``.
    {options}

    Returns
    -------
    SeparatedResult
        Gaussians in the namespace, device and dtype of the statistics.

    Raises
    ------
    InvalidInputError, UnreachableSeparationError
        As in ``fit_separated``.

    See Also
    --------
    fit_separated : the same from samples.
    solve_fixed_point : for a given ``lam``.
    ClassStatistics : what it takes.

    Examples
    --------
    >>> from fpigauss import ClassStatistics, solve_separated
    >>> statistics = ClassStatistics(
    ...     counts=[10, 10], means=[[0.0], [1.0]], covariances=[[1.0], [1.0]], classes=[0, 1]
    ... )
    >>> solve_separated(statistics, max_overlap=0.01).value <= 0.01
    True
    """
    targets = {"min_kld": min_kld, "max_overlap": max_overlap, "per_dim": per_dim}
    target, fixed_point = _resolved(targets, options)
    return separated(checked_statistics(statistics), fixed_point, target)


def _resolved(
    targets: dict[str, float | None], options: FixedPointOptions
) -> tuple[Separation, FixedPoint]:
    """Check the target and the options, before any work."""
    given: dict[str, Any] = {**_DEFAULTS, **options}
    if given.pop("lam", None) is not None:
        raise InvalidInputError(
            "lam is given, but fit_separated finds it from a target; leave lam out, or call "
            "fit_fixed_point without a target"
        )
    target, fixed_point = separation_of(targets), FixedPoint(**given)
    fixed_point.check_start()
    return target, fixed_point
