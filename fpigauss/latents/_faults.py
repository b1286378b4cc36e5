"""Faults of files, told by their names, with what is there and the remedy."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fpigauss.errors import InvalidInputError

__all__ = ["checked_path", "imported", "listed_names", "missing_name", "out_of_memory", "reading"]


def checked_path(path: Any, name: str) -> Path:
    """Return the path of a file or folder that exists."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        several = ", of several files that of their folder" * isinstance(path, list | tuple)
        raise InvalidInputError(
            f"{name} is a {type(path).__name__}; pass a string or a pathlib.Path{several}"
        ) from None
    if not text:  # an unset variable of a shell; a path of no name is that of this folder
        raise InvalidInputError(f"{name} is empty; pass the path of a file or folder")
    if "://" in text:
        raise InvalidInputError(
            f"{name} {text!r} is an address; only local files are read: download it first"
        )
    found = Path(text)
    try:
        exists = found.exists()
    except (OSError, ValueError):  # a name that is too long or has a NUL
        exists = False
    if not exists:
        raise InvalidInputError(f"{name} {text!r} does not exist{_neighbors(found)}")
    return found


def _neighbors(missing: Path) -> str:
    """Say what lies in the folder where a file is missed; to a pattern, that it is not one."""
    if "*" in missing.name and missing.parent.is_dir():
        return f"; for several files pass their folder, {str(missing.parent)!r}"
    try:
        there = sorted(entry.name for entry in missing.parent.iterdir() if entry.name[0] != ".")
    except (OSError, ValueError):
        return "; pass the path of a file or folder that does"
    if not there:
        return "; its folder is empty"
    return f"; its folder contains {listed_names(there)}"


def listed_names(names: Iterable[str]) -> str:
    """Write out the first few names, for a message."""
    names = list(names)
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")


def imported(module: str, what: str) -> Any:
    """Import what a format needs; an error names the extra that has it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        extra = "torch" if package == "torch" else "cli"
        raise ImportError(
            f'reading {what} needs {package}: pip install "fpigauss[{extra}]"'
        ) from error


def missing_name(path: Path, what: str, name: str, there: Iterable[str], option: str) -> Exception:
    """Say that an array or a column is not there, and what is."""
    found = listed_names(there) or "nothing"
    return InvalidInputError(
        f"{str(path)!r} has no {what} {name!r}; it contains {found}: pass one as {option}="
    )


def out_of_memory(what: str, remedy: str = "write it again") -> InvalidInputError:
    """Say what asks for more memory than there is, although what it announced is within bounds."""
    return InvalidInputError(
        f"{what} asks for more memory than there is: it is damaged, or other programs have taken "
        f"the memory; {remedy}"
    )


@contextmanager
def reading(path: Path, remedy: str = "write it again") -> Iterator[None]:
    """Tell what libraries raise about a file as an error of ours that names it."""
    try:
        yield
    except (InvalidInputError, ImportError):
        raise
    except MemoryError as error:  # parts say how long they are, and libraries believe them
        raise out_of_memory(repr(str(path)), remedy) from error
    except PermissionError as error:
        raise InvalidInputError(
            f"{str(path)!r} cannot be read ({error.strerror}); give yourself the right to read it"
        ) from error
    except Exception as error:  # damage makes every library raise nearly anything
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InvalidInputError(
            f"{str(path)!r} cannot be read: it is damaged, cut short, or not of the format its "
            f"name says ({why}); {remedy}"
        ) from error
