"""Train and eval mode of a module's parts, set and restored."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating", "modes_restored"]


@contextmanager
def modes_restored(module: nn.Module) -> Iterator[None]:
    """Restore the mode of every part afterwards: frozen parts may differ from the rest."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put every part into eval mode, and restore their modes afterwards."""
    with modes_restored(module):
        module.eval()
        yield
