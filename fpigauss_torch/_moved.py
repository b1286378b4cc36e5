"""Addresses of modules that have moved into rooms: they work for one release, with a warning."""

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["forward_old_addresses"]

#: Former modules of this package, and the rooms that their contents are in now.
_MOVED = {
    "_errors": "_support",  # pickled errors refer to it
    "augmentation": "augment",
    "calibration": "open_set",
    "new_class": "open_set",
    "perturbation": "augment",
    "principal_axes": "augment",
    "rejection": "open_set",
    "schedule": "refit",
}


class _OldAddress(ModuleType):
    """A module without content: it forwards to the package, or to a room for the room's own names.

    Parameters
    ----------
    package : module
        The package that the module was in.
    name : str
        The module's former name in it.
    """

    def __init__(self, package: ModuleType, name: str) -> None:
        """Make it look like a module that was imported."""
        super().__init__(f"{package.__name__}.{name}", f"Moved to {package.__name__}.")
        self.__spec__ = ModuleSpec(self.__name__, loader=None)
        self.__dict__["_successors"] = (package.__name__, f"{package.__name__}.{_MOVED[name]}")

    def __getattr__(self, name: str) -> Any:
        # tools ask every module for __file__, __path__ and the like, which is not a use of it
        if not name.startswith("__"):
            for successor in map(import_module, self._successors):
                if name in successor.__all__:
                    warnings.warn(
                        f"{self.__name__}.{name} has moved, and its old address goes in the next "
                        f"release; import it from {successor.__name__}",
                        DeprecationWarning,
                        stacklevel=2,
                    )
                    return getattr(successor, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def forward_old_addresses(package: ModuleType) -> None:
    """Let ``import package.old`` and ``from package.old import name`` find what has moved."""
    for name in _MOVED:
        module = _OldAddress(package, name)
        sys.modules[module.__name__] = module
        setattr(package, name, module)
