"""Modules under ``torch.compile``."""

from typing import Any

from torch import nn

__all__ = ["under_compile"]


def under_compile(module: Any) -> Any:
    """Return the module that ``torch.compile`` has wrapped; anything else as it is."""
    while isinstance(module, nn.Module) and "_orig_mod" in module._modules:
        module = module._modules["_orig_mod"]
    return module
