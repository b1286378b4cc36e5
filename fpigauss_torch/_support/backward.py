"""Gaussians that must not change between a forward and its backward pass."""

import weakref
from typing import Any

import torch
from torch import Tensor

from fpigauss import InvalidInputError

__all__ = ["check_outside_backward", "checked_at_backward"]


def check_outside_backward(doing: str) -> None:
    """Nothing is refitted from a hook of a backward pass."""
    if torch._C._current_graph_task_id() != -1:
        raise InvalidInputError(
            f"{doing} inside a backward pass would change tensors that it still needs; "
            "call it between optimiser steps"
        )


def checked_at_backward(log_prob: Tensor, gaussians: Any, n_swaps: int) -> Tensor:
    """``log_prob``, whose backward pass fails if ``gaussians.n_swaps`` is another by then.

    Not inside a compiled graph: there torch's own check of tensors changed in place speaks up.
    """
    if torch.compiler.is_compiling() or not log_prob.requires_grad:
        return log_prob
    same: Tensor = _SameGaussians.apply(log_prob, weakref.ref(gaussians), n_swaps)
    return same


class _SameGaussians(torch.autograd.Function):
    """The identity."""

    generate_vmap_rule = True

    @staticmethod
    def forward(log_prob: Tensor, gaussians: Any, n_swaps: int) -> Tensor:
        return log_prob.view_as(log_prob)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.gaussians, ctx.n_swaps = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gaussians = ctx.gaussians()
        if gaussians is not None and gaussians.n_swaps != ctx.n_swaps:
            raise InvalidInputError(
                "the Gaussians were refitted between forward and backward; "
                "refit between optimiser steps, after backward and before the next forward"
            )
        return gradient, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return tangent.view_as(tangent)
