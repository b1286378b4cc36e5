"""Train a flow through the fixed point: Gaussians that are fitted anew at every step."""

from typing import Any

import numpy as np
from fpigauss import ClassGaussians, ClassStatistics, InvalidInputError, RunningStatistics
from fpigauss_torch import ClassFlow, fixed_point_layer
from torch import Tensor, nn

from nfpi.config import GaussiansConfig

__all__ = ["LayerObjective", "check_layer", "outer_loss"]


def outer_loss(by_class: Tensor, y: Tensor, beta: float) -> Tensor:
    """Compute -log p(x|y) - (beta - 1) log p(y|x) of every row, with classes in equal parts.

    This is IB-INN's loss less log K, and the negative log-likelihood at ``beta=1``.

    Parameters
    ----------
    by_class : (N, K) tensor
        log p(x|y) of every class, in nats.
    y : (N,) int64 tensor
    beta : float

    Returns
    -------
    (N,) tensor
    """
    nll = -by_class.gather(1, y[:, None])[:, 0]
    if beta == 1.0:
        return nll
    return nll + (beta - 1.0) * nn.functional.cross_entropy(by_class, y, reduction="none")


class LayerObjective(nn.Module):
    """The outer loss of a batch, over Gaussians fitted to it and to the batches before it.

    The rows of a batch have a share of about 1 - decay in the Gaussians, and the gradient through
    these is that much smaller than in the mean loss of all rows as a function of all rows. With
    ``gradient="batch"`` it is left as it is; with "whole" it is divided by the share; with "held"
    it is cut off, so that the Gaussians are refitted at every step and then held.

    Parameters
    ----------
    model : ClassFlow
        The flow, over Gaussians that hold until the layer starts.
    config : GaussiansConfig
        With scheme "layer".

    Attributes
    ----------
    active : bool
        Whether the layer fits; before, the loss is over the model's own Gaussians.
    memory : RunningStatistics or None
        What is remembered, without gradients; None with ``decay=0``.
    """

    def __init__(self, model: ClassFlow, config: GaussiansConfig) -> None:
        """Start without a memory."""
        super().__init__()
        self.model, self.config, self.active = model, config, False
        self.memory = self._memory() if config.decay > 0.0 else None
        self._last: ClassGaussians | None = None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss (0-d), in nats; the batch is remembered."""
        beta = self.config.beta if self.config.loss == "bottleneck" else 1.0
        if not self.active:
            return outer_loss(self.model.class_log_prob(x), y, beta).mean()
        z, logdet = self.model.encode(x)
        n_fitted = len(z) // 2 if self.config.loss == "held_out" else len(z)
        judged = slice(n_fitted if self.config.loss == "held_out" else 0, None)
        gaussians = self._fitted(z[:n_fitted], y[:n_fitted])
        by_class = gaussians.class_log_prob(z[judged]) + logdet[judged, None]
        return outer_loss(by_class, y[judged], beta).mean()

    def _fitted(self, z: Tensor, y: Tensor) -> ClassGaussians:
        """Fit to the rows and to what is remembered, from the Gaussians of the step before."""
        config, share = self.config, 1.0
        if self.memory is not None and self.memory.statistics is not None:
            n_before = config.decay * float(self.memory.statistics.counts.sum())
            share = len(z) / (len(z) + n_before)
        scale = {"held": 0.0, "batch": 1.0, "whole": 1.0 / share}[config.gradient]
        held = z.detach()
        fit = fixed_point_layer(
            held if scale == 0.0 else held + scale * (z - held),
            y,
            config.lam,
            classes=np.arange(self.model.gaussians.n_classes) if self.memory is None else None,
            memory=self.memory,
            covariance=config.covariance,
            tied=config.tied,
            update=config.update,
            pi=config.pi,
            alpha=config.alpha,
            max_iter=config.max_iter,
            tol=config.tol,
            init=self._last or ("identity" if config.init == "identity" else "data"),
        )
        self.memory, self._last = fit.memory, fit.result.gaussians
        gaussians: ClassGaussians = fit.gaussians
        return gaussians

    def remembered(self) -> dict[str, Tensor] | None:
        """Return the memory as tensors, for a checkpoint; None before the first batch."""
        of = None if self.memory is None else self.memory.statistics
        if of is None:
            return None
        return {"counts": of.counts, "means": of.means, "covariances": of.covariances}

    def remember(self, memory: dict[str, Any] | None) -> None:
        """Resume with the memory of a checkpoint; the next fit starts from the data."""
        if memory is not None:
            classes = np.arange(self.model.gaussians.n_classes)
            self.memory = self._memory(ClassStatistics(**memory, classes=classes, closed=True))

    def _memory(self, statistics: ClassStatistics | None = None) -> RunningStatistics:
        kind = "dense" if self.config.covariance == "dense" else "diagonal"
        classes = np.arange(self.model.gaussians.n_classes)
        return RunningStatistics(self.config.decay, kind, classes, statistics)


def check_layer(config: GaussiansConfig, n_ranks: int) -> None:
    """Refuse what the layer is not made for, and what only it can do."""
    if config.scheme != "layer":
        if config.loss == "held_out":
            raise InvalidInputError(
                f'gaussians.loss is "held_out" with scheme {config.scheme!r}; only "layer" fits '
                "to some rows of a batch and judges the others"
            )
        return
    if config.loss == "cross_entropy":
        raise InvalidInputError(
            'gaussians.loss is "cross_entropy" with scheme "layer", which trains on a likelihood; '
            'pass "bottleneck" with a large beta'
        )
    if config.init == "current":
        raise InvalidInputError(
            'gaussians.init is "current" with scheme "layer", whose fits start from those before '
            'anyway; pass "data" or "identity" for the first'
        )
    if n_ranks > 1:
        raise InvalidInputError(
            f'gaussians.scheme is "layer" in {n_ranks} processes, each of which would fit to its '
            "own rows; run a single process"
        )
