"""Class Gaussians as a distribution of torch, and the base that sets its labels."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from fpigauss import InvalidInputError
from fpigauss_torch._support import hard_labels, soft_labels
from fpigauss_torch.bases._base import LatentBase, class_labels, drawn
from fpigauss_torch.prior import LatentPrior

__all__ = ["ClassDistribution", "TorchBase", "conditioned"]

_D = TypeVar("_D", bound="ClassDistribution")


class ClassDistribution(Distribution):
    """The Gaussians of given labels, as one batch of distributions over latents.

    Parameters
    ----------
    gaussians : LatentPrior
        The prior; every density and draw uses its present Gaussians, so refits in place count.
    labels : integer tensor of the batch shape, or floating-point (*batch shape, K)
        Classes, -1 for the mixture; or weights of likelihoods.
    shape : tuple of int
        The event shape, with D elements.
    like : tensor
        A tensor with the dtype of the draws.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(
        self, gaussians: LatentPrior, labels: Tensor, shape: tuple[int, ...], like: Tensor
    ) -> None:
        """Check the labels."""
        self.gaussians, self.labels = gaussians, labels
        n_classes, device = gaussians.n_classes, labels.device
        self._soft = labels.is_floating_point()
        if self._soft:
            rows = labels.reshape(-1, labels.shape[-1] if labels.ndim else 1)
            soft_labels(rows, n_classes, device=device, rows=rows.shape[0])
            self._unlabeled = False
        else:
            _, self._unlabeled = hard_labels(
                labels.reshape(-1), n_classes, device=device, rows=None, unlabeled=True
            )
        self._like = like
        batch_shape = labels.shape[:-1] if self._soft else labels.shape
        super().__init__(batch_shape, Size(shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """All vectors of real numbers."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ClassDistribution":
        """Repeat the distributions to a larger batch shape."""
        return self._over(self._expanded(Size(batch_shape)))

    def _over(self, labels: Tensor) -> "ClassDistribution":
        return type(self)(self.gaussians, labels, tuple(self.event_shape), self._like)

    def _expanded(self, batch_shape: Size) -> Tensor:
        tail = self.labels.shape[-1:] if self._soft else Size()
        return self.labels.expand(batch_shape + tail)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute log-densities of latents (..., *event shape), broadcast with the batch shape.

        Latents (N, 1, D) with the batch shape (K,) of all classes give (N, K), in one pass of
        matrix products.
        """
        n_event, dim = len(self.event_shape), self.gaussians.dim
        rows = value.shape[: value.ndim - n_event]
        if value.shape[len(rows) :] != self.event_shape:
            event = ", ".join(map(str, self.event_shape))
            raise InvalidInputError(
                f"value has shape {tuple(value.shape)}, (..., {event}) is needed for latents of "
                "this shape"
            )
        try:
            batch = torch.broadcast_shapes(rows, self.batch_shape)
        except RuntimeError:
            raise InvalidInputError(
                f"value has shape {tuple(value.shape)}, which does not broadcast with the batch "
                f"shape {tuple(self.batch_shape)} of the labels; give one label per row, or pass "
                "(N, 1, D) to score every row under every label"
            ) from None
        labels = self._expanded(batch)
        if self._soft or (batch == rows and not self._unlabeled):
            z = value.expand(batch + self.event_shape).reshape(-1, dim)
            flat = labels.reshape(-1, *labels.shape[len(batch) :])
            return self.gaussians.log_prob(z, flat).reshape(batch)
        by_class = self.gaussians.class_log_prob(value.reshape(-1, dim))
        mixture = torch.logsumexp(by_class, 1, keepdim=True) - math.log(self.gaussians.n_classes)
        table = torch.cat([by_class, mixture], 1)  # its last column is the label -1
        index = torch.arange(rows.numel(), device=value.device).reshape(rows).expand(batch)
        return table[index, labels.to(value.device)]

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw latents (*sample shape, *batch shape, *event shape)."""
        batch = Size(sample_shape) + self.batch_shape
        labels = self._expanded(batch)
        flat = labels.reshape(-1, *labels.shape[len(batch) :])
        return drawn(self.gaussians, flat, self._like.dtype).reshape(batch + self.event_shape)


def conditioned(base: LatentBase, labels: Any, kind: type[_D]) -> _D:
    """Make the distributions of labels that a library passes on; for None, the mixture."""
    if labels is None:
        labels = torch.tensor(-1, device=base._like.device)
    labels = class_labels(labels, base.gaussians.n_classes)
    return kind(base.gaussians, labels, base.shape, base._like)


class TorchBase(LatentBase, ClassDistribution):
    """A ``torch.distributions`` base and a module; see ``as_base``.

    Its batch shape is (K,): one distribution per class.
    """

    labels: Tensor

    def __init__(self, gaussians: LatentPrior, shape: Sequence[int] | None = None) -> None:
        """Take all classes, in their order."""
        LatentBase.__init__(self, gaussians, shape)
        self.register_buffer("labels", torch.arange(gaussians.n_classes), persistent=False)
        ClassDistribution.__init__(self, gaussians, self.labels, self.shape, self._like)

    def condition(self, labels: Any = None) -> ClassDistribution:
        """Make the distributions of given labels, or the mixture of all classes.

        Parameters
        ----------
        labels : (N,) integers or (N, K), optional
            Classes, -1 for the mixture, or weights of the classes' likelihoods. Without labels,
            one distribution: the mixture.

        Returns
        -------
        torch.distributions.Distribution
            Distributions of batch shape (N,), or () without labels.
        """
        return conditioned(self, labels, ClassDistribution)

    def _over(self, labels: Tensor) -> ClassDistribution:
        return ClassDistribution(self.gaussians, labels, self.shape, self._like)
