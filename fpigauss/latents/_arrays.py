"""Files of named arrays: of npy and npz, safetensors, zarr and torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError
from fpigauss.latents._faults import missing_name, reading
from fpigauss.latents._source import Batch, Feed, Memory, Rows, Wanted, length_error

__all__ = [
    "ArrayColumn",
    "ArraySource",
    "Arrays",
    "StoredArray",
    "column_of_arrays",
    "source_of_arrays",
]


class StoredArray(Protocol):
    """An array in a file, of which slices of rows are read one after the other."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the rows once they are read."""

    @property
    def memory(self) -> Memory:
        """The memory that reading takes."""

    def pieces(self, step: int) -> Iterator[Rows]:
        """Yield the array by rows, at most ``step`` at a time."""


class Arrays(NamedTuple):
    """The names of the arrays in a file; an array is looked at when it is asked for.

    ``names`` is None for a file of one array without a name, which it gives under any.
    """

    names: tuple[str, ...] | None
    get: Callable[[str], StoredArray]


@dataclass(frozen=True)
class ArrayColumn:
    """An array of labels."""

    path: Path
    array: StoredArray

    @property
    def n_rows(self) -> int:
        """The number of labels."""
        return self.array.shape[0]

    @property
    def memory(self) -> Memory:
        """The memory that reading takes."""
        return self.array.memory

    def pieces(self, step: int) -> Iterator[Labels]:
        """Yield the labels, at most ``step`` at a time."""
        with reading(self.path):
            yield from map(as_strings, self.array.pieces(step))


@dataclass(frozen=True)
class ArraySource:
    """An array of latents, and one of labels or None."""

    path: Path
    latents: StoredArray
    labels: StoredArray | None
    names: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return self.latents.shape[0]

    @property
    def dim(self) -> int:
        """The number of dimensions d."""
        return self.latents.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the latents."""
        return self.latents.dtype

    @property
    def has_labels(self) -> bool:
        """Whether there are labels."""
        return self.labels is not None

    @property
    def memory(self) -> Memory:
        """The memory that reading takes."""
        latents = self.latents.memory
        return latents if self.labels is None else latents + self.labels.memory

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield both, at most ``step`` rows at a time."""
        with reading(self.path):
            if self.labels is None:
                yield from ((z, None) for z in self.latents.pieces(step))
            else:
                feed = Feed(map(as_strings, self.labels.pieces(step)))
                for z in self.latents.pieces(step):
                    yield z, feed.take(len(z))


def source_of_arrays(
    path: Path, arrays: Arrays, z: Wanted, y: str | None, *, alone: bool
) -> ArraySource:
    """Return the latents ``z`` with the labels ``y``: by default "z", and "y" if it is there."""
    if not (z is None or isinstance(z, str)):
        raise InvalidInputError(
            f"z names {len(z)} columns, and {str(path)!r} contains arrays; name one of them"
        )
    name = "z" if z is None else z
    latents = _array(path, arrays, name, "z")
    if len(latents.shape) != 2:
        raise InvalidInputError(
            f"{str(path)!r}: array {name!r} has shape {latents.shape}; latents have one row of "
            "numbers per sample: (N, d)"
        )
    _check_numbers(latents, path, name)
    names = arrays.names or ()
    if alone or arrays.names is None or (y is None and "y" not in names):
        return ArraySource(path, latents, None, names)
    labels = _labels(path, arrays, "y" if y is None else y)
    if labels.shape[0] != latents.shape[0]:
        raise length_error(path, labels.shape[0], path, latents.shape[0])
    return ArraySource(path, latents, labels, names)


def column_of_arrays(path: Path, arrays: Arrays, y: str | None) -> ArrayColumn:
    """Return the labels ``y``, by default "y" or the only array there is."""
    only = arrays.names[0] if arrays.names and len(arrays.names) == 1 else "y"
    return ArrayColumn(path, _labels(path, arrays, only if y is None else y))


def _array(path: Path, arrays: Arrays, name: str, option: str) -> StoredArray:
    if arrays.names is not None and name not in arrays.names:
        raise missing_name(path, "array", name, arrays.names, option)
    return arrays.get(name)


def _labels(path: Path, arrays: Arrays, name: str) -> StoredArray:
    labels = _array(path, arrays, name, "y")
    if len(labels.shape) != 1:
        raise InvalidInputError(
            f"{str(path)!r}: array {name!r} has shape {labels.shape}; labels are one per sample, "
            "(N,): ravel a column, or take argmax(1) of one-hot rows"
        )
    if labels.dtype.kind not in "iufbUOT":
        raise InvalidInputError(
            f"{str(path)!r}: array {name!r} has dtype {labels.dtype}; store labels as integers, "
            "booleans or strings"
        )
    return labels


def as_strings(labels: Labels) -> Labels:
    """Return labels that are objects, as strings of variable width may be, as ours are."""
    if labels.dtype.kind not in "OT":
        return labels
    strings: Labels = np.asarray(labels.tolist(), dtype=np.str_)
    return strings


def _check_numbers(array: StoredArray, path: Path, name: str) -> None:
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(
            f"{str(path)!r}: array {name!r} has dtype {array.dtype}; latents are numbers: "
            "store them as float32"
        )
