"""Modules whose parameters FSDP2 keeps in shards."""

import importlib
from typing import Any

import torch
from torch import nn

__all__ = ["is_sharded", "register_sharded"]


def is_sharded(module: nn.Module) -> bool:
    """Return whether ``fully_shard`` was called on the module, told by the class it gives it."""
    return any(kind.__name__ == "FSDPModule" for kind in type(module).__mro__)


def register_sharded(module: nn.Module, method: str) -> None:
    """Gather the module's parameters around calls of ``method``, as around those of ``forward``.

    Without gradients no backward pass follows that would shard them again, and what is gathered
    would be outdated after the optimizer's next step.
    """
    sharded: Any = module
    try:
        fsdp = importlib.import_module("torch.distributed.fsdp")
        register = fsdp.register_fsdp_forward_method
    except AttributeError:  # before torch 2.6
        fsdp = importlib.import_module("torch.distributed._composable.fsdp")
        register = fsdp.register_fsdp_forward_method
    register(module, method)
    gathered = getattr(module, method)

    def around(*args: Any) -> Any:
        result = gathered(*args)
        if not torch.is_grad_enabled():
            sharded.reshard()
        return result

    setattr(module, method, around)
