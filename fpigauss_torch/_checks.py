"""What a tensor has to be before anything is computed with it."""

from typing import Any

import torch
from torch import Tensor

from fpigauss import ClassStatistics, InvalidInputError

__all__ = [
    "as_generator",
    "check_latents",
    "check_outside_backward",
    "check_statistics",
    "checked_encoding",
    "hard_labels",
    "label_tensor",
    "soft_labels",
]


def check_latents(z: Any, dim: int, device: torch.device) -> None:
    """``z`` is a floating (N, dim) tensor on ``device``; its numbers are not looked at."""
    if device.type == "meta":
        raise InvalidInputError(
            "the Gaussians lie on the meta device, without numbers; to_empty(device=...) the "
            "model, then load a state"
        )
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
    labels: Any,
    n_classes: int,
    *,
    device: torch.device,
    rows: int | None,
    unlabelled: bool,
    name: str = "labels",
    soft: bool = False,
) -> tuple[Tensor, bool]:
    """Integer labels (N,) as int64 on ``device``, and whether -1 (unlabelled) may be among them.

    Their range is checked, which waits for the device, except inside a compiled graph. ``soft``
    is whether the caller takes weights (N, K) too, for the message.
    """
    labels = label_tensor(labels, n_classes, name)
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        weights = f", or weights ({'N' if rows is None else rows}, {n_classes})" if soft else ""
        remedy = "argmax(1)" if labels.ndim == 2 else "long()"
        raise InvalidInputError(
            f"{name} has dtype {labels.dtype}; pass integers 0..{n_classes - 1}, one a row"
            f"{weights}: {name}.{remedy}"
        )
    if labels.ndim != 1 or (rows is not None and labels.shape[0] != rows):
        needed = "(N,)" if rows is None else f"({rows},)"
        one_hot = f": {name}.argmax(1) of one-hot rows" if labels.ndim == 2 else ""
        raise InvalidInputError(
            f"{name} has shape {tuple(labels.shape)}, {needed} is needed; "
            f"give one label a row{one_hot}"
        )
    labels = labels.to(device=device, dtype=torch.int64)
    if torch.compiler.is_compiling():
        return labels, unlabelled
    lowest = -1 if unlabelled else 0
    if labels.numel() == 0:
        return labels, False
    low, high = torch.aminmax(labels)
    # one number, so that a device is waited for once
    found = int(2 * ((low < lowest) | (high >= n_classes)) + (low < 0))
    if found >= 2:
        row = int(((labels < lowest) | (labels >= n_classes)).nonzero()[0, 0])
        raise InvalidInputError(
            f"{name} is {int(labels[row])} in row {row}; the classes are 0..{n_classes - 1}"
            f"{', and -1 says unlabelled' if unlabelled else ''}"
        )
    return labels, found == 1


def label_tensor(labels: Any, n_classes: int, name: str = "labels") -> Tensor:
    """Labels of any kind as a tensor, unchecked."""
    if isinstance(labels, Tensor):
        return labels
    try:
        tensor = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"{name} cannot be made a tensor ({error}); pass integers 0..{n_classes - 1}"
        ) from None
    return tensor.long() if tensor.shape == (0,) else tensor  # an empty list has become floating


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


def checked_encoding(encoded: Any, n_rows: int) -> tuple[Tensor, Tensor]:
    """What a codec gave for ``n_rows`` samples: latents (N, ...) and log-determinants (N,)."""
    parts = encoded if isinstance(encoded, (tuple, list)) else (encoded,)
    if len(parts) != 2 or not all(isinstance(part, Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise InvalidInputError(
            f"codec encodes to ({kinds}); return the tensors (z, logdet), of shapes (N, ...) and "
            "(N,)"
        )
    z, logdet = parts
    # (N, 1) would broadcast to (N, N) further on
    if z.shape[:1] != (n_rows,) or logdet.shape != (n_rows,):
        raise InvalidInputError(
            f"codec gives z of shape {tuple(z.shape)} and logdet of shape {tuple(logdet.shape)} "
            f"for {n_rows} samples; give a row and a number, summed over dimensions, a sample"
        )
    return z, logdet


def as_generator(seed: Any) -> torch.Generator | None:
    """A generator of ``seed``: an int makes one on the host, so that devices agree."""
    if seed is None or isinstance(seed, torch.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InvalidInputError(
            f"seed is {seed!r}; pass an int from 0 to 2**63 - 1, a torch.Generator or None"
        )
    return torch.Generator().manual_seed(seed)


def check_outside_backward(doing: str) -> None:
    """Nothing is refitted from a hook of a backward pass."""
    if torch._C._current_graph_task_id() != -1:
        raise InvalidInputError(
            f"{doing} inside a backward pass would change tensors that it still needs; "
            "call it between optimiser steps"
        )


def check_statistics(statistics: Any, n_classes: int, dim: int) -> None:
    """``statistics`` are of these sizes, with samples of every class."""
    if not isinstance(statistics, ClassStatistics):
        raise InvalidInputError(
            f"statistics is a {type(statistics).__name__}; pass a ClassStatistics"
        )
    if (statistics.n_classes, statistics.dim) != (n_classes, dim):
        raise InvalidInputError(
            f"statistics are of {statistics.n_classes} classes in {statistics.dim} dimensions, "
            f"the Gaussians of {n_classes} in {dim}; gather them with classes=range(n_classes) "
            "from latents of this width"
        )
    empty = (torch.as_tensor(statistics.counts) <= 0.0).nonzero()[:, 0].tolist()
    if empty:
        named = ", ".join(map(str, empty[:6])) + (", ..." if len(empty) > 6 else "")
        raise InvalidInputError(
            f"statistics hold no sample of class {named}; give every class 0..{n_classes - 1} "
            "samples, or make the prior with fewer classes"
        )
