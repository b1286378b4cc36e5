"""Train and eval mode of a module, set for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating", "modes_restored"]


@contextmanager
def modes_restored(module: nn.Module) -> Iterator[None]:
    """Train or eval mode of each part as it was: frozen parts may differ from the rest."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode of every part, for a while."""
    with modes_restored(module):
        module.eval()
        yield
