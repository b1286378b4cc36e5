"""A class added to Gaussians that are already fitted, from the latents of that class alone."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPoint,
    FixedPointResult,
    InvalidInputError,
)
from fpigauss.interface import RefitOptions, Source, check_finite_rows, check_scatter, shrunk
from fpigauss_torch._support import (
    ACCEPTED,
    Refit,
    as_latents,
    check_fit,
    lam_apart,
    starts_from_data,
    under_compile,
)
from fpigauss_torch.gaussians import (
    LatentGaussians,
    Replacement,
    warn_of_repeated_repulsion,
)

__all__ = ["Extended", "add_class"]


class Extended(NamedTuple):
    """The result of ``add_class``."""

    #: Gaussians of K+1 classes.
    gaussians: LatentGaussians
    #: Statistics of the samples of all K+1 classes, for the next class or refit.
    statistics: ClassStatistics
    #: The fit.
    result: FixedPointResult


def add_class(
    gaussians: LatentGaussians,
    statistics: ClassStatistics,
    z_new: Tensor,
    lam: float | None = None,
    *,
    separation: float | None = None,
    fit: FixedPoint | None = None,
    accept: Collection[str] = ACCEPTED,
    progress: bool = False,
    **options: Unpack[RefitOptions],
) -> Extended:
    """Fit a new class K beside the classes 0..K-1, without their samples.

    The Gaussians of the old classes stay exactly as they are (``frozen=`` of the fit), and repel
    the new one. A tied covariance belongs to all classes: it is updated too, as pooled over all of
    them with equal weight, except with ``update="means"``. The old module is not changed: put the
    new one into the flow by ``model.gaussians = ...``. To let all classes move, refit it to the
    merged statistics: ``extended.gaussians.solve_(extended.statistics, lam, init="current")``.

    Parameters
    ----------
    gaussians : LatentGaussians
        Fitted Gaussians of K classes.
    statistics : ClassStatistics
        Statistics of the latents of the classes 0..K-1, under the flow as it is now. The fit needs
        them for a tied covariance only; the next refit of all classes, always.
    z_new : (N, d) tensor
        Latents of samples of the new class.
    lam : float
        The weight of the repulsion, >= 0; here or in ``fit``. On digits, 10 or 0 cost the old
        classes nothing, and 1,000 cost 46 nats.
    separation : float
        In place of ``lam``: the smallest KLD to reach, in nats, over pairs of the new class and an
        old one, in both orders. Pairs of old classes do not count. ``result.lam`` is what was
        found. With ``update="means"`` it is reached in every family, and old classes lose nothing.
    fit, accept, progress, **options
        As in ``LatentGaussians.solve_``. In place of ``pi="initial"``, pass the number of the first
        fit (its ``result.pi``), since this fit starts elsewhere.

    Returns
    -------
    Extended
        The named tuple (gaussians, statistics, result).

    Raises
    ------
    InvalidInputError
        If ``gaussians`` have not been fitted, ``statistics`` have other classes or dimensions,
        ``z_new`` has too few rows for a covariance, or not exactly one of ``lam`` and
        ``separation`` is given.
    UnreachableSeparationError
        If no ``lam`` gives the ``separation``.
    RefitRejectedError
        If the fit ends with a status that is not in ``accept``.

    Warns
    -----
    RepeatedRepulsionWarning
        If the samples of the old classes lose as much likelihood as ``refit_`` would warn of.

    See Also
    --------
    refit_ : with ``frozen=``, for several classes.

    Examples
    --------
    >>> import torch
    >>> from fpigauss import ClassStatistics
    >>> from fpigauss_torch import LatentGaussians, add_class
    >>> y = torch.arange(90) % 3
    >>> z = torch.randn(90, 2, generator=torch.Generator().manual_seed(0)) + y[:, None]
    >>> old = ClassStatistics.from_samples(z[y < 2], y[y < 2])
    >>> gaussians = LatentGaussians(2, 2, tied=True)
    >>> result = gaussians.solve_(old, lam=5.0)
    >>> extended = add_class(gaussians, old, z[y == 2], separation=20.0, update="means")
    >>> extended.gaussians.n_classes, extended.result.converged
    (3, True)
    """
    gaussians = under_compile(gaussians)
    _check_statistics(gaussians, statistics)
    if gaussians.n_classes > 1 and gaussians.coincide:
        raise InvalidInputError(
            "gaussians have not been fitted: all classes have the same one, and would keep it; fit "
            "them first, gaussians.solve_(statistics, separation=150.0)"
        )
    z_new = as_latents(z_new, gaussians.dim, gaussians.means.device, name="z_new")
    if z_new.shape[0] == 0:
        raise InvalidInputError("z_new has no row; pass latents of the new class")
    check_finite_rows(z_new.detach(), name="z_new")
    _check_own_options(check_fit(fit), options)
    refit = Refit.checked(lam, fit, options, separation=separation)
    refit.check_lam()
    n_classes, family = gaussians.n_classes, gaussians.family
    # a decorator of torch's would be the line that warnings point to
    with torch.no_grad():
        own = ClassStatistics.from_samples(
            z_new.detach().to(gaussians.means.dtype),
            np.full(z_new.shape[0], n_classes),
            covariance=gaussians.statistics_kind,
        )
        _check_spread(gaussians, own, refit.fit)
        merged = replace(statistics, closed=False).merge(own)
        with torch.device(gaussians.means.device):
            extended = type(gaussians)(n_classes + 1, gaussians.dim, family, family.tied)
        extended.n_swaps = gaussians.n_swaps
        held = replace(refit.fit, init=gaussians.class_gaussians(), frozen=range(n_classes))
        weight, fit = lam_apart(None, held)
        # what overrides solve_ may be older than this argument
        given: dict[str, Any] = {} if separation is None else {"separation": separation}
        result = extended.solve_(merged, weight, fit=fit, accept=accept, progress=progress, **given)
        if not gaussians.coincide:  # one class alone
            _warn_if_worse(gaussians, extended.class_gaussians(), merged, refit)
    return Extended(extended, replace(merged, closed=statistics.closed), result)


def _warn_if_worse(
    gaussians: LatentGaussians, after: ClassGaussians, merged: ClassStatistics, refit: Refit
) -> None:
    """Warn if the new class costs the samples of the old ones much of their likelihood."""
    old = slice(gaussians.n_classes)
    own = after.covariances if after.tied else after.covariances[old]
    before = gaussians.class_gaussians()
    smaller = "lam, 10 for example, or 0" if refit.separation is None else "separation"
    warn_of_repeated_repulsion(
        [
            Replacement(
                before,
                replace(before, means=after.means[old], covariances=own),
                ClassStatistics(
                    merged.counts[old],
                    merged.means[old],
                    merged.covariances[old],
                    classes=merged.classes[old],
                ),
            )
        ],
        n_fits=gaussians.n_swaps,
        what=f"add_class at {refit.asked}",
        remedy=f'pass update="means", or a smaller {smaller}',
    )


def _check_own_options(fit: FixedPoint, options: Mapping[str, Any]) -> None:
    """Raise an error for options that are settled here: where to start, and what is held."""
    if "init" in options or not starts_from_data(fit):
        raise InvalidInputError(
            "init is not an option here: the fit starts from the present Gaussians; leave it out"
        )
    if "frozen" in options or fit.frozen:
        raise InvalidInputError(
            "frozen is not an option here: all old classes are; leave it out, and to let them move "
            'refit the extended Gaussians to the merged statistics with init="current"'
        )


def _check_spread(gaussians: LatentGaussians, own: ClassStatistics, fit: FixedPoint) -> None:
    """Raise an error if the new class needs a covariance of its own, and has none."""
    family = gaussians.family
    if family.tied:
        return
    source = Source("z_new")
    source.whole = True
    data = family.projections(shrunk(own.covariances, own.counts, fit.shrinkage))
    check_scatter(family, data, own, source, fit.strategies.equations)


def _check_statistics(gaussians: Any, statistics: Any) -> None:
    if not isinstance(gaussians, LatentGaussians):
        raise InvalidInputError(
            f"gaussians is a {type(gaussians).__name__}; pass fitted LatentGaussians"
        )
    if not isinstance(statistics, ClassStatistics):
        raise InvalidInputError(
            f"statistics is a {type(statistics).__name__}; pass the ClassStatistics of the fitted "
            "classes"
        )
    if statistics.dim != gaussians.dim:
        raise InvalidInputError(
            f"statistics have {statistics.dim} dimensions, the Gaussians {gaussians.dim}; "
            "gather them from latents of the same flow"
        )
    expected = list(range(gaussians.n_classes))
    if statistics.classes.tolist() != expected:
        raise InvalidInputError(
            f"statistics have the classes {statistics.classes.tolist()}, the Gaussians "
            f"{expected}; gather them from the fitted classes"
        )
    if statistics.covariance != gaussians.statistics_kind:
        raise InvalidInputError(
            f"statistics have {statistics.covariance} covariances, the Gaussians need "
            f'{gaussians.statistics_kind} ones; gather them with covariance="'
            f'{gaussians.statistics_kind}"'
        )
