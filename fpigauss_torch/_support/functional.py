"""Tensors under the transforms of torch.func."""

from torch import Tensor
from torch._C import _functorch

__all__ = ["is_mapped", "is_wrapped"]


def is_wrapped(x: Tensor) -> bool:
    """Return whether a transform of torch.func is under way that differentiates or maps ``x``."""
    return bool(_functorch.is_functorch_wrapped_tensor(x))


def is_mapped(x: Tensor) -> bool:
    """Return whether ``x`` is one of many rows under ``torch.func.vmap``, whose values differ."""
    while _functorch.is_functorch_wrapped_tensor(x):
        if _functorch.is_batchedtensor(x):
            return True
        x = _functorch.get_unwrapped(x)
    return False
