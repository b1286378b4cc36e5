"""Gradient descent as the authors' code has it: one step of the Gaussians before every epoch.

The paper's Baseline 2 descends on Eq. 4, whose repulsion is bounded; that is
``fpigauss_torch.priors.GradientGaussians``. The released code repels by minus the divergences
themselves, without a bound, and steps once per epoch on the gradient of all training images.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from fpigauss import ClassGaussians, InvalidInputError, pairwise_kld
from fpigauss_torch import ClassDensity, ClassFlow, LatentPrior
from torch import Tensor

from nfpi.generation import evaluating

__all__ = ["EpochwiseGaussians", "LatentSums", "gather_sums"]

#: Learning rates at these epochs, in between geometric; and weights of the repulsion, linear.
_RATES = ((0, 0.1), (10, 0.1), (11, 0.01), (100, 0.001))
_WEIGHTS = ((0, 1.0), (100, 0.5))
#: Variances lie between low and low + range.
_LOW, _RANGE = 0.25, 1.0
_BETAS, _EPS = (0.9, 0.999), 1e-8
#: The ranges of both losses are widened by this share of their ends.
_WIDER = 0.2
#: Gray levels: the released likelihood counts them.
_LEVELS = 256.0


@dataclass
class LatentSums:
    """What a step needs of all training images.

    Attributes
    ----------
    counts : (K,) tensor
    sums, squares : (K, d) tensor
        Sums of the latents and of their squares, in float64.
    lowest, highest : float
        The smallest and the largest -log p(x | y), in nats, of images with pixels in [0, 1).
    """

    counts: Tensor
    sums: Tensor
    squares: Tensor
    lowest: float = field(default=math.inf)
    highest: float = field(default=-math.inf)


@torch.no_grad()
def gather_sums(
    model: ClassFlow, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> LatentSums:
    """Encode all images in eval mode, and sum up their latents."""
    prior = model.gaussians
    shape = (prior.n_classes, prior.dim)
    zeros = torch.zeros(shape, dtype=torch.float64, device=device)
    found = LatentSums(zeros[:, 0].clone(), zeros.clone(), zeros.clone())
    with evaluating(model):
        for x, y in batches:
            labels = y.to(device)
            z, logdet = model.encode(x.to(device))
            nll = -(prior.log_prob(z, labels) + logdet)
            double = z.double()
            found.counts.index_add_(0, labels, torch.ones_like(double[:, 0]))
            found.sums.index_add_(0, labels, double)
            found.squares.index_add_(0, labels, double.square())
            found.lowest = min(found.lowest, float(nll.min()))
            found.highest = max(found.highest, float(nll.max()))
    return found


class EpochwiseGaussians(LatentPrior):
    """Diagonal Gaussians that ``step_`` moves, and no optimizer.

    All classes start at N(0, 0.75 I). Variances are 0.25 + sigmoid(s).

    Parameters
    ----------
    n_classes, dim : int
        K and d.
    weight : float
        The weight of the repulsion at the first step; half of it is left after 100 steps.
    """

    means: Tensor
    logits: Tensor
    moments: Tensor
    n_steps: Tensor
    n_averaged: Tensor

    def __init__(self, n_classes: int, dim: int, weight: float = 50.0) -> None:
        """Start in the middle."""
        super().__init__(n_classes, dim)
        self.weight = weight
        self.register_buffer("means", torch.zeros(n_classes, dim))
        self.register_buffer("logits", torch.zeros(n_classes, dim))
        # Adam's, of means and logits
        self.register_buffer("moments", torch.zeros(2, 2, n_classes, dim))
        self.register_buffer("n_steps", torch.tensor(0))
        self.register_buffer("n_averaged", torch.tensor(0))

    @property
    def variances(self) -> Tensor:
        """Compute the variances (K, d)."""
        return _LOW + _RANGE * torch.sigmoid(self.logits)

    def density(self) -> ClassDensity:
        """Return the Gaussians as they are now."""
        variances = self.variances
        return ClassDensity(self.means, variances.rsqrt(), variances.log().sum(1))

    def color(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Multiply the noise by the standard deviations."""
        return noise * self.variances.sqrt()[labels]

    def class_gaussians(self) -> ClassGaussians:
        """Return a copy as Gaussians of the core."""
        return ClassGaussians(self.means.clone(), self.variances)

    @torch.no_grad()
    def step_(self, data: LatentSums) -> dict[str, Any]:
        """Make one step of Adam on likelihood and repulsion.

        Each of the two gradients is divided by the range of its loss: over the images for the
        likelihood, over the classes for the repulsion.

        Parameters
        ----------
        data : LatentSums
            Of all training images under the present Gaussians.

        Returns
        -------
        dict
            fit_rate and fit_weight of the step.
        """
        if not bool((data.counts > 0).all()):
            raise InvalidInputError("a class has no training image; its Gaussian cannot be moved")
        step = int(self.n_steps)
        rate, weight = _geometric(step), self.weight * _linear(step)
        slopes = torch.sigmoid(self.logits) * torch.sigmoid(-self.logits) * _RANGE
        likelihood, repulsion = self._of_likelihood(data), self._of_repulsion()
        for i, (own, of_likelihood, of_repulsion) in enumerate(
            zip((self.means, self.logits), likelihood, repulsion, strict=True)
        ):
            gradient = of_likelihood + weight * of_repulsion
            own -= rate * self._adam(i, gradient if i == 0 else gradient * slopes)
        self.n_averaged += 1
        if step == 0:  # at the first step, where classes coincide, there is no repulsion yet
            self.moments.zero_()
            self.n_averaged.zero_()
        self.n_steps += 1
        return {"fit_rate": rate, "fit_weight": weight}

    def _of_likelihood(self, data: LatentSums) -> tuple[Tensor, Tensor]:
        """Return the gradient in means and variances."""
        dtype, counts = self.means.dtype, data.counts[:, None]
        means, variances = self.means.double(), self.variances.double()
        off = data.sums - counts * means  # sums of z - mu
        square = data.squares - 2.0 * means * data.sums + counts * means.square()
        offset = self.dim * math.log(_LEVELS)
        scale = float(counts.sum()) * _widened(data.lowest + offset, data.highest + offset)
        of_means = -off / variances
        of_variances = -0.5 * (square / variances - counts) / variances
        return (of_means / scale).to(dtype), (of_variances / scale).to(dtype)

    def _of_repulsion(self) -> tuple[Tensor, Tensor]:
        """Return the gradient of minus the sum of all divergences, in means and variances."""
        with torch.enable_grad():
            means = self.means.double().requires_grad_()
            variances = self.variances.double().requires_grad_()
            kld = pairwise_kld(ClassGaussians(means, variances))
            of_means, of_variances = torch.autograd.grad(-kld.sum(), (means, variances))
        by_class = -(kld.detach() + kld.detach().T).sum(1) / (self.n_classes - 1)
        scale = self.n_classes * self.dim * _widened(float(by_class.min()), float(by_class.max()))
        dtype = self.means.dtype
        return (of_means / scale).to(dtype), (of_variances / scale).to(dtype)

    def _adam(self, i: int, gradient: Tensor) -> Tensor:
        """Return the direction of Adam for means (0) or logits (1)."""
        n = int(self.n_averaged) + 1
        first, second = self.moments[i]
        first.lerp_(gradient, 1.0 - _BETAS[0])
        second.lerp_(gradient.square(), 1.0 - _BETAS[1])
        size = (second / (1.0 - _BETAS[1] ** n)).sqrt() + _EPS
        direction: Tensor = first / (1.0 - _BETAS[0] ** n) / size
        return direction


def _widened(low: float, high: float) -> float:
    """Return the length of a range whose ends are moved outward; 1 for a range of zeros."""
    if low == high == 0.0:
        return 1.0
    return (high + _WIDER * abs(high)) - (low - _WIDER * abs(low))


def _geometric(step: int) -> float:
    """Return the learning rate of a step."""
    for (start, low), (end, high) in itertools.pairwise(_RATES):
        if step < end:
            last = max(end - start - 1, 1)
            return float(low * (high / low) ** ((step - start) / last))
    return _RATES[-1][1]


def _linear(step: int) -> float:
    """Return the weight of the repulsion, as a share of the first."""
    (start, first), (end, last) = _WEIGHTS
    return first + (last - first) * min((step - start) / (end - start - 1), 1.0)
