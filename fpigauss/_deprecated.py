"""Former names and addresses, which keep working for one more release."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from fpigauss._warnings import warn_user

__all__ = ["forward_old_addresses", "renamed"]


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a module's ``__getattr__`` that forwards former names.

    Each of ``names`` has the new name in the module, or, if it is not public anymore, the place
    where it still is, as in "package.module:name".
    """

    def found(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return _former(module, name, names[name])

    return found


def _former(module: str, name: str, target: str) -> Any:
    """Return what a former name of a module stands for, with a warning."""
    place, is_private, attribute = target.rpartition(":")
    if is_private:
        message = f"{module}.{name} is not public anymore; it will be removed in the next release"
    else:
        message = (
            f"{module}.{name} is now {module}.{attribute}; "
            "the old name will be removed in the next release"
        )
    warn_user(message, DeprecationWarning)
    return getattr(import_module(place or module), attribute)


class _OldAddress(ModuleType):
    """A module without content: it forwards to the package, or to a module for its own names.

    Parameters
    ----------
    package : module
        The package that the module was in.
    name, successor : str
        The module's former name in it, and the module that has its contents now.
    names : mapping of str to str
        Names that are not public anymore, with their places, as in ``renamed``.
    """

    def __init__(
        self, package: ModuleType, name: str, successor: str, names: Mapping[str, str]
    ) -> None:
        """Make it look like a module that was imported."""
        super().__init__(f"{package.__name__}.{name}", f"Moved to {package.__name__}.")
        self.__spec__ = ModuleSpec(self.__name__, loader=None)
        self.__dict__["_successors"] = (package.__name__, f"{package.__name__}.{successor}")
        self.__dict__["_names"] = names

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":  # of a star import
            return [*import_module(self._successors[1]).__all__, *self._names]
        # tools ask every module for __file__, __path__ and the like, which is not a use of it
        if not name.startswith("__"):
            if name in self._names:
                return _former(self.__name__, name, self._names[name])
            for successor in map(import_module, self._successors):
                if name in successor.__all__:
                    warn_user(
                        f"{self.__name__}.{name} has moved, and its old address goes in the next "
                        f"release; import it from {successor.__name__}",
                        DeprecationWarning,
                    )
                    return getattr(successor, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__all__})


def forward_old_addresses(
    package: ModuleType,
    moved: Mapping[str, str],
    names: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Let ``import package.old`` and ``from package.old import name`` find what has moved.

    Parameters
    ----------
    package : module
        The package, at the end of its import.
    moved : mapping of str to str
        Former modules of the package, with the modules that have their contents now.
    names : mapping of str to mappings, optional
        By former module, the names that are not public anymore, with their places.
    """
    for name, successor in moved.items():
        module = _OldAddress(package, name, successor, (names or {}).get(name, {}))
        sys.modules[module.__name__] = module
        setattr(package, name, module)
