"""Gaussians that must not change between a forward and its backward pass."""

import weakref
from typing import Any

import torch
from torch import Tensor

from fpigauss import InvalidInputError

__all__ = ["check_outside_backward", "checked_at_backward"]


def check_outside_backward(doing: str) -> None:
    """Raise an error inside a backward pass, in a hook say, where nothing may be refitted."""
    if torch._C._current_graph_task_id() != -1:
        raise InvalidInputError(
            f"{doing} inside a backward pass would change tensors that it still needs; "
            "call it between optimizer steps"
        )


def checked_at_backward(log_prob: Tensor, gaussians: Any, n_swaps: int) -> Tensor:
    """Return ``log_prob``, whose backward pass fails if ``gaussians.n_swaps`` has changed by then.

    Inside a compiled graph nothing is added: there torch's own check of tensors that are changed in
    place applies.
    """
    if torch.compiler.is_compiling() or not log_prob.requires_grad:
        return log_prob
    same: Tensor = _SameGaussians.apply(log_prob, weakref.ref(gaussians), n_swaps)
    return same


class _SameGaussians(torch.autograd.Function):
    """The identity, which compares the number of swaps in its backward pass."""

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
                "refit between optimizer steps, after backward and before the next forward"
            )
        return gradient, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return tangent.view_as(tangent)
