"""Read CIFAR-10 and CIFAR-100, in the python and the binary version, as they unpack."""

import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from fpigauss import InvalidInputError
from torch import Tensor

from nfpi.data.image_set import ImageSet

__all__ = ["is_cifar", "read_cifar"]

_PIXELS = 3 * 32 * 32
_TEN = tuple(f"data_batch_{i}" for i in range(1, 6))


@dataclass(frozen=True)
class _Version:
    """One of the four archives."""

    name: str
    train: tuple[str, ...]
    test: str
    n_classes: int
    label: bytes | int  # key in a python file, or number of bytes before the pixels in a binary one


#: A folder is recognized by any of its files.
_VERSIONS = (
    _Version("CIFAR-10", _TEN, "test_batch", 10, b"labels"),
    _Version("CIFAR-10", tuple(f"{name}.bin" for name in _TEN), "test_batch.bin", 10, 1),
    _Version("CIFAR-100", ("train",), "test", 100, b"fine_labels"),
    _Version("CIFAR-100", ("train.bin",), "test.bin", 100, 2),  # coarse, then fine
)


def is_cifar(folder: Path) -> bool:
    """Return whether ``folder`` contains files of one of the archives."""
    return _version(folder) is not None


def read_cifar(folder: Path) -> tuple[ImageSet, ImageSet]:
    """Read the training files (five, or one) and the test file."""
    version = _version(folder)
    assert version is not None  # the caller has asked is_cifar
    for name in (*version.train, version.test):
        if not (folder / name).is_file():
            raise InvalidInputError(
                f"{folder / name} is missing from {version.name}; unpack the archive again"
            )
    parts = [_read(folder / name, version) for name in version.train]
    images, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    train = ImageSet(images, labels, version.n_classes, f"{folder} (train)")
    return train, ImageSet(
        *_read(folder / version.test, version), version.n_classes, f"{folder} (test)"
    )


def _version(folder: Path) -> _Version | None:
    for version in _VERSIONS:
        if any((folder / name).is_file() for name in (*version.train, version.test)):
            return version
    return None


def _read(path: Path, version: _Version) -> tuple[Tensor, Tensor]:
    """Read images (N, 3, 32, 32) and labels (N,) from one file."""
    if isinstance(version.label, int):
        pixels, labels = _from_binary(path, version.label)
    else:
        pixels, labels = _from_python(path, version.label)
    wrong = np.flatnonzero((labels < 0) | (labels >= version.n_classes))
    if len(wrong):
        raise InvalidInputError(
            f"{path}: image {wrong[0]} has label {labels[wrong[0]]}; {version.name} has "
            f"0..{version.n_classes - 1}, so the file is damaged or not of {version.name}"
        )
    pixels = rearrange(np.ascontiguousarray(pixels), "n (c h w) -> n c h w", c=3, h=32)
    images = torch.from_numpy(pixels)
    return images, torch.from_numpy(labels)


def _from_binary(path: Path, n_labels: int) -> tuple[Any, Any]:
    """Read rows of label bytes followed by pixels."""
    content = np.fromfile(path, dtype=np.uint8)
    row = n_labels + _PIXELS
    if not len(content) or len(content) % row:
        raise InvalidInputError(
            f"{path} has {len(content)} bytes, which is not a multiple of {row}; it is truncated "
            "or damaged: unpack the archive again"
        )
    rows = content.reshape(-1, row)
    return rows[:, n_labels:], rows[:, n_labels - 1].astype(np.int64)


def _from_python(path: Path, key: bytes) -> tuple[Any, Any]:
    """Read a pickled dict with ``b"data"`` and the labels."""
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="bytes").load()
    # everything the standard library raises for a truncated or damaged stream
    except (
        pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError, KeyError, IndexError,
        AttributeError, OverflowError, MemoryError, struct.error,
    ) as error:  # fmt: skip
        raise InvalidInputError(
            f"{path} cannot be read, it is truncated or damaged: {error}; unpack the archive again"
        ) from error
    if not isinstance(content, dict) or not {b"data", key} <= set(content):
        raise InvalidInputError(
            f'{path} has no "data" and "{key.decode()}"; it is not a file of this archive'
        )
    pixels, labels = content[b"data"], content[key]
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.shape[1:] != (_PIXELS,)
        or not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(isinstance(label, int) for label in labels)
    ):
        raise InvalidInputError(
            f'{path}: "data" is not uint8 of shape (N, {_PIXELS}), or "{key.decode()}" is not a '
            "list of N integers; unpack the archive again"
        )
    return pixels, np.array(labels, dtype=np.int64)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles plain containers and numpy arrays, and refuses everything else.

    A pickle can call any function it can name: here it can name nothing else.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what builds an array, under its names in old and new numpy."""
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return _bytes_dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if (module, name) == ("_codecs", "encode"):
            return _latin1  # python 3 writes bytes this way at protocol 2
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file needs")


def _bytes_dtype(code: str | bytes, *_: Any) -> Any:
    if code not in ("u1", b"u1"):
        raise pickle.UnpicklingError(f"it holds an array of {code!r}; all are of bytes")
    return np.dtype(np.uint8)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes bytes as {encoding}, not as latin1")
    return text.encode(encoding)
