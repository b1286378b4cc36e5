"""Learn lam from held-out latents, through the gradient of the fit in lam."""

import math
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fpigauss import ClassStatistics, ConvergenceWarning, lam_path
from fpigauss_torch import calibrate_temperature, fixed_point_layer_of
from scipy.optimize import brentq

from nfpi.latent_problems import Latents

__all__ = ["Comparison", "Trial", "Trials", "compared", "held_out_loss", "learn_lam"]

#: The default grid of ``lam_path`` for tied families ends at this multiple of where it begins.
_SPAN = 1e4
#: The first step in log(1 + lam / unit), and how wide a bracket is at the end.
_STEP, _WIDTH = 2.0, 0.02


@dataclass(frozen=True)
class Trial:
    """One fit: its lam, log-loss on held-out latents, its derivative, and evaluations."""

    lam: float
    log_loss: float
    slope: float
    n_iter: int


@dataclass(frozen=True)
class Comparison:
    """The grid's best and what was learned; seconds are those of the processor."""

    grid_lam: tuple[float, ...]
    grid_log_loss: tuple[float, ...]
    grid_n_iter: int
    grid_seconds: float
    trials: tuple[Trial, ...]
    seconds: float

    @property
    def grid_best(self) -> tuple[float, float]:
        """Return the lam and the log-loss of the grid's best fit."""
        at = int(np.nanargmin(self.grid_log_loss))
        return self.grid_lam[at], self.grid_log_loss[at]

    @property
    def learned(self) -> Trial:
        """Return the best of the fits made while learning."""
        return min(self.trials, key=lambda trial: trial.log_loss)


def held_out_loss(by_class: torch.Tensor, codes: torch.Tensor, *, calibrated: bool) -> torch.Tensor:
    """Compute the mean of -log p(y|z), at temperature 1 or at the one that makes it smallest.

    At its minimum the loss does not depend on the temperature, to first order: the gradient is that
    with the temperature held.

    Parameters
    ----------
    by_class : (N, K) tensor
        log p(z|y) of every class.
    codes : (N,) int64 tensor
    calibrated : bool

    Returns
    -------
    () tensor
    """
    temperature = 1.0
    if calibrated:
        with warnings.catch_warnings():
            # if chance does better than the posteriors, their limit is a fair answer
            warnings.simplefilter("ignore", ConvergenceWarning)
            temperature = calibrate_temperature(by_class.detach(), codes)
    return torch.nn.functional.cross_entropy(by_class / temperature, codes)


def learn_lam(
    latents: Latents, upper: float, *, calibrated: bool, **options: Any
) -> tuple[Trial, ...]:
    """Find where the derivative of the log-loss of held-out latents in lam is zero, in [0, upper].

    The variable is t = log(1 + lam / unit), where ``unit`` is 1e-4 of ``upper``; it starts at 100
    units, goes downhill in growing steps until the slope changes its sign or the range ends, and
    then narrows the bracket by Brent's method. Every fit starts from the Gaussians of the one
    before.

    Parameters
    ----------
    latents : Latents
    upper : float
        The largest lam.
    calibrated : bool
        As in ``held_out_loss``.
    **options
        Of ``fit_fixed_point``.

    Returns
    -------
    tuple of Trial
        In order.
    """
    trials = Trials(latents, upper / _SPAN, options, calibrated=calibrated)
    t, step, end = math.log1p(100.0), _STEP, math.log1p(_SPAN)
    slope = trials.slope(t)
    while True:
        further = min(max(t - math.copysign(step, slope), 0.0), end)
        if further == t:
            return tuple(trials.done.values())
        next_slope = trials.slope(further)
        if slope * next_slope <= 0.0:
            break
        t, slope, step = further, next_slope, 2.0 * step
    brentq(trials.slope, t, further, xtol=_WIDTH)
    return tuple(trials.done.values())


class Trials:
    """Fits to the training latents at different lam, each from the one before.

    Parameters
    ----------
    latents : Latents
    unit : float
        The unit of lam: fits are at ``unit * expm1(t)``.
    options : dict
        Of ``fit_fixed_point``.
    calibrated : bool
        As in ``held_out_loss``.

    Attributes
    ----------
    done : dict of Trial
        By t, in order.
    """

    def __init__(
        self, latents: Latents, unit: float, options: dict[str, Any], *, calibrated: bool
    ) -> None:
        """Gather the statistics."""
        statistics = ClassStatistics.from_samples(latents.z, latents.y)
        parts = (statistics.counts, statistics.means, statistics.covariances)
        self._statistics = [torch.as_tensor(x, dtype=torch.float64) for x in parts]
        self._z = torch.as_tensor(latents.z_held, dtype=torch.float64)
        self._codes = torch.as_tensor(np.searchsorted(statistics.classes, latents.y_held))
        self._unit, self._options, self._calibrated = unit, options, calibrated
        self.done: dict[float, Trial] = {}

    def slope(self, at: float) -> float:
        """Return the derivative of the log-loss in t; a fit that was made is not repeated."""
        if at not in self.done:
            self.done[at] = self._trial(at)
        return self.done[at].slope

    def _trial(self, at: float) -> Trial:
        t = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        lam = self._unit * torch.expm1(t)
        counts, means, covariances = self._statistics
        fit = fixed_point_layer_of(counts, means, covariances, lam, **self._options)
        self._options = self._options | {"init": fit.result.gaussians}
        by_class = fit.gaussians.class_log_prob(self._z)
        loss = held_out_loss(by_class, self._codes, calibrated=self._calibrated)
        (slope,) = torch.autograd.grad(loss, t)
        return Trial(lam.item(), loss.item(), slope.item(), fit.result.n_iter)


def compared(latents: Latents, *, calibrated: bool = False, **options: Any) -> Comparison:
    """Fit on the default grid of ``lam_path``, and learn lam within the grid's range.

    Parameters
    ----------
    latents : Latents
    calibrated : bool
        As in ``held_out_loss``.
    **options
        Of ``fit_fixed_point``, for both.

    Returns
    -------
    Comparison
    """
    start = time.process_time()
    path = lam_path(latents.z, latents.y, **options)
    z, codes = torch.as_tensor(latents.z_held), np.unique(latents.y_held, return_inverse=True)[1]
    losses = [
        math.nan
        if one is None
        else held_out_loss(
            one.to(z).class_log_prob(z), torch.as_tensor(codes), calibrated=calibrated
        ).item()
        for one in path.gaussians
    ]
    middle = time.process_time()
    trials = learn_lam(latents, float(path.lam[-1]), calibrated=calibrated, **options)
    return Comparison(
        tuple(map(float, path.lam)),
        tuple(losses),
        int(path.n_iter.sum()),
        middle - start,
        trials,
        time.process_time() - middle,
    )
