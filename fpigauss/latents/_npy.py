"""Arrays in numpy's own format, mapped to memory one piece at a time; nothing is unpickled."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from fpigauss.errors import InvalidInputError
from fpigauss.latents._arrays import Arrays
from fpigauss.latents._faults import reading
from fpigauss.latents._source import Memory, Rows

__all__ = ["Header", "MappedArray", "header_of", "npy_arrays"]

#: Characters of a header, several times those of any array of ours: it is parsed as Python.
_LONGEST_HEADER = 10_000


@dataclass(frozen=True)
class Header:
    """What an array in numpy's format says about itself, and where its numbers begin."""

    shape: tuple[int, ...]
    by_columns: bool
    stored: np.dtype[Any]
    offset: int

    @property
    def n_bytes(self) -> int:
        """The bytes of all numbers."""
        return math.prod(self.shape) * self.stored.itemsize

    @property
    def row_bytes(self) -> int:
        """The bytes of a row."""
        return math.prod(self.shape[1:]) * self.stored.itemsize

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype in the order of bytes of this machine."""
        return self.stored.newbyteorder("=")


def header_of(file: IO[bytes], where: str) -> Header:
    """Read the header of an array; refuse one of Python objects, which would be unpickled."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise InvalidInputError(f"{where} is of numpy's format {version}, for records; {_SAVE}")
    shape, by_columns, dtype = read(file, max_header_size=_LONGEST_HEADER)
    if dtype.hasobject:
        raise InvalidInputError(
            f"{where} contains Python objects, which would have to be unpickled, and pickles can "
            f"run any code; {_SAVE}, labels as integers or by numpy.array(y, dtype=str)"
        )
    if dtype.names is not None or dtype.itemsize == 0 or min(shape, default=-1) < 0:
        raise InvalidInputError(f"{where} has dtype {dtype} and shape {shape}; {_SAVE}")
    return Header(shape, by_columns and len(shape) > 1, dtype, file.tell())


_SAVE = "save plain arrays: latents (N, d) as float32"


@dataclass(frozen=True)
class MappedArray:
    """An array in a file; each piece is a mapping of its own, so that memory is given back."""

    path: Path
    header: Header

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the rows once they are read."""
        return self.header.dtype

    @property
    def memory(self) -> Memory:
        """The memory that reading takes: what is stored by columns is mapped and copied."""
        return Memory(self.header.row_bytes * (2 if self.header.by_columns else 1))

    def pieces(self, step: int) -> Iterator[Rows]:
        """Yield the array by rows, at most ``step`` at a time."""
        header = self.header
        order: Literal["F", "C"] = "F" if header.by_columns else "C"
        for start in range(0, header.shape[0], step):
            mapped: Rows = np.memmap(
                self.path, header.stored, "r", header.offset, header.shape, order
            )
            piece = np.asarray(mapped[start : start + step])
            del mapped
            if header.by_columns:
                piece = np.ascontiguousarray(piece)
            yield piece.astype(header.dtype, copy=False)


def npy_arrays(path: Path) -> Arrays:
    """Return the array of an npy file, whatever it is called."""
    return Arrays(None, lambda _: _npy_array(path))


def _npy_array(path: Path) -> MappedArray:
    """Return the array of an npy file, whose length fits its header."""
    with reading(path, "save it again with numpy.save"), path.open("rb") as file:
        if file.read(1) == b"\x80":
            raise InvalidInputError(
                f"{str(path)!r} is a pickle, which can run any code and is never loaded; {_SAVE} "
                "with numpy.save"
            )
        file.seek(0)
        header = header_of(file, repr(str(path)))
        size = path.stat().st_size - header.offset
        if size < header.n_bytes:
            raise InvalidInputError(
                f"{str(path)!r} is cut short: shape {header.shape} of {header.stored} takes "
                f"{header.n_bytes} bytes, and {size} are there; save or copy it again"
            )
    return MappedArray(path, header)
