"""Modules under ``torch.compile``."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import nn

__all__ = ["not_compiled", "under_compile"]

F = TypeVar("F", bound=Callable[..., Any])


def not_compiled(function: F) -> F:
    """Leave a function, and what it calls, out of the graphs of ``torch.compile``."""
    return cast(F, torch.compiler.disable(function))


def under_compile(module: Any) -> Any:
    """Return the module that ``torch.compile`` has wrapped; anything else as it is."""
    while isinstance(module, nn.Module) and "_orig_mod" in module._modules:
        module = module._modules["_orig_mod"]
    return module
