"""Squared distances of latents to class means by products of differences from a mean nearby."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fpigauss_torch._support.distances import (
    ACCURACY,
    BLOCK_OF_ROWS,
    SquaredDistances,
    halves,
    is_kept,
    product,
    squared_norms,
    wide_dtype,
)
from fpigauss_torch._support.functional import is_wrapped
from fpigauss_torch._support.matmul import addmm, matmul
from fpigauss_torch._support.products import Products, center_of, metric_of, whitened_by

__all__ = ["relative"]

#: What a product may be off by, of the norms of both factors, in units of rounding.
_ERROR_OF_PRODUCT = 4.0

#: How many of a row's smallest distances are computed from differences where the means cannot be
#: looked at: within a compiled graph, say.
_CONTENDERS = 2

#: Where the center is the reference along an axis: the variance is this many times that of another
#: class, and the mean less than so many standard deviations away.
_WITHIN = 10.0
_WIDER = 100.0

#: To how many dimensions latents are reduced to find a mean near them.
_SKETCH = 16


@dataclass(frozen=True, eq=False)
class _Relative(Products):
    """Distances by differences from a mean that is near.

    Parameters
    ----------
    references : (n, d) tensor
        Points that latents are taken relative to: the centered means, where metrics differ only
        along the axes where they are narrow, and then the center too.
    sketch : (d, t) tensor
        What latents are multiplied by to find the reference that is nearest, about.
    sketched, norms : (t, n) and (n,) tensors
        The references, multiplied so, and their squared norms.
    between : (n, K) tensor
        Squared distances of references to means, in the metric of the mean's class.
    contenders : int
        How many of a row's smallest distances are computed from differences.
    means : (K, d) tensor
        The means: centered for one contender, otherwise not.
    rest : (K, d) tensor, optional
        What the dtype of ``means`` leaves of the means, for several contenders.
    """

    references: Tensor
    sketch: Tensor
    sketched: Tensor
    norms: Tensor
    between: Tensor
    contenders: int
    means: Tensor
    rest: Tensor | None

    def _in_own_metric(self, z: Tensor) -> Tensor:
        if self._only_latents_count(z):
            squared: Tensor = _ByDifference.apply(z, self)
            return squared
        return self.with_nearest(z)[0]

    def _only_latents_count(self, z: Tensor) -> bool:
        """Return whether derivatives are by latents alone, of classes with metrics of their own."""
        return (
            self.precisions is not None
            and not (torch.compiler.is_compiling() or is_wrapped(z))
            and z.requires_grad
            and torch.is_grad_enabled()
            and not self.scaled.requires_grad
        )

    def with_nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Compute squared distances (N, K), and the nearest classes (N,)."""
        x = z - self.center
        with torch.no_grad():
            sketched = matmul(x, self.sketch).to(self.sketched.dtype)
            own = torch.addmm(self.norms, sketched, self.sketched, alpha=-2.0).argmin(1)
        between = self.between.index_select(0, own)
        u = self.references.index_select(0, own).sub_(x)
        if self.precisions is None:
            white = self._whitened(u)
            products = matmul(white, self.scaled)
            to_own = squared_norms(white)
            apart = to_own - 2.0 * products.gather(1, own[:, None])[:, 0]
            squared = torch.add(between, products, alpha=2.0) + apart[:, None]
            if self.contenders == 1 and _may_select(squared):
                return self._with_smallest(squared, x, own, to_own), own
        else:
            squares = product(torch.add(u, x, alpha=2.0), u)
            squared = addmm(between, squares, self.precisions, alpha=-1.0)
            squared = addmm(squared, u, self.scaled, alpha=2.0)
        # the smallest distances are computed from their own means, whichever mean was found near
        if self.contenders == 1:
            own = squared.detach().argmin(1)
            return squared.scatter(1, own[:, None], self._from_difference(x, own)[:, None]), own
        nearest = squared.detach().topk(self.contenders, largest=False).indices
        smallest = torch.stack([self._from_difference(z, own) for own in nearest.unbind(1)], 1)
        return squared.scatter(1, nearest, smallest), nearest[:, 0]

    def gradient(self, z: Tensor, own: Tensor, by_squared: Tensor) -> Tensor:
        """Compute the gradient (N, d) by latents, from that by squared distances (N, K).

        That of the nearest classes is computed from differences.
        """
        assert self.precisions is not None
        x = z - self.center
        nearest = by_squared.gather(1, own[:, None])
        others = by_squared.scatter(1, own[:, None], 0.0)
        by_squares, by_products = (matmul(others, y.T) for y in (self.precisions, self.scaled))
        gradient = product(by_squares, x) - by_products
        u = self._difference(x if self.rest is None else z, own)
        white = product(u, self.inverse.index_select(0, own).square())
        return 2.0 * (gradient - nearest * white)

    def tangent(self, z: Tensor, direction: Tensor) -> Tensor:
        """Compute the derivative (N, K) of squared distances in a direction of latents (N, d)."""
        assert self.precisions is not None
        x = z - self.center
        return 2.0 * (matmul(x * direction, self.precisions) - matmul(direction, self.scaled))

    def _with_smallest(self, squared: Tensor, x: Tensor, own: Tensor, to_own: Tensor) -> Tensor:
        """Put distances that are from differences in: to the means ``own``, and the smallest."""
        squared = squared.scatter(1, own[:, None], to_own[:, None])
        smallest = squared.detach().argmin(1)
        rows = (smallest != own).nonzero()[:, 0]
        if rows.numel() == 0:
            return squared
        other = smallest[rows]
        return squared.index_put((rows, other), self._from_difference(x[rows], other))

    def _from_difference(self, x: Tensor, own: Tensor) -> Tensor:
        """Compute squared distances (N,) of rows to the means of the classes ``own``."""
        if is_kept(x) or x.device.type != "cpu":
            return self._norms_of_differences(x, own)
        rows = max(1, BLOCK_OF_ROWS // x.shape[1])
        blocks = zip(x.split(rows), own.split(rows), strict=True)
        return torch.cat([self._norms_of_differences(*block) for block in blocks])

    def _norms_of_differences(self, x: Tensor, own: Tensor) -> Tensor:
        u = self._difference(x, own)
        if self.precisions is not None:
            return squared_norms(product(u, self.inverse.index_select(0, own)))
        return squared_norms(self._whitened(u))

    def _difference(self, x: Tensor, own: Tensor) -> Tensor:
        u = self.means.index_select(0, own).sub_(x)
        return u if self.rest is None else u + self.rest.index_select(0, own)


class _ByDifference(torch.autograd.Function):
    """Squared distances of latents, whose gradient is cheaper than that of every step to them."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, distances: _Relative) -> Tensor:
        squared, own = distances.with_nearest(z)
        ctx.distances = distances
        ctx.save_for_backward(z, own)
        ctx.save_for_forward(z)
        return squared

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.distances.gradient(*ctx.saved_tensors, gradient), None

    @staticmethod
    def jvp(ctx: Any, direction: Tensor, _: None) -> Tensor:
        tangent: Tensor = ctx.distances.tangent(*ctx.saved_tensors, direction)
        return tangent


def relative(
    means: Tensor, inverse: Tensor, dtype: torch.dtype, *, may_look: bool
) -> SquaredDistances:
    """Return products of differences from means nearby; with ``may_look``, as many as they need."""
    wide = wide_dtype(means)
    halved = halves(means, dtype)
    inverse = inverse.to(wide)
    unit, one_metric = metric_of(inverse)
    precisions = None if one_metric else inverse.square()
    signs = _signs(means.shape[1], means.device).to(wide)
    with torch.no_grad():
        if precisions is not None:
            sketch = precisions.mean(0).sqrt()[:, None] * signs
        elif inverse.ndim == 3:
            sketch = inverse[0].T @ signs
        else:
            sketch = signs if unit else inverse[0][:, None] * signs
    center = center_of(means, precisions, dtype)
    means = means.to(wide) - center.to(wide)
    if precisions is None:
        references = means
        scaled = means if unit else whitened_by(inverse, means)
        norms = scaled.square().sum(-1)
        between = torch.addmm(norms[:, None] + norms, scaled, scaled.T, alpha=-2.0)
    else:
        # along an axis where a class is wider than another, and the center is within its width, the
        # center is the better reference: latents are near it, or far from what is narrow
        wide_there = precisions * _WIDER < precisions.amax(0)
        near_there = precisions * means.square() < _WITHIN**2
        own_mean = ~(wide_there & near_there)
        # points, wherever they are: no derivative goes through them
        references = torch.cat([means * own_mean, torch.zeros_like(means[:1])]).detach()
        scaled = precisions * means
        norms = (scaled * means).sum(-1)
        between = _between(references, scaled, norms, precisions)
    contenders = min(_CONTENDERS, means.shape[0])
    if may_look:
        with torch.no_grad():
            apart = between if precisions is None else _between(means, scaled, norms, precisions)
            scale = inverse[:, 0].square() if unit else inverse.new_ones(1)
            used = between[: means.shape[0]]
            contenders = _crowd(
                apart * scale, used * scale, norms * scale, dim=means.shape[1], dtype=dtype
            )
    with torch.no_grad():
        sketched = references @ sketch.to(dtype).to(wide)
    return _Relative(
        center=center,
        scaled=scaled.to(dtype).T,
        inverse=inverse.T.to(dtype) if unit else inverse.to(dtype),
        precisions=None if precisions is None else precisions.to(dtype).T,
        unit=unit,
        references=references.to(dtype),
        sketch=sketch.to(dtype),
        sketched=sketched.T,
        norms=sketched.square().sum(-1),
        between=between.to(dtype),
        contenders=contenders,
        means=means.to(dtype) if contenders == 1 else halved[0],
        rest=None if contenders == 1 else halved[1],
    )


def _between(points: Tensor, scaled: Tensor, norms: Tensor, precisions: Tensor) -> Tensor:
    """Compute squared distances (n, K) of points to means, in the metric of the mean's class."""
    products = torch.addmm(norms, points, scaled.T, alpha=-2.0)
    return torch.addmm(products, points.square(), precisions.T)


def _crowd(apart: Tensor, used: Tensor, norms: Tensor, *, dim: int, dtype: torch.dtype) -> int:
    """Return of how many classes, at most, products blur the distances to a row near one of them.

    A row near class r has squared distances of about |mu_r - mu_k|^2 + d (``apart``); its
    difference u from the reference of r adds ``used`` to that. Products are off by rounding times
    |u| |mu_k|, and by rounding of ``used``.
    """
    size = apart + dim
    rounding = _ERROR_OF_PRODUCT * 0.5 * torch.finfo(dtype).eps
    error = rounding * torch.maximum(((used + size) * norms).sqrt(), used)
    return max(1, int((error > ACCURACY * size).sum(1).amax()))


def _may_select(x: Tensor) -> bool:
    """Return whether rows can be selected by value without waiting for a device."""
    return x.device.type == "cpu" and not (torch.compiler.is_compiling() or is_wrapped(x))


def _signs(dim: int, device: torch.device) -> Tensor:
    """Return fixed random signs (d, t): products with them about keep the order of distances."""
    numbers = torch.arange(dim * _SKETCH, device=device)
    # Triton multiplies a range in 32 bits, and refuses larger factors: the XOR makes it 64
    bits = (numbers ^ 0x5BD1E995) * 0x9E3779B1 & 0xFFFFFFFF
    bits = (bits ^ (bits >> 15)) * 0x85EBCA6B & 0xFFFFFFFF
    return (2 * ((bits ^ (bits >> 13)) >> 7 & 1) - 1).reshape(dim, _SKETCH)
