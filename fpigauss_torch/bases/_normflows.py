"""The base for normflows."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from normflows.distributions import BaseDistribution
from torch import Tensor

from fpigauss import InvalidInputError
from fpigauss_torch._support import hard_labels, mixture, soft_labels, weighted
from fpigauss_torch.bases._base import LatentBase, class_labels, flattened
from fpigauss_torch.prior import LatentPrior

__all__ = ["NormflowsBase"]


class NormflowsBase(LatentBase, BaseDistribution):
    """A ``normflows`` base distribution; see ``as_base``.

    Attributes
    ----------
    temperature : float or None
        Multiplies the standard deviations of samples and of densities, as in the library's own
        bases; None means 1.
    """

    def __init__(self, gaussians: LatentPrior, shape: Sequence[int] | None = None) -> None:
        """Start without a temperature."""
        super().__init__(gaussians, shape)
        self._temperature: float | None = None

    @property
    def temperature(self) -> float | None:
        """The factor of the standard deviations."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float | None) -> None:
        if value is not None and not (value > 0.0 and math.isfinite(value)):
            raise InvalidInputError(f"temperature is {value!r}; pass a finite number > 0, or None")
        self._temperature = value

    def forward(self, num_samples: int = 1, y: Any = None) -> tuple[Tensor, Tensor]:
        """Draw latents, and compute their log-densities.

        Parameters
        ----------
        num_samples : int
            How many latents to draw, if there are no labels.
        y : (N,) integers or (N, K), optional
            One draw per label, or per row of weights, which mix the likelihoods.

        Returns
        -------
        z : (N, *shape) tensor
        log_p : (N,) tensor
        """
        labels = num_samples if y is None else class_labels(y, self.gaussians.n_classes)
        z = self._draw(labels, 1.0 if self.temperature is None else self.temperature)
        return z, self.log_prob(z, y)

    def log_prob(self, z: Tensor, y: Any = None) -> Tensor:
        """Compute log N_y(z), or the log-density of the mixture.

        Parameters
        ----------
        z : (N, *shape) tensor
        y : (N,) integers or (N, K), optional
            Labels, or weights of the classes' likelihoods.

        Returns
        -------
        (N,) tensor
        """
        z = flattened(z, self.shape)
        labels = None if y is None else class_labels(y, self.gaussians.n_classes)
        if self.temperature is None:
            return self.gaussians.log_prob(z, labels)
        return self._tempered(z, labels, self.temperature)

    def _tempered(self, z: Tensor, labels: Tensor | None, temperature: float) -> Tensor:
        """Compute ``log_prob`` with the standard deviations multiplied by ``temperature``."""
        n_classes, dim = self.gaussians.n_classes, self.gaussians.dim
        log_det = self.gaussians.density().log_det
        by_class = self.gaussians.class_log_prob(z)
        peak = (-0.5 * (log_det + dim * math.log(2.0 * math.pi))).to(by_class)  # at the means
        by_class = peak - dim * math.log(temperature) + (by_class - peak) / temperature**2
        if labels is None:
            return mixture(by_class)
        if labels.is_floating_point():
            weights = soft_labels(labels, n_classes, device=z.device, rows=z.shape[0])
        else:
            labels, _ = hard_labels(
                labels, n_classes, device=z.device, rows=z.shape[0], unlabeled=True
            )
            one_hot = torch.eye(n_classes, device=z.device)
            uniform = torch.full_like(one_hot[:1], 1.0 / n_classes)
            weights = torch.cat([one_hot, uniform])[labels]  # row -1 is the mixture
        return weighted(by_class, weights)
