"""What a tensor has to be before anything is computed with it."""

from typing import Any

import torch
from torch import Tensor

from fpigauss import InvalidInputError

__all__ = ["as_generator", "check_latents", "check_outside_backward", "hard_labels", "soft_labels"]


def check_latents(z: Any, dim: int, device: torch.device) -> None:
    """``z`` is a floating (N, dim) tensor on ``device``; its numbers are not looked at."""
    if not isinstance(z, Tensor):
        raise InvalidInputError(f"z is a {type(z).__name__}; pass a tensor")
    if z.ndim != 2 or z.shape[1] != dim:
        raise InvalidInputError(
            f"z has shape {tuple(z.shape)}, (N, {dim}) is needed; flatten the latents of a sample"
        )
    if not z.is_floating_point():
        raise InvalidInputError(f"z has dtype {z.dtype}; pass floating-point latents")
    if z.device != device:
        raise InvalidInputError(
            f"z lies on {z.device}, the Gaussians on {device}; move one of them with .to()"
        )


def hard_labels(
    labels: Any, n_classes: int, *, device: torch.device, rows: int | None, unlabelled: bool
) -> tuple[Tensor, bool]:
    """Integer labels (N,) as int64 on ``device``, and whether -1 (unlabelled) may be among them.

    Their range is checked, which waits for the device, except inside a compiled graph.
    """
    if not isinstance(labels, Tensor):
        try:
            labels = torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidInputError(
                f"labels cannot be made a tensor ({error}); pass integers 0..{n_classes - 1}"
            ) from None
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise InvalidInputError(
            f"labels has dtype {labels.dtype}; pass integers 0..{n_classes - 1} (N,)"
            f"{', or likelihood weights (N, K)' if unlabelled else ''}"
        )
    if labels.ndim != 1 or (rows is not None and labels.shape[0] != rows):
        needed = "(N,)" if rows is None else f"({rows},)"
        raise InvalidInputError(
            f"labels has shape {tuple(labels.shape)}, {needed} is needed; give one label a row"
        )
    labels = labels.to(device=device, dtype=torch.int64)
    if torch.compiler.is_compiling():
        return labels, unlabelled
    lowest = -1 if unlabelled else 0
    if labels.numel() == 0:
        return labels, False
    low, high = (int(x) for x in torch.stack(torch.aminmax(labels)).tolist())
    if low < lowest or high >= n_classes:
        row = int(((labels < lowest) | (labels >= n_classes)).nonzero()[0, 0])
        raise InvalidInputError(
            f"labels is {int(labels[row])} in row {row}; the classes are 0..{n_classes - 1}"
            f"{', and -1 says unlabelled' if unlabelled else ''}"
        )
    return labels, low < 0


def soft_labels(labels: Tensor, n_classes: int, *, device: torch.device, rows: int) -> Tensor:
    """Likelihood weights (N, K): nonnegative rows that sum to one."""
    if tuple(labels.shape) != (rows, n_classes) or not labels.is_floating_point():
        raise InvalidInputError(
            f"labels has shape {tuple(labels.shape)} and dtype {labels.dtype}; pass integers "
            f"({rows},), or floating-point likelihood weights ({rows}, {n_classes})"
        )
    labels = labels.to(device)
    if not torch.compiler.is_compiling():
        sums = labels.detach().sum(1)
        # eps of bfloat16 a term bounds the rounding of a sum; NaN fails every comparison
        off = ~((labels.detach() >= 0).all(1) & ((sums - 1.0).abs() <= 1e-2))
        if bool(off.any()):
            row = int(off.nonzero()[0, 0])
            raise InvalidInputError(
                f"labels sums to {float(sums[row]):g} in row {row}, or is negative there; "
                "give every row nonnegative weights that sum to 1"
            )
    return labels


def as_generator(seed: Any) -> torch.Generator | None:
    """A generator of ``seed``: an int makes one on the host, so that devices agree."""
    if seed is None or isinstance(seed, torch.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InvalidInputError(f"seed is {seed!r}; pass an int >= 0, a torch.Generator or None")
    return torch.Generator().manual_seed(seed)


def check_outside_backward(doing: str) -> None:
    """Nothing is refitted from a hook of a backward pass."""
    if torch._C._current_graph_task_id() != -1:
        raise InvalidInputError(
            f"{doing} inside a backward pass would change tensors that it still needs; "
            "call it between optimiser steps"
        )
