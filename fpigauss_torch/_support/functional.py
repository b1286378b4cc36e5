"""Tensors under the transforms of torch.func and in forward mode."""

from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

__all__ = ["is_batched", "is_dual", "is_mapped", "is_wrapped"]


def is_wrapped(x: Tensor) -> bool:
    """Return whether a transform of torch.func is under way that differentiates or maps ``x``."""
    return bool(_functorch.is_functorch_wrapped_tensor(x))


def is_dual(x: Tensor) -> bool:
    """Return whether ``x`` carries a tangent of forward-mode differentiation."""
    return forward_ad.unpack_dual(x).tangent is not None


def is_batched(x: Tensor) -> bool:
    """Return whether ``x`` is one of many cotangents that autograd pulls back at once."""
    return is_wrapped(x) or bool(_functorch.is_legacy_batchedtensor(x))


def is_mapped(x: Tensor) -> bool:
    """Return whether ``x`` is one of many rows under ``torch.func.vmap``, whose values differ."""
    while _functorch.is_functorch_wrapped_tensor(x):
        if _functorch.is_batchedtensor(x):
            return True
        x = _functorch.get_unwrapped(x)
    return False
