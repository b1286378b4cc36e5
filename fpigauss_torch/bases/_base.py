"""What the bases of all libraries share: Gaussians, the shape of latents, draws and labels."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from fpigauss import InvalidInputError
from fpigauss_torch._support import as_integer, as_tensor, hard_labels, soft_labels
from fpigauss_torch.prior import LatentPrior

__all__ = ["LatentBase", "class_labels", "drawn", "flattened"]


class LatentBase(nn.Module):
    """A prior under a flow whose latents have some shape; its draws follow the flow's dtype.

    Parameters
    ----------
    gaussians : LatentPrior
        The prior; it is registered, so that the flow's state includes it.
    shape : sequence of int, optional
        The shape of one sample's latents; (dim,) by default.
    """

    _like: Tensor

    def __init__(self, gaussians: LatentPrior, shape: Sequence[int] | None = None) -> None:
        """Check the shape."""
        super().__init__()
        self.shape = (gaussians.dim,) if shape is None else _checked_shape(shape)
        if math.prod(self.shape) != gaussians.dim:
            raise InvalidInputError(
                f"shape is {self.shape}, with {math.prod(self.shape)} elements, the Gaussians have "
                f"{gaussians.dim} dimensions; they must agree"
            )
        self.gaussians = gaussians
        # casting the flow leaves the Gaussians in float64; this buffer has the dtype it was cast to
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    def _draw(self, labels: Tensor | int, temperature: float = 1.0) -> Tensor:
        """Draw latents (N, *shape): one per label, or a number of them from the mixture."""
        z = drawn(self.gaussians, labels, self._like.dtype, temperature)
        return z.reshape(-1, *self.shape)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    given = tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else ()
    sizes = tuple(map(as_integer, given))
    whole = tuple(size for size in sizes if size is not None and size > 0)
    if not whole or whole != sizes:
        raise InvalidInputError(
            f"shape is {shape!r}; pass a sequence of ints > 0, such as (C, H, W)"
        )
    return whole


def flattened(z: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Flatten latents (N, *shape) to (N, D)."""
    if tuple(z.shape[1:]) != shape:
        raise InvalidInputError(
            f"z has shape {tuple(z.shape)}, (N, {', '.join(map(str, shape))}) is needed; pass "
            "the shape of one sample's latents to as_base"
        )
    return rearrange(z, "n ... -> n (...)")


def class_labels(context: Any, n_classes: int) -> Tensor:
    """Convert what libraries pass on to labels: integers (...), or floating weights (..., K).

    ``context`` is integers (N,); integers or integral floats (..., 1); or weights of likelihoods
    (..., K), or one-hot rows of any dtype.
    """
    labels = as_tensor(context, "labels", f"pass integers 0..{n_classes - 1} (N,)")
    if labels.ndim < 2:
        if labels.is_floating_point():
            raise InvalidInputError(
                f"labels has dtype {labels.dtype}; pass integers 0..{n_classes - 1} (N,)"
            )
        return labels
    if labels.shape[-1] == 1:
        labels = labels[..., 0]
        if not labels.is_floating_point():
            return labels
        codes = labels.to(torch.int64)
        if not torch.compiler.is_compiling() and bool((codes != labels).any()):
            row = int((codes != labels).flatten().nonzero()[0, 0])
            raise InvalidInputError(
                f"labels is {float(labels.flatten()[row]):g} in row {row}; pass integers "
                f"0..{n_classes - 1}"
            )
        return codes
    if labels.shape[-1] == n_classes:
        return labels if labels.is_floating_point() else labels.to(torch.get_default_dtype())
    raise InvalidInputError(
        f"labels has shape {tuple(labels.shape)}; pass one label per row, (N, 1), or weights "
        f"(N, {n_classes})"
    )


def drawn(
    gaussians: LatentPrior, labels: Tensor | int, dtype: torch.dtype, temperature: float = 1.0
) -> Tensor:
    """Draw latents (N, D), differentiable with respect to the Gaussians where these are learned.

    ``labels`` is the number of draws, (N,) integers, or (N, K) weights by which classes are drawn.
    For a label -1 the class is drawn uniformly.
    """
    means = gaussians.density().means
    n_classes, device = gaussians.n_classes, means.device
    if isinstance(labels, int):
        labels = torch.randint(n_classes, (labels,), device=device)
    elif labels.is_floating_point():
        rows = labels.shape[0]
        weights = soft_labels(labels, n_classes, device=device, rows=rows)
        labels = torch.multinomial(weights, 1)[:, 0] if rows else weights.new_zeros(0).long()
    else:
        labels, some_unlabeled = hard_labels(
            labels, n_classes, device=device, rows=None, unlabeled=True
        )
        if some_unlabeled:
            uniform = torch.randint(n_classes, labels.shape, device=device)
            labels = torch.where(labels < 0, uniform, labels)
    noise = torch.randn(labels.shape[0], gaussians.dim, dtype=means.dtype, device=device)
    return (means[labels] + gaussians.color(temperature * noise, labels)).to(dtype)
