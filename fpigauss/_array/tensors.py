"""Arrays as a file of safetensors: numbers as tensors, all else as JSON in the metadata."""

import json
import os
import zlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from fpigauss._array.stored import HEADER, ForeignError, Stored, check_header
from fpigauss.errors import InvalidInputError

__all__ = ["is_safetensors", "kind_in_metadata", "read_tensors", "tensor_bytes"]

#: The entry of the metadata that contains all else than numbers, as a JSON object.
_KEY = "fpigauss"
#: Its entry with a checksum of the rest and of the tensors; files of others may lack it.
_CHECK = "crc32"


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    """Whether a path has the ending of such files."""
    return os.fsdecode(path).lower().endswith(".safetensors")


def _library() -> ModuleType:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "files of safetensors need the package safetensors: pip install safetensors; "
            "or use a path that ends in .npz",
            name=error.name,
        ) from None
    return safetensors


def tensor_bytes(header: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """Return the contents of a file with ``arrays``; labels that are strings become metadata."""
    tensors, values = {}, dict(header)
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.kind == "U" or (array.dtype.kind == "b" and array.ndim == 0):
            values[name] = array.tolist()
        elif array.dtype.itemsize > 8:
            raise InvalidInputError(
                f"{name} has dtype {array.dtype}, which safetensors does not have; convert it to "
                "float64, or save to a path that ends in .npz"
            )
        else:
            # in the order of bytes that the file has, of which the checksum is
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            tensors[name] = np.ascontiguousarray(little).reshape(array.shape)
    values[_CHECK] = _checksum(tensors, values)
    saved: bytes = _library().numpy.save(tensors, metadata={_KEY: json.dumps(values)})
    return saved


def read_tensors(
    path: str,
    expected: Mapping[str, Any],
    fields: Mapping[str, Stored],
    optional: Mapping[str, Stored],
) -> dict[str, Any]:
    """Read the arrays ``fields``, and no others but optional ones, of a file with this header."""
    with _library().safe_open(path, framework="numpy") as file:
        values = _decoded(file.metadata())
        if not set(HEADER) <= set(values):
            raise ForeignError("its header is missing")
        check_header([values[name] for name in HEADER], list(expected.values()))
        found = values.pop(_CHECK, None)
        keys = list(file.keys())
        names = sorted([*keys, *values])
        wanted = dict(fields) | {n: stored for n, stored in optional.items() if n in names}
        if names != sorted([*HEADER, *wanted]):
            raise ForeignError(f"it contains {', '.join(names)}")
        tensors = {name: file.get_tensor(name) for name in keys}
    if found is not None and found != _checksum(tensors, values):
        raise ForeignError("its checksum says that it is damaged")
    arrays = {
        name: np.asarray(values[name]) if name in values else tensors[name] for name in wanted
    }
    for name, stored in wanted.items():
        _check(name, arrays[name], stored)
    return arrays


def kind_in_metadata(path: str) -> object:
    """Return the kind that a file of ours says that it is, or None."""
    with _library().safe_open(path, framework="numpy") as file:
        return _decoded(file.metadata()).get("kind")


def _decoded(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Decode the entry that is ours; without one, nothing."""
    values = json.loads((metadata or {}).get(_KEY, "{}"))
    if not isinstance(values, dict):
        raise ForeignError(f"its metadata is {values!r}")
    return values


def _checksum(tensors: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Compute a checksum of tensors and of what is beside them."""
    total = zlib.crc32(json.dumps(values, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        total = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return total


def _check(name: str, array: np.ndarray[Any, Any], stored: Stored) -> None:
    """Raise if an array is not what it must be."""
    dtype = array.dtype
    if not {f"{dtype.kind}{dtype.itemsize}", dtype.kind} & set(stored.types):
        raise ForeignError(f"{name} has dtype {dtype}")
    if array.ndim not in stored.ndims:
        raise ForeignError(f"{name} has shape {array.shape}")
