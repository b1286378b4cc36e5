"""The two steps of the layer for autograd; the core computes both gradients."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPoint,
    FixedPointResult,
    InvalidInputError,
    NotDifferentiableError,
)
from fpigauss.interface import check_differentiable, moments_vjp
from fpigauss_torch._support import is_batched

__all__ = ["Gathered", "solved"]


class Gathered(torch.autograd.Function):
    """From rows and weights to the statistics that they are part of, which are known already."""

    @staticmethod
    def forward(
        ctx: Any, statistics: ClassStatistics, codes: Any, z: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(z, weights)
        ctx.statistics, ctx.codes = statistics, codes
        return statistics.counts.clone(), statistics.means.clone(), statistics.covariances.clone()

    @staticmethod
    def backward(
        ctx: Any, of_counts: Tensor, of_means: Tensor, of_covariances: Tensor
    ) -> tuple[Tensor | None, ...]:
        z, weights = ctx.saved_tensors
        cotangents = (of_counts, of_means, of_covariances)
        like = ctx.statistics.means
        with torch.no_grad():
            of_z, of_weights = moments_vjp(
                z.to(like.dtype), ctx.codes, weights.to(like.dtype), ctx.statistics, cotangents
            )
        gradients = of_z.to(z.dtype), of_weights.to(weights.dtype)
        return None, None, *_once(gradients, z, weights, *cotangents)


class _Solved(torch.autograd.Function):
    """From statistics, lam and the Gaussians of ``init`` to the fitted ones.

    What is fitted to are the statistics as the fit has them; the tensors are their copies, and say
    where gradients go.
    """

    @staticmethod
    def forward(
        ctx: Any,
        result: FixedPointResult,
        *inputs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.result = result
        ctx.kinds = [(x.dtype, x.device, x.shape) for x in inputs]
        ctx.save_for_backward(*(x if x.requires_grad else None for x in inputs))
        return result.gaussians.means.clone(), result.gaussians.covariances.clone()

    @staticmethod
    def backward(ctx: Any, of_means: Tensor, of_covariances: Tensor) -> tuple[Tensor | None, ...]:
        # of use to a second derivative alone, so that those who ask for none may change them
        inputs = ctx.saved_tensors if torch.is_grad_enabled() else ()
        origins = (*inputs, of_means, of_covariances)
        if is_batched(of_means) or is_batched(of_covariances):
            raise InvalidInputError(
                "the gradient of a fixed point cannot be taken for many cotangents at once "
                "(is_grads_batched=True, vectorize=True); take them one by one"
            )
        if not all(bool(torch.isfinite(x).all()) for x in (of_means, of_covariances)):
            # as other operations do: a GradScaler skips a step by what arrives at parameters
            return None, *_once(_unknown(ctx), *origins)
        gradient = ctx.result.vjp(of_means, of_covariances)
        parts = [
            gradient.counts,
            gradient.means,
            gradient.covariances,
            torch.tensor(gradient.lam, dtype=torch.float64, device="cpu"),
        ]
        if len(ctx.kinds) > len(parts):
            parts += [gradient.init_means, gradient.init_covariances]
        pairs = zip(parts, ctx.kinds, ctx.needs_input_grad[1:], strict=True)
        gradients = (
            x.to(dtype=kind[0], device=kind[1]).reshape(kind[2]) if needed else None
            for x, kind, needed in pairs
        )
        return None, *_once(gradients, *origins)


class _Once(torch.autograd.Function):
    """The identity in a gradient; its backward pass says that there are no second derivatives.

    The gradient has to be in the graph of what it is computed from: autograd does not visit what
    leads to none of the tensors that it differentiates in, and would take it for a constant.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *origins: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Tensor:
        raise NotDifferentiableError(
            "the gradient of a fixed point was differentiated again, but there are no second "
            "derivatives; leave out create_graph=True, or detach the gradient"
        )


def _once(gradients: Iterable[Tensor | None], *origins: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return gradients that cannot be differentiated, rather than as constants."""
    if not torch.is_grad_enabled():  # without create_graph=True
        return tuple(gradients)
    return tuple(None if x is None else _Once.apply(x.detach(), *origins) for x in gradients)


def _unknown(ctx: Any) -> Iterator[Tensor | None]:
    """Yield NaN for every input that a gradient is wanted in."""
    for (dtype, device, shape), needed in zip(ctx.kinds, ctx.needs_input_grad[1:], strict=True):
        yield torch.full(shape, math.nan, dtype=dtype, device=device) if needed else None


def solved(
    fixed_point: FixedPoint,
    result: FixedPointResult,
    statistics: Sequence[Tensor],
    lam: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the fitted means and covariances, in the graph of what they depend on."""
    init = fixed_point.init
    tensors = [*statistics, lam]
    if isinstance(init, ClassGaussians) and isinstance(init.means, Tensor):
        tensors += [init.means, init.covariances]
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        check_differentiable(result)
    means, covariances = _Solved.apply(result, *tensors)
    return means, covariances
