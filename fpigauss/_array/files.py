"""Files of numbers: npz, written atomically and read without pickle."""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fpigauss.errors import InvalidInputError

__all__ = ["load_arrays", "save_arrays"]

_FORMAT = "fpigauss"
_VERSION = 1

#: What numpy and zipfile raise for damaged files, and for files they did not write.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    AttributeError,
    TypeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def save_arrays(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, Any]) -> None:
    """Write ``arrays`` to ``path``; if that fails, an earlier file stays intact."""
    target = Path(path)
    header: dict[str, Any] = {"format": _FORMAT, "kind": kind, "version": _VERSION}
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path {os.fspath(path)!r}: the folder {target.parent} does not exist"
        )
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **header, **arrays)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's files are private, a saved file should not be
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load_arrays(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """Read the arrays of a file that ``save_arrays`` wrote for ``kind``."""
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        raise InvalidInputError(
            f"path {os.fspath(path)!r} is not an fpigauss file; load one that {kind}.save wrote"
        ) from error
    found = (str(arrays.pop("format", "")), str(arrays.pop("kind", "")))
    version = arrays.pop("version", None)
    if found != (_FORMAT, kind) or not np.array_equal(version, _VERSION):
        raise InvalidInputError(
            f"path {os.fspath(path)!r} does not contain a {kind} of a known version; "
            f"load a file that {kind}.save wrote"
        )
    return arrays


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
