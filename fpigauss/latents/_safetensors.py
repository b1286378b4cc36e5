"""Tensors in safetensors files, a slice at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpigauss.errors import InvalidInputError
from fpigauss.latents._arrays import Arrays
from fpigauss.latents._faults import imported, reading
from fpigauss.latents._source import Memory, Rows

__all__ = ["SlicedTensor", "safetensors_arrays"]

_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "u2",
    "I16": "i2",
    "U32": "u4",
    "I32": "i4",
    "U64": "u8",
    "I64": "i8",
    "F16": "f2",
    "F32": "f4",
    "F64": "f8",
    "BF16": "f4",  # which numpy does not have
}


@dataclass(frozen=True)
class SlicedTensor:
    """A tensor of a file, which is opened for each piece, so that memory is given back."""

    path: Path
    name: str
    shape: tuple[int, ...]
    stored: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the rows once they are read: bfloat16 becomes float32."""
        return np.dtype(_DTYPES[self.stored])

    @property
    def memory(self) -> Memory:
        """The memory that reading takes: a slice is copied out of the mapped file."""
        return Memory(2 * int(np.prod(self.shape[1:])) * self.dtype.itemsize)

    def pieces(self, step: int) -> Iterator[Rows]:
        """Yield the tensor by rows, at most ``step`` at a time."""
        wide = self.stored == "BF16"
        for start in range(0, self.shape[0], step):
            with _opened(self.path, "pt" if wide else "numpy") as file:
                stop = min(start + step, self.shape[0])  # it accepts no other
                piece = file.get_slice(self.name)[start:stop]
                yield piece.float().numpy() if wide else piece


def safetensors_arrays(path: Path) -> Arrays:
    """Return the tensors of a safetensors file."""
    with _opened(path, "numpy") as file:
        names = tuple(file.keys())

    def tensor(name: str) -> SlicedTensor:
        with _opened(path, "numpy") as file:
            found = file.get_slice(name)
            shape, stored = tuple(found.get_shape()), found.get_dtype()
        if stored not in _DTYPES:
            raise InvalidInputError(
                f"{str(path)!r}: tensor {name!r} has dtype {stored}; store it as F32"
            )
        if stored == "BF16":
            imported("torch", "bfloat16 of safetensors")
        return SlicedTensor(path, name, shape, stored)

    return Arrays(names, tensor)


def _opened(path: Path, framework: str) -> Any:
    safetensors = imported("safetensors", "safetensors")
    with reading(path, "save it again with safetensors"):
        return safetensors.safe_open(path, framework=framework)
