"""What the priors without a fixed point share: class means, and how they start."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from fpigauss import ClassGaussians, ClassStatistics
from fpigauss.interface import check_nonnegative
from fpigauss_torch._support import (
    ClassDensity,
    as_generator,
    as_latents,
    check_outside_backward,
    check_statistics,
    hard_labels,
)
from fpigauss_torch.prior import LatentPrior

__all__ = ["MeansPrior", "TrainedPrior", "drawn_means"]


def drawn_means(n_classes: int, dim: int, scale: float, seed: Any) -> Tensor:
    """Draw means (K, d) from N(0, scale^2 I), in torch's default dtype."""
    scale = check_nonnegative(scale, "scale")
    generator = as_generator(seed)
    device = None if generator is None else generator.device
    return scale * torch.randn(n_classes, dim, generator=generator, device=device)


class MeansPrior(LatentPrior):
    """N(mu_y, I) for every class; subclasses define where ``means`` (K, d) come from."""

    means: Tensor

    def density(self) -> ClassDensity:
        """Return the Gaussians as they are now."""
        return ClassDensity(self.means, self.means.new_ones(1, 1), self.means.new_zeros(1))

    def color(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return the noise as it is, since F_y = I."""
        return noise

    def class_gaussians(self) -> ClassGaussians:
        """Return a copy as Gaussians of the core, for ``fpigauss.pairwise_kld`` for example."""
        means = self.means.detach().clone()
        return ClassGaussians(means, means.new_ones(()), covariance="isotropic", tied=True)


class TrainedPrior(MeansPrior):
    """Means that an optimizer trains with the flow; ``init_`` sets where they start."""

    def __init__(self, n_classes: int, dim: int, scale: float, seed: Any) -> None:
        """Draw the means."""
        super().__init__(n_classes, dim)
        self.means = nn.Parameter(drawn_means(n_classes, dim, scale, seed))

    def init_(self, z: Tensor, y: Any) -> Self:
        """Start from the class means (and variances, where they are trained) of latents.

        Call it before the optimizer's first step: it does not reset momenta.

        Parameters
        ----------
        z : (N, d) tensor
            Latents, of any floating dtype.
        y : (N,) integers
            Classes 0..K-1; rows of class -1 (unlabeled) are left out.

        Returns
        -------
        TrainedPrior
            This prior.

        Raises
        ------
        InvalidInputError
            If an argument cannot be used, a latent is not finite, or a class has no sample.
        """
        z = as_latents(z, self.dim, self.means.device)
        labels, some_unlabeled = hard_labels(
            y, self.n_classes, device=z.device, rows=z.shape[0], unlabeled=True, name="y"
        )
        if some_unlabeled:
            z, labels = z[labels >= 0], labels[labels >= 0]
        return self.init_from_(
            ClassStatistics.from_samples(z, labels, classes=range(self.n_classes))
        )

    def init_from_(self, statistics: ClassStatistics) -> Self:
        """Start from the statistics of latents, as ``init_`` does.

        Parameters
        ----------
        statistics : ClassStatistics
            Statistics of this width and number of classes, which are 0..K-1 in their order. For
            latents that do not fit in memory, ``gather_statistics`` streams them, given a ClassFlow
            of the same flow with ``DataGaussians``.

        Returns
        -------
        TrainedPrior
            This prior.

        Raises
        ------
        InvalidInputError
            If sizes differ, or a class has no sample.
        """
        check_outside_backward("starting from statistics")
        check_statistics(statistics, self.n_classes, self.dim)
        variances = torch.as_tensor(statistics.covariances, device=self.means.device)
        if variances.ndim == 3:
            variances = variances.diagonal(dim1=-2, dim2=-1)
        with torch.no_grad():
            self._start(torch.as_tensor(statistics.means, device=self.means.device), variances)
        return self

    def _start(self, means: Tensor, variances: Tensor) -> None:
        """Take over class means and variances (K, d), in float64."""
        self.means.copy_(means)
