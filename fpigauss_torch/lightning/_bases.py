"""The ``Callback`` of every Lightning that is installed."""

import importlib

__all__ = ["bases"]


def bases() -> tuple[type, ...]:
    """Return ``Callback`` of every installed Lightning: a trainer knows only its own package's."""
    found = []
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            found.append(importlib.import_module(name).Callback)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    if not found:
        raise ImportError(
            "neither lightning nor pytorch_lightning is installed; pip install lightning"
        )
    return tuple(found)
