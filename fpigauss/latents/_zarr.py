"""Arrays in zarr groups, of format 2 or 3, read in multiples of their chunks."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpigauss.errors import InvalidInputError
from fpigauss.latents._arrays import Arrays
from fpigauss.latents._faults import imported, out_of_memory, reading
from fpigauss.latents._source import Memory, Rows

__all__ = ["ZarrArray", "is_zarr", "zarr_arrays"]

_REMEDY = "write it again with zarr"
_MARKS = ("zarr.json", ".zgroup", ".zarray")
#: Bytes of a string of variable width, and of numpy's reference to it.
_STRING_BYTES = 128


@dataclass(frozen=True)
class ZarrArray:
    """An array of a group, or the one of a store without groups (``name`` is empty then)."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_rows: int

    @property
    def memory(self) -> Memory:
        """The memory that reading takes: a chunk is decompressed and copied."""
        itemsize = _STRING_BYTES if self.dtype.kind in "OT" else self.dtype.itemsize
        row = math.prod(self.shape[1:]) * itemsize
        return Memory(2 * row, 2 * row * min(self.chunk_rows, self.shape[0]))

    def pieces(self, step: int) -> Iterator[Rows]:
        """Yield the array by rows, at most ``step`` at a time; each chunk is read once."""
        array = _opened(self.path)
        array = array[self.name] if self.name else array
        slab = max(1, step // self.chunk_rows) * self.chunk_rows
        for start in range(0, self.shape[0], slab):
            stop = min(start + slab, self.shape[0])
            try:
                rows = np.asarray(array[start:stop])
            except MemoryError as error:  # chunks say how long they are, and memory was checked
                raise out_of_memory(
                    f"{str(self.path)!r}: a chunk of array {self.name!r}, in rows {start} to "
                    f"{stop - 1},"
                ) from error
            for first in range(0, len(rows), step):
                yield rows[first : first + step]


def is_zarr(folder: Path) -> bool:
    """Say whether a folder is a zarr store."""
    return any((folder / mark).is_file() for mark in _MARKS)


def zarr_arrays(path: Path) -> Arrays:
    """Return the arrays of a zarr store; one without groups has an array "z" only."""
    with reading(path, _REMEDY):
        store = _opened(path)
        if hasattr(store, "array_keys"):
            return Arrays(_names(path), lambda name: _member(path, name, store))
        return Arrays(("z",), lambda _: _array(path, "", store))


def _names(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays in a group; zarr's own list warns of every other file."""
    return tuple(folder.name for folder in sorted(path.iterdir()) if _is_array(folder))


def _is_array(folder: Path) -> bool:
    if (folder / ".zarray").is_file():
        return True
    metadata = folder / "zarr.json"
    if not metadata.is_file():
        return False
    said = json.loads(metadata.read_bytes())
    return isinstance(said, dict) and said.get("node_type") == "array"


def _member(path: Path, name: str, group: Any) -> ZarrArray:
    with reading(path, _REMEDY):
        return _array(path, name, group[name])


def _array(path: Path, name: str, array: Any) -> ZarrArray:
    if any(getattr(codec, "codec_id", "") == "pickle" for codec in array.filters or ()):
        raise InvalidInputError(
            f"{str(path)!r}: array {name!r} is pickled, which can run any code; write strings as "
            "zarr's own"
        )
    rows = array.chunks[0] if array.chunks else 1
    return ZarrArray(path, name, tuple(array.shape), np.dtype(array.dtype), rows)


def _opened(path: Path) -> Any:
    return imported("zarr", "zarr").open(path, mode="r")
