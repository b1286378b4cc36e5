"""The fits on the way to a target, and what each of them reached."""

import math
from typing import NamedTuple

from fpigauss.fit._continued import Continuation, Fit
from fpigauss.fit._separation import Separation
from fpigauss.gaussians import ClassGaussians
from fpigauss.result import Status

__all__ = ["Seen", "Trial", "measured"]


class Trial(NamedTuple):
    """A fit on the way to a target.

    Attributes
    ----------
    lam : float
        The weight of the repulsion.
    value : float
        What was asked for, at the fitted Gaussians; NaN if there are none.
    status : Status
        How the fit ended.
    n_iter : int
        Its evaluations.
    """

    lam: float
    value: float
    status: Status
    n_iter: int


class Seen(NamedTuple):
    """A fit, and the smallest KLD that goes with its separation."""

    fit: Fit
    kld: float
    trial: Trial
    #: Whether it was solved to the ``tol`` of the options, and not loosely.
    exact: bool

    @property
    def lam(self) -> float:
        return self.fit.lam

    @property
    def usable(self) -> bool:
        return self.fit.usable

    @property
    def gaussians(self) -> ClassGaussians | None:
        return None if self.fit.result is None else self.fit.result.gaussians


def measured(fit: Fit, target: Separation, fits: Continuation, *, exact: bool = True) -> Seen:
    """Measure a fit."""
    nats = math.nan
    if fit.result is not None:
        gaussians = fit.result.gaussians
        nats = target.nats(gaussians, held=fits.options.held_in(gaussians))
    trial = Trial(fit.lam, target.shown(nats), fit.status, fit.n_iter)
    return Seen(fit, target.kld(nats, fits.statistics.dim), trial, exact)
