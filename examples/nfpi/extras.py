"""Optional libraries, imported when they are asked for."""

import importlib
from types import ModuleType

__all__ = ["import_extra"]


def import_extra(module: str, extra: str, what: str) -> ModuleType:
    """A module of an optional library, or an ImportError that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{what} needs {module.split(".")[0]}: pip install "fpigauss[{extra}]" ({error})'
        ) from error
