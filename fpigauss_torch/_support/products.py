"""Squared distances of latents to class means by matrix products about one center."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from fpigauss_torch._support.distances import SquaredDistances
from fpigauss_torch._support.matmul import addmm, matmul

__all__ = ["Products", "center_of", "expanded", "metric_of", "whitened_by"]

#: Means count as near one center where their squared distance is at most this many times d. Then
#: squares that are expanded about the center are good to some 1e-6 of their size.
_NEAR = 16.0


@dataclass(frozen=True, eq=False)
class Products(SquaredDistances):
    """What squared distances need where they are matrix products.

    Parameters
    ----------
    center : (d,) tensor
        What is subtracted from latents and means.
    scaled : (d, K) tensor
        The centered means, whitened or multiplied by the precisions.
    inverse : tensor
        F^-1, as (1, n) where it is a multiple of the identity.
    precisions : (d, K) tensor, optional
        The precisions, where every class has a metric of its own.
    unit : bool
        Whether products are taken in the metric of the identity, of which all are multiples.
    """

    center: Tensor
    scaled: Tensor
    inverse: Tensor
    precisions: Tensor | None
    unit: bool

    def squared(self, z: Tensor) -> Tensor:
        """Compute squared distances (N, K) of ``z`` (N, d)."""
        z = z.to(self.center.dtype)
        squared = self._in_own_metric(z)
        return squared * self.inverse.square() if self.unit else squared

    @abstractmethod
    def _in_own_metric(self, z: Tensor) -> Tensor: ...

    def _whitened(self, x: Tensor) -> Tensor:
        """Whiten rows (N, d) in the metric of products, where that is one."""
        return x if self.unit else whitened_by(self.inverse, x)


@dataclass(frozen=True, eq=False)
class _Expanded(Products):
    """Squares expanded about one center: |x|^2 - 2 x'P_k mu_k + |mu_k|^2.

    Parameters
    ----------
    norms : (K,) tensor
        The last term.
    """

    norms: Tensor

    def _in_own_metric(self, z: Tensor) -> Tensor:
        x = z - self.center
        if self.precisions is not None:
            far = addmm(self.norms, x.square(), self.precisions)
            return addmm(far, x, self.scaled, alpha=-2.0)
        white = self._whitened(x)
        return addmm(white.square().sum(-1)[:, None] + self.norms, white, self.scaled, alpha=-2.0)


def expanded(means: Tensor, inverse: Tensor, dtype: torch.dtype) -> SquaredDistances | None:
    """Return products about one center, if all means are near it."""
    base = torch.promote_types(means.dtype, dtype)
    inverse = inverse.to(base)
    unit, one_metric = metric_of(inverse)
    precisions = None if one_metric else inverse.square()
    center = center_of(means, precisions, dtype)
    means = means.to(base) - center.to(base)
    if precisions is not None:
        scaled = precisions * means
        norms = (scaled * means).sum(-1)
    else:
        scaled = means if unit else whitened_by(inverse, means)
        norms = scaled.square().sum(-1)
    distances = (norms * inverse[:, 0].square() if unit else norms).detach()
    if not bool(distances.amax() <= _NEAR * means.shape[1]):
        return None
    return _Expanded(
        center=center,
        scaled=scaled.to(dtype).T,
        inverse=inverse.T.to(dtype) if unit else inverse.to(dtype),
        precisions=None if precisions is None else precisions.to(dtype).T,
        unit=unit,
        norms=norms.to(dtype),
    )


def metric_of(inverse: Tensor) -> tuple[bool, bool]:
    """Return whether F^-1 are multiples of the identity, and whether one metric does for all."""
    unit = inverse.shape[1:] == (1,)
    return unit, unit or inverse.shape[0] == 1


@torch.no_grad()
def center_of(means: Tensor, precisions: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return the mean (d,) of the means, weighted by precisions if every class has its own."""
    if precisions is None:
        return means.mean(0).to(dtype)
    # classes that are narrow along an axis have the center near them
    return ((precisions * means).sum(0) / precisions.sum(0)).to(dtype)


def whitened_by(inverse: Tensor, x: Tensor) -> Tensor:
    """Whiten rows (N, d) by the one F^-1 that all classes share."""
    return matmul(x, inverse[0].T) if inverse.ndim == 3 else x * inverse
