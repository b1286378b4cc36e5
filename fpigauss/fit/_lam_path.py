"""Fits along a path of lam, from small to large, each from those before it."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

import numpy as np

from fpigauss._array.checks import check_nonnegative
from fpigauss._array.flags import unflagged
from fpigauss._array.typing import Array, Labels
from fpigauss._progress import fit_bar
from fpigauss._warnings import warn_user
from fpigauss.errors import InvalidInputError
from fpigauss.fit._balance import log_balance
from fpigauss.fit._checks import Source
from fpigauss.fit._continued import Continuation, Fit
from fpigauss.fit._documented import checked_names, with_options
from fpigauss.fit._fixed_point import FixedPoint, gathered
from fpigauss.fit._lineup import with_frozen
from fpigauss.fit._options import Options
from fpigauss.fit._path import LamPath, path_of
from fpigauss.fit._predicted import Predictor
from fpigauss.fit._scores import Validation
from fpigauss.fit._typed_options import FixedPointOptions
from fpigauss.gaussians import ClassGaussians
from fpigauss.statistics import ClassStatistics

__all__ = ["checked_lams", "lam_path", "path_over"]

#: The default grid: so many lam per decade, the decades about the lam that balances 1 nat,
_PER_DECADE = 8
_DECADES = (-1, 3)
#: and where a per-class family has a lam*, the decades below it, and how near it the grid ends.
_DECADES_BELOW = 3
_BELOW_CRITICAL = 0.95
#: A larger step in lam than this begins anew, from a cold start.
_STEP = 10.0


@partial(with_options, without=("lam",))
@checked_names
def lam_path(
    z: Any,
    y: Any,
    lams: Any = None,
    *,
    validation: Any = None,
    sample_weight: Any = None,
    **options: Unpack[FixedPointOptions],
) -> LamPath:
    r"""Fit at many ``lam``, from small to large, each fit from those before it.

    One pass over the data, then warm starts: from a prediction, the polynomial in log(1 + lam /
    lam_1) through the last solutions, where ``lam_1`` puts classes about 1 nat apart. On the
    default grid this takes about a third of the evaluations of cold starts, and between four and
    five tenths for isotropic covariances per class; the coarser the grid, the less it saves.

    Parameters
    ----------
    z : (N, d) array
        Latents, of any array-API namespace (numpy, torch, ...) or array-like.
    y : (N,) array-like
        Labels: integers, strings, or floats with integral values. -1 is a class like any other.
    lams : (n,) array-like, optional
        Weights of the repulsion, >= 0, in any order. By default 0, and eight per decade: for
        families with a ``critical_lam``, three decades up to 0.95 of it; otherwise from a tenth to
        a thousand times the ``lam`` that puts classes about 1 nat apart.
    validation : (z, y), optional
        Held-out latents and labels, to measure accuracy, log-loss and calibration on.
    sample_weight : (N,) array-like, optional
        Repetition weights >= 0.
    {options}

    Returns
    -------
    LamPath

    Raises
    ------
    InvalidInputError
        If an argument cannot be used.

    Warns
    -----
    ConvergenceWarning, UnboundedObjectiveWarning
        Once each, if some of the fits would warn; ``status`` says which.

    See Also
    --------
    fit_separated : find the ``lam`` for a given separation.

    Notes
    -----
    With ``pi="initial"`` all fits keep the number of the first, cold start. The first ``lam`` > 0,
    and one after a step of more than ten, starts cold, from ``init``; only such fits make
    ``n_init`` starts. (From Gaussians of all classes, as ``init``, only the first does.)
    ``max_iter`` limits each fit; a ``callback`` that stops one ends the path there. With ``frozen``
    classes, pairs of two of them do not count for divergences and overlaps, and the two parts of
    the objective leave out what it leaves out.

    Examples
    --------
    >>> import numpy as np
    >>> from fpigauss import lam_path
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], 50)
    >>> z = rng.normal(size=(150, 2)) + np.array([[0, 0], [1, 0], [0, 1]])[y]
    >>> path = lam_path(z, y, [0.0, 10.0, 100.0], validation=(z, y), tied=True)
    >>> path.smallest_kld.round(1)
    array([ 0.4,  4.8, 41.5])
    >>> bool(path.nll[0] < path.nll[-1])
    True
    """
    if "lam" in options:
        raise InvalidInputError("lam is given; pass lams, the values to fit at, or leave it out")
    fixed_point = FixedPoint(**options)
    fixed_point.check_start()
    grid = checked_lams(lams)
    statistics, like = gathered(z, y, sample_weight, fixed_point)
    return path_over(statistics, fixed_point, grid, validation, source=Source.of(z), like=like)


def path_over(
    statistics: ClassStatistics,
    options: Options,
    grid: Sequence[float] | None = None,
    validation: Any = None,
    *,
    source: str = "statistics",
    like: Array | None = None,
) -> LamPath:
    """Fit at every lam of a checked ``grid``, from statistics alone.

    Parameters
    ----------
    statistics : ClassStatistics
        What to fit to.
    options : Options
        Those of every fit, without lam.
    grid : sequence of float, optional
        Weights, ascending; the default grid without them.
    validation : (z, y), optional
        Held-out latents and labels.
    source : str
        The argument that the statistics come from, for messages.
    like : array, optional
        What gives results their dtype; the statistics by default.
    """
    held_out = None
    like = statistics.means if like is None else like
    if validation is not None:
        held_out = Validation.of(validation, _classes(statistics, options), statistics.dim, like)
    continuation = Continuation(statistics, options, source=source, like=like)
    fits = _fits(continuation, grid)
    _warn_once(fits)
    return path_of(fits, continuation, held_out)


def _classes(statistics: ClassStatistics, options: Options) -> Labels:
    """Return all classes of the fits."""
    return with_frozen(statistics.classes, options.frozen)


def checked_lams(lams: Any) -> list[float] | None:
    """Check the values, and sort them; None stands for the default grid."""
    if lams is None:
        return None
    try:
        values = [check_nonnegative(lam, "lams") for lam in lams]
    except TypeError:
        raise InvalidInputError(f"lams is {lams!r}; pass a sequence of numbers >= 0") from None
    if not values:
        raise InvalidInputError("lams is empty; pass at least one number >= 0, or leave it out")
    return sorted(values)


def _fits(continuation: Continuation, grid: Sequence[float] | None) -> list[Fit]:
    """Fit at each lam, from a prediction where it is near, until the callback stops one."""
    options = continuation.options
    fits: list[Fit] = []
    predictor = Predictor(options)
    init, n_classes = options.init, len(_classes(continuation.statistics, options))
    warm = isinstance(init, ClassGaussians) and init.n_classes == n_classes
    lams = [0.0] if grid is None else list(grid)
    with fit_bar(None if grid is None else len(grid), options.progress, "lam path") as bar:
        while len(fits) < len(lams) and not (fits and fits[-1].stopped):
            lam = lams[len(fits)]
            # a cold start walks to a lam that is far past the data; one from Gaussians does not
            near = predictor.lam > 0.0 and (warm or lam <= _STEP * predictor.lam)
            start = predictor.at(lam) if near else None
            fits.append(continuation.at(lam, start))
            if fits[-1].usable and fits[-1].result is not None:
                predictor.add(fits[-1].result)
            if grid is None and len(fits) == 1:
                lams += _default_lams(options, fits[0], continuation.statistics.dim)
            bar.update()
    return fits


@unflagged
def _default_lams(options: Options, zero: Fit, dim: int) -> list[float]:
    """Choose a grid from what the fit at lam = 0 has: the number of classes, and pi."""
    if zero.result is None:
        return []
    n_classes, strategies = zero.result.gaussians.n_classes, options.strategies
    low, high = _DECADES
    balance = math.exp(log_balance(options, zero.result.pi, n_classes, 1.0))
    largest = balance * 10.0**high
    if options.updates_covariances:
        critical = strategies.repulsion.critical_lam(
            strategies.family, n_classes, dim, options.alpha
        )
        if critical < math.inf:
            largest, low, high = _BELOW_CRITICAL * critical, -_DECADES_BELOW, 0
    n_lams = _PER_DECADE * (high - low) + 1
    return [float(lam) for lam in np.geomspace(largest * 10.0 ** (low - high), largest, n_lams)]


def _warn_once(fits: Sequence[Fit]) -> None:
    """Warn once of each kind, however many fits would."""
    warned: dict[type[Warning], list[str]] = {}
    for fit in fits:
        for message, category in fit.warnings:
            warned.setdefault(category, []).append(message)  # which names its lam
    for category, messages in warned.items():
        more = f" (and {len(messages) - 1} more like it; see status)" if messages[1:] else ""
        warn_user(f"{messages[0]}{more}", category)
