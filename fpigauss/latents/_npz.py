"""Arrays in an npz archive, streamed out of it, stored or compressed."""

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from fpigauss.errors import InvalidInputError
from fpigauss.latents._arrays import Arrays
from fpigauss.latents._faults import reading
from fpigauss.latents._npy import Header, header_of
from fpigauss.latents._source import Memory, Rows

__all__ = ["Member", "npz_arrays"]

_REMEDY = "save it again with numpy.savez"


@dataclass(frozen=True)
class Member:
    """An array of an archive, read from its first row to its last."""

    path: Path
    name: str
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
        """The memory that reading takes: what is stored by columns is read whole."""
        header = self.header
        return Memory(header.row_bytes, header.n_bytes if header.by_columns else 0)

    def pieces(self, step: int) -> Iterator[Rows]:
        """Yield the array by rows, at most ``step`` at a time."""
        header = self.header
        n_rows = header.shape[0]
        with zipfile.ZipFile(self.path) as archive, archive.open(self.name) as stream:
            stream.read(header.offset)
            if header.by_columns:
                whole = self._read(stream, header.shape[::-1]).T
                pieces = (whole[i : i + step].copy() for i in range(0, n_rows, step))
            else:
                lengths = (min(step, n_rows - i) for i in range(0, n_rows, step))
                pieces = (self._read(stream, (n, *header.shape[1:])) for n in lengths)
            for piece in pieces:
                yield piece.astype(header.dtype, copy=False)
            stream.read(1)  # at the end the checksum is compared

    def _read(self, stream: IO[bytes], shape: tuple[int, ...]) -> Rows:
        """Read the next numbers, as an array of ``shape``."""
        buffer = np.empty(math.prod(shape) * self.header.stored.itemsize, np.uint8)
        done = 0
        while done < len(buffer):
            n = stream.readinto(buffer.data[done : done + 2**20])  # type: ignore[attr-defined]
            if not n:
                raise EOFError(f"{self.name} is cut short")
            done += n
        return buffer.view(self.header.stored).reshape(shape)


def npz_arrays(path: Path) -> Arrays:
    """Return the arrays of an npz file."""
    with reading(path, _REMEDY), zipfile.ZipFile(path) as archive:
        found = [info.filename for info in archive.infolist()]
    files = {name.removesuffix(".npy"): name for name in found if name.endswith(".npy")}
    return Arrays(tuple(files), lambda name: _member(path, files[name], name))


def _member(path: Path, file: str, name: str) -> Member:
    with (
        reading(path, _REMEDY),
        zipfile.ZipFile(path) as archive,
        archive.open(file) as stream,
    ):
        header = header_of(stream, f"{str(path)!r}: array {name!r}")
        size = archive.getinfo(file).file_size - header.offset
    if size != header.n_bytes:
        raise InvalidInputError(
            f"{str(path)!r}: array {name!r} is damaged: shape {header.shape} of {header.stored} "
            f"takes {header.n_bytes} bytes, and {size} are there; {_REMEDY}"
        )
    return Member(path, file, header)
