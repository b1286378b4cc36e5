"""Labels of samples: integers, -1 for unlabeled, or weights of the classes' likelihoods."""

from typing import Any

import torch
from torch import Tensor

from fpigauss import InvalidInputError
from fpigauss.interface import check_draws
from fpigauss_torch._support.arrays import as_tensor
from fpigauss_torch._support.checks import ON_META, as_integer
from fpigauss_torch._support.functional import is_mapped

__all__ = ["check_integral", "hard_labels", "label_tensor", "labels_to_draw", "soft_labels"]


def hard_labels(
    labels: Any,
    n_classes: int,
    *,
    device: torch.device,
    rows: int | None,
    unlabeled: bool,
    name: str = "labels",
    soft: bool = False,
) -> tuple[Tensor, bool]:
    """Return integer labels (N,) as int64 on ``device``, and whether any may be -1 (unlabeled).

    The check of their range waits for the device; a compiled graph and ``torch.func.vmap`` over
    labels leave it out. ``soft`` says
    whether the caller also accepts weights (N, K), for the message.
    """
    labels = label_tensor(labels, n_classes, name)
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        check_integral(labels, name)
        weights = f", or weights ({'N' if rows is None else rows}, {n_classes})" if soft else ""
        raise InvalidInputError(
            f"{name} has dtype {labels.dtype}; pass integers 0..{n_classes - 1}, one per row"
            f"{weights}: {name}.{_one_per_row(labels)}"
        )
    if labels.ndim != 1 or (rows is not None and labels.shape[0] != rows):
        needed = "(N,)" if rows is None else f"({rows},)"
        remedy = f": {name}.{_one_per_row(labels)}" if labels.ndim == 2 else ""
        raise InvalidInputError(
            f"{name} has shape {tuple(labels.shape)}, {needed} is needed; "
            f"give one label per row{remedy}"
        )
    labels = labels.to(device=device, dtype=torch.int64)
    if torch.compiler.is_compiling() or is_mapped(labels):
        return labels, unlabeled
    lowest = -1 if unlabeled else 0
    if labels.numel() == 0:
        return labels, False
    low, high = torch.aminmax(labels)
    # a single number, so that the host waits for the device only once
    found = int(2 * ((low < lowest) | (high >= n_classes)) + (low < 0))
    if found >= 2:
        row = int(((labels < lowest) | (labels >= n_classes)).nonzero()[0, 0])
        raise InvalidInputError(
            f"{name} is {int(labels[row])} in row {row}; the classes are 0..{n_classes - 1}"
            f"{', and -1 means unlabeled' if unlabeled else ''}"
        )
    return labels, found == 1


def check_integral(labels: Tensor, name: str) -> None:
    """Raise for the first of labels (N,) or (N, 1) that ``long()`` would change, if there is one.

    It would make a class of a missing label, and one class of two fractions.
    """
    if labels.ndim == 0 or labels.shape[1:] not in {(), (1,)}:
        return
    if torch.compiler.is_compiling() or is_mapped(labels) or labels.device.type == "meta":
        return
    real = labels.real if labels.is_complex() else labels
    kept = labels == real.to(torch.int64)
    if not bool(kept.all()):
        row = int((~kept).flatten().nonzero()[0, 0])
        raise InvalidInputError(
            f"{name} is {labels.flatten()[row].item()} in row {row}, not an integral label; drop "
            "the row or encode the labels as integers"
        )


def _one_per_row(labels: Tensor) -> str:
    """Return what makes one integer per row of other labels: the end of a message."""
    integers = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.ndim == 2 and labels.shape[1] == 1:  # argmax of a column would be all zeros
        return "ravel()" if integers else "ravel().long()"
    return "argmax(1) of one-hot rows" if labels.ndim == 2 else "long()"


def label_tensor(labels: Any, n_classes: int, name: str = "labels") -> Tensor:
    """Convert labels of any kind to a tensor, without checking them."""
    if isinstance(labels, Tensor):
        return labels
    tensor = as_tensor(labels, name, f"pass integers 0..{n_classes - 1}")
    return tensor.long() if tensor.shape == (0,) else tensor  # an empty list has become floating


def labels_to_draw(labels: Any, means: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the classes to draw from (N,), for Gaussians with these ``means`` (K, d).

    If ``labels`` is a number, so many classes are drawn uniformly.
    """
    n_classes, device = means.shape[0], means.device
    if device.type == "meta":
        raise InvalidInputError(ON_META)
    count = as_integer(labels)
    if count is not None:
        if count < 0:
            raise InvalidInputError(f"labels is {count}; pass labels, or the number of draws")
        check_draws(count, means.shape[1], "labels")
        where = device if generator is None else generator.device
        labels = torch.randint(n_classes, (count,), generator=generator, device=where)
    return hard_labels(labels, n_classes, device=device, rows=None, unlabeled=False)[0]


def soft_labels(labels: Tensor, n_classes: int, *, device: torch.device, rows: int) -> Tensor:
    """Return likelihood weights (N, K) on ``device``: nonnegative rows that sum to one."""
    if tuple(labels.shape) != (rows, n_classes) or not labels.is_floating_point():
        hard = labels.shape[-1] == 1 or not labels.is_floating_point()
        if hard:
            check_integral(labels, "labels")
        remedy = f": labels.{_one_per_row(labels)}" if labels.ndim == 2 and hard else ""
        raise InvalidInputError(
            f"labels has shape {tuple(labels.shape)} and dtype {labels.dtype}; pass integers "
            f"({rows},), or floating-point likelihood weights ({rows}, {n_classes}){remedy}"
        )
    labels = labels.to(device)
    if not (torch.compiler.is_compiling() or is_mapped(labels)):
        sums = labels.detach().sum(1)
        # one eps of bfloat16 per term bounds the rounding of a sum; NaN fails every comparison
        off = ~((labels.detach() >= 0).all(1) & ((sums - 1.0).abs() <= 1e-2))
        if bool(off.any()):
            row = int(off.nonzero()[0, 0])
            raise InvalidInputError(
                f"labels sums to {float(sums[row]):g} in row {row}, or is negative there; "
                "give every row nonnegative weights that sum to 1"
            )
    return labels
