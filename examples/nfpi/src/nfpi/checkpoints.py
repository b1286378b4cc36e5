"""Checkpoints: files from which a killed run resumes."""

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from fpigauss import InvalidInputError
from torch import Tensor

from nfpi.config import RunConfig, canonical, from_dict
from nfpi.data import ImageSet

__all__ = [
    "fingerprint",
    "identity",
    "load_checkpoint",
    "read_content",
    "save_checkpoint",
    "write_atomically",
]

_FORMAT = "nfpi checkpoint 1"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file, then move it to ``path``.

    Parameters
    ----------
    path : Path
        In an existing folder. If the process is killed, either file is there, old or new, whole.
    write : callable
        Called with the path of the temporary file, which has the same suffix.
    """
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent or Path()
    )
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's files are private
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def fingerprint(*tensors: Tensor) -> int:
    """Return a 32-bit checksum of tensors."""
    number = 0
    for tensor in tensors:
        memory = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        number = zlib.crc32(memory.numpy().data, number)
    return number


def identity(images: ImageSet) -> dict[str, Any]:
    """Return what distinguishes a set of images from others, wherever it is stored.

    Parameters
    ----------
    images : ImageSet

    Returns
    -------
    dict
        fingerprint (of images and labels), shape (N, C, H, W) and n_classes.
    """
    return {
        "fingerprint": fingerprint(images.images, images.labels),
        "shape": list(images.images.shape),
        "n_classes": images.n_classes,
    }


def save_checkpoint(
    path: Path, config: RunConfig, state: Mapping[str, Any], data: Mapping[str, Any] | None = None
) -> None:
    """Write what a run needs to resume.

    Parameters
    ----------
    path : Path
        The file.
    config : RunConfig
        The run's config; only a run with the same config, apart from evaluation, can load the file.
    state : mapping
        Tensors, numbers and strings, in dicts, lists and tuples.
    data : mapping, optional
        The ``identity`` of the training images; a run on other images cannot load the file.
    """
    content = {
        "format": _FORMAT,
        "config": json.dumps(_trained(config)),
        "data": None if data is None else dict(data),
        "state": dict(state),
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def read_content(path: Path) -> Any:
    """Load a file of tensors and plain values to the host, without unpickling objects."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file can make the reader raise anything
        raise InvalidInputError(
            f"checkpoint {str(path)!r} cannot be read ({type(error).__name__}); delete it to start "
            "anew"
        ) from error


def load_checkpoint(
    path: Path, config: RunConfig, data: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Load the state that ``save_checkpoint`` wrote, to the host.

    Parameters
    ----------
    path : Path
        The file.
    config : RunConfig
        The config of the run to resume.
    data : mapping, optional
        The ``identity`` of its images; a checkpoint without one matches any.

    Returns
    -------
    dict

    Raises
    ------
    InvalidInputError
        If the file is not a checkpoint, is damaged, or belongs to another config or other images.
    """
    content = read_content(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InvalidInputError(
            f"checkpoint {str(path)!r} is not a checkpoint of train_flow.py; pass another folder"
        )
    # files of earlier versions lack settings that were added since
    saved, ours = _trained(from_dict(json.loads(content["config"]))), _trained(config)
    if saved != ours:
        raise InvalidInputError(
            f"checkpoint {str(path)!r} belongs to another config: {_difference(saved, ours)}; give "
            "another folder, or delete the checkpoint to start again"
        )
    images = content.get("data")  # files of earlier versions have none
    if images is not None and data is not None and images != dict(data):
        raise InvalidInputError(
            f"checkpoint {str(path)!r} belongs to other images: {_difference(images, dict(data))}; "
            "give those again, another folder, or delete the checkpoint to start again"
        )
    state: dict[str, Any] = content["state"]
    return state


def _trained(config: RunConfig) -> dict[str, Any]:
    """Return the settings that training depends on: neither evaluation nor folders."""
    return {name: part for name, part in canonical(config).items() if name != "evaluation"}


def _difference(saved: dict[str, Any], ours: dict[str, Any]) -> str:
    """Describe the settings that differ."""
    before, now = _flat(saved), _flat(ours)
    names = [name for name in (before | now) if before.get(name) != now.get(name)]
    shown = [f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in names[:3]]
    return "; ".join(shown) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
