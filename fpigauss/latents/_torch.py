"""Tensors that torch.save wrote, mapped to memory; nothing but tensors is unpickled."""

import math
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpigauss.errors import InvalidInputError
from fpigauss.latents._arrays import Arrays
from fpigauss.latents._faults import imported, reading
from fpigauss.latents._source import Memory, Rows

__all__ = ["MappedTensor", "torch_arrays"]

_REMEDY = 'save a dict of tensors: torch.save({"z": z, "y": y}, path)'


@dataclass(frozen=True)
class MappedTensor:
    """A tensor of a file, which is mapped for each piece, so that memory is given back."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def memory(self) -> Memory:
        """The memory that reading takes: bfloat16 is mapped and copied."""
        return Memory(2 * math.prod(self.shape[1:]) * self.dtype.itemsize)

    def pieces(self, step: int) -> Iterator[Rows]:
        """Yield the tensor by rows, at most ``step`` at a time."""
        for start in range(0, self.shape[0], step):
            yield _numpy(_loaded(self.path)[self.name][start : start + step])


@dataclass(frozen=True)
class ListedStrings:
    """A list of strings beside the tensors, which is read with them."""

    path: Path
    name: str
    n_rows: int
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return (self.n_rows,)

    @property
    def memory(self) -> Memory:
        """The memory that reading takes: the list is read whole."""
        return Memory(self.dtype.itemsize, 64 * self.n_rows)

    def pieces(self, step: int) -> Iterator[Rows]:
        """Yield the strings, at most ``step`` at a time."""
        strings = _loaded(self.path)[self.name]
        for start in range(0, len(strings), step):
            yield np.asarray(strings[start : start + step], dtype=np.str_)


def torch_arrays(path: Path) -> Arrays:
    """Return the tensors of a file; one that is not in a dict is called "z"."""
    found = _loaded(path)

    def array(name: str) -> MappedTensor | ListedStrings:
        value = found[name]
        if isinstance(value, list) and value and all(isinstance(x, str) for x in value):
            return ListedStrings(path, name, len(value), np.asarray(value).dtype)
        if not hasattr(value, "detach"):
            raise InvalidInputError(
                f"{str(path)!r}: {name!r} is a {type(value).__name__}, not a tensor; {_REMEDY}"
            )
        if str(value.layout) != "torch.strided" or not value.shape:
            raise InvalidInputError(
                f"{str(path)!r}: tensor {name!r} has layout {value.layout} and shape "
                f"{tuple(value.shape)}; save a dense one"
            )
        return MappedTensor(path, name, tuple(value.shape), _dtype_of(path, name, value))

    return Arrays(tuple(found), array)


def _numpy(tensor: Any) -> Rows:
    """Return a tensor as numpy's, over the same memory if numpy has its type."""
    tensor = tensor.detach()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    array: Rows = tensor.resolve_conj().resolve_neg().numpy()
    return array


def _dtype_of(path: Path, name: str, tensor: Any) -> np.dtype[Any]:
    """Return numpy's type of a tensor; refuse those that it does not have, and tensors on meta."""
    try:
        return _numpy(tensor[:0]).dtype
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise InvalidInputError(
            f"{str(path)!r}: tensor {name!r} has dtype {tensor.dtype} and was saved on "
            f"{tensor.device.type!r}; save it as float32, with its numbers"
        ) from error


def _loaded(path: Path) -> dict[str, Any]:
    """Map the file; its dict is read, its numbers are not."""
    torch = imported("torch", ".pt and .pth")
    with reading(path, _REMEDY):
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            raise InvalidInputError(
                f"{str(path)!r} is damaged or contains more than tensors, and unpickling it could "
                f"run any code; {_REMEDY}"
            ) from error
    if isinstance(found, torch.Tensor):
        return {"z": found}
    if not isinstance(found, dict):
        raise InvalidInputError(f"{str(path)!r} contains a {type(found).__name__}; {_REMEDY}")
    return {str(name): value for name, value in found.items()}
