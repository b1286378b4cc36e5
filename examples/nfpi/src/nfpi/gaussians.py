"""The class Gaussians of a run: the prior, when it is fitted, and its loss."""

import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPoint,
    FixedPointResult,
    InvalidInputError,
    NotPositiveDefiniteError,
)
from fpigauss_torch import (
    ClassFlow,
    FixedPointSchedule,
    LatentGaussians,
    LatentPrior,
    gather_statistics,
)
from fpigauss_torch.priors import (
    DataGaussians,
    GradientGaussians,
    LearnedMeans,
    RandomMeans,
    SymmetricKLMeans,
    information_bottleneck_loss,
)
from torch import Tensor, nn
from torch.nn import functional

from nfpi.config import GaussiansConfig
from nfpi.epochwise import EpochwiseGaussians
from nfpi.flows import without_log_determinants

__all__ = [
    "DataFirst",
    "Objective",
    "class_gaussians_of",
    "make_prior",
    "make_schedule",
    "over",
    "over_dense",
    "reestimated",
    "start_",
]


def make_prior(config: GaussiansConfig, n_classes: int, dim: int, seed: int) -> LatentPrior:
    """Build the prior of a scheme, before it has seen any latents.

    Parameters
    ----------
    config : GaussiansConfig
        The scheme and its settings.
    n_classes, dim : int
        K and d.
    seed : int
        Seeds randomly drawn means.

    Returns
    -------
    LatentPrior
    """
    prior: LatentPrior
    match config.scheme:
        case "data":
            prior = DataGaussians(n_classes, dim, config.covariance, config.tied)
        case "gradient":
            prior = GradientGaussians(
                n_classes, dim, config.lam, pi=config.pi, alpha=config.alpha, seed=seed
            )
        case "gradient_released":
            prior = EpochwiseGaussians(n_classes, dim, config.lam)
        case "random_means":
            prior = RandomMeans(n_classes, dim, scale=config.scale, seed=seed)
        case "learned_means" | "ib_inn":
            prior = LearnedMeans(n_classes, dim, scale=config.scale, seed=seed)
        case "klj":
            prior = SymmetricKLMeans(n_classes, dim, config.lam, scale=config.scale, seed=seed)
        case _:
            prior = LatentGaussians(n_classes, dim, config.covariance, config.tied)
    return prior


@dataclass(frozen=True)
class DataFirst:
    """A schedule whose first fit is that of another one.

    Parameters
    ----------
    first, later : FixedPointSchedule
        ``later`` is asked unless ``first`` is due.
    """

    first: FixedPointSchedule
    later: FixedPointSchedule

    def due(self, epoch: int) -> bool:
        """Return whether to refit before ``epoch``."""
        return self.first.due(epoch) or self.later.due(epoch)

    def force(
        self,
        model: ClassFlow,
        loader: Iterable[tuple[Tensor, Tensor]],
        epoch: int,
        *,
        device: torch.device,
    ) -> FixedPointResult:
        """Refit, as ``FixedPointSchedule.force`` does."""
        schedule = self.first if self.first.due(epoch) else self.later
        return schedule.force(model, loader, epoch, device=device)


def make_schedule(config: GaussiansConfig, n_epochs: int) -> FixedPointSchedule | DataFirst | None:
    """Build the schedule of fits; None if training moves the Gaussians, or nothing does.

    Parameters
    ----------
    config : GaussiansConfig
        The scheme and its settings.
    n_epochs : int
        Epochs of the run, at least one of which must have a fit.

    Returns
    -------
    FixedPointSchedule, DataFirst or None
    """
    if config.scheme not in ("fixed_point", "data", "layer"):
        return None
    fit = FixedPoint()
    if config.scheme != "data":
        fit = _fixed_point(config)
        _check_together(config, fit)
    schedule = FixedPointSchedule(
        lam=config.lam if config.separation is None else None,
        separation=config.separation,
        # the layer fits at every step: what is left is the fit to all rows, after the last epoch
        epochs=(n_epochs,) if config.scheme == "layer" else config.epochs,
        single_iteration=config.single_iteration,
        fit=fit,
        init="current" if config.init == "current" and not config.single_iteration else None,
    )
    if not any(epoch in config.epochs for epoch in range(n_epochs)):
        raise InvalidInputError(
            f"gaussians.epochs is {config.epochs}, none of the run's {n_epochs} epochs; the "
            "Gaussians would never be fitted"
        )
    if not config.data_first:
        return schedule
    # the stationary equations: at lam = 0 the released ones do not have the data as their solution
    plain = FixedPoint(update=fit.update, init=fit.init)
    return DataFirst(FixedPointSchedule(0.0, (min(config.epochs),), fit=plain), schedule)


def _fixed_point(config: GaussiansConfig) -> FixedPoint:
    """Return the options of every refit but lam and the family, which schedule and prior give."""
    fit = FixedPoint(
        update=config.update, pi=config.pi, alpha=config.alpha, equations=config.equations
    )
    if config.single_iteration:
        return fit  # the schedule sets the rest
    # "current" starts the first fit from the data
    init = "data" if config.init == "current" else config.init
    return replace(fit, init=init, max_iter=config.max_iter, tol=config.tol)


def _check_together(config: GaussiansConfig, fit: FixedPoint) -> None:
    """Refuse options that do not suit each other or the family now, not at the first fit."""
    spread = torch.ones(2, 1, 1) if config.covariance == "dense" else torch.ones(2, 1)
    toy = ClassStatistics(
        torch.full((2,), 2.0), torch.arange(2.0)[:, None], spread, classes=np.arange(2)
    )
    toy_fit = replace(
        fit, lam=config.lam, covariance=config.covariance, tied=config.tied, max_iter=1
    )
    with warnings.catch_warnings(), suppress(NotPositiveDefiniteError):
        warnings.simplefilter("ignore")
        toy_fit.solve(toy)


def start_(model: ClassFlow, batches: Iterable[tuple[Tensor, Tensor]], init: str) -> None:
    """Start a trained prior from the latents of the data, if ``init`` is "data".

    Other priors are left unchanged. Every process calls this with its own shard.
    """
    prior = model.gaussians
    if init == "data" and isinstance(prior, GradientGaussians | LearnedMeans | SymmetricKLMeans):
        fitted = over(
            model,
            DataGaussians(prior.n_classes, prior.dim, covariance="diagonal", tied=False).to(
                prior.means.device
            ),
        )
        prior.init_from_(gather_statistics(fitted, batches))


def reestimated(
    model: ClassFlow, batches: Iterable[tuple[Tensor, Tensor]], config: GaussiansConfig
) -> tuple[ClassFlow, ClassStatistics]:
    """Return the same flow over Gaussians estimated (lam = 0) from its current latents.

    A flow that underfits leaves latents next to their Gaussians; the estimated ones are where the
    latents are. After a fixed point or data initialization they have the config's covariance
    family, after any other prior one variance per class and dimension. Parameters are shared with
    ``model``; the statistics are those of the latents.
    """
    prior = model.gaussians
    # the config's family applies to these schemes alone
    fitted = config.scheme in ("fixed_point", "data", "layer")
    family = (config.covariance, config.tied) if fitted else ("diagonal", False)
    fresh = LatentGaussians(prior.n_classes, prior.dim, *family)
    again = over(model, fresh.to(next(iter(model.parameters())).device))
    with without_log_determinants(model):
        statistics = gather_statistics(again, batches)
    fresh.solve_(statistics, lam=0.0)
    return again, statistics


def over_dense(model: ClassFlow, batches: Iterable[tuple[Tensor, Tensor]]) -> ClassFlow:
    """Return the same flow over dense Gaussians of its latents, one covariance per class.

    Covariances are shrunk toward multiples of the identity by the share that OAS gives (Chen et
    al., 2010), since a class has fewer images than latents have dimensions; the principal axes are
    those of the sample covariance.
    """
    prior = model.gaussians
    fresh = LatentGaussians(prior.n_classes, prior.dim, "dense", tied=False)
    dense = over(model, fresh.to(next(iter(model.parameters())).device))
    fresh.solve_(gather_statistics(dense, batches), lam=0.0, shrinkage="oas")
    return dense


@runtime_checkable
class _OfGaussians(Protocol):
    """A prior whose classes are Gaussians: ``LatentPrior`` alone does not promise that."""

    def class_gaussians(self) -> ClassGaussians: ...


def class_gaussians_of(prior: LatentPrior) -> ClassGaussians:
    """Return the Gaussians of a prior.

    Raises
    ------
    InvalidInputError
        If its classes have other densities.
    """
    if not isinstance(prior, _OfGaussians):
        raise InvalidInputError(
            f"{type(prior).__name__} has no class_gaussians; use a prior whose classes are "
            "Gaussians, such as LatentGaussians"
        )
    return prior.class_gaussians()


def over(model: ClassFlow, prior: LatentPrior) -> ClassFlow:
    """Return the flow of ``model``, sharing its parameters, over another prior."""
    return ClassFlow(model.flow, prior, codec=model.codec)


class Objective(nn.Module):
    """The loss of a batch as one module, for DistributedDataParallel to wrap.

    It is the mean negative log-likelihood (IB-INN's loss with ``beta``, or the cross-entropy of the
    class log-densities) plus the prior's penalty.

    Parameters
    ----------
    model : ClassFlow
        The flow and its prior.
    beta : float, optional
        The weight of IB-INN's cross-entropy.
    compiled : bool
        Run the likelihood through ``torch.compile``.
    cross_entropy : bool
        Train on the cross-entropy, in which log-determinants cancel.
    """

    def __init__(
        self,
        model: ClassFlow,
        beta: float | None = None,
        compiled: bool = False,
        cross_entropy: bool = False,
    ) -> None:
        """Choose the likelihood."""
        super().__init__()
        self.model = model

        likelihood: Callable[[Tensor, Tensor], Tensor] = model.forward
        if beta is not None:
            likelihood = partial(information_bottleneck_loss, model, beta=beta)
        if cross_entropy:
            likelihood = self._cross_entropy
        self._likelihood = torch.compile(likelihood) if compiled else likelihood

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss (0-d), in nats."""
        return self._likelihood(x, y).mean() + self.model.gaussians.penalty()

    def _cross_entropy(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(self.model.class_log_prob(x), y, reduction="none")
