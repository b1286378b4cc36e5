"""Where a run stands, in a file that a killed run goes on from."""

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

from nfpi.config import RunConfig, canonical
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
    """Have ``write`` fill a temporary file, which then takes the place of ``path``.

    Parameters
    ----------
    path : Path
        In a folder that exists. Whenever the process is killed, it is the old file or the new.
    write : callable
        Given the path of the temporary file, of the same suffix.
    """
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent or Path()
    )
    os.close(handle)
    try:
        write(Path(name))
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's files are private
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def fingerprint(*tensors: Tensor) -> int:
    """A number that differs where tensors do, but for one time in four thousand million."""
    number = 0
    for tensor in tensors:
        memory = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        number = zlib.crc32(memory.numpy().data, number)
    return number


def identity(images: ImageSet) -> dict[str, Any]:
    """What tells a set of images from others, wherever it lies.

    Parameters
    ----------
    images : ImageSet

    Returns
    -------
    dict
        fingerprint, of images and labels; shape, (N, C, H, W); n_classes.
    """
    return {
        "fingerprint": fingerprint(images.images, images.labels),
        "shape": list(images.images.shape),
        "n_classes": images.n_classes,
    }


def save_checkpoint(
    path: Path, config: RunConfig, state: Mapping[str, Any], data: Mapping[str, Any] | None = None
) -> None:
    """Write what a run needs to go on.

    Parameters
    ----------
    path : Path
        The file.
    config : RunConfig
        The run's: only a run of the same one can load it, but for what is evaluated.
    state : mapping
        Tensors, numbers, strings, and dicts, lists and tuples of them.
    data : mapping, optional
        The ``identity`` of the images that it trains on: no other images can load it.
    """
    content = {
        "format": _FORMAT,
        "config": json.dumps(_trained(config)),
        "data": None if data is None else dict(data),
        "state": dict(state),
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def read_content(path: Path) -> Any:
    """What a file of tensors and plain values holds, on the host; never unpickled."""
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
    """The state that ``save_checkpoint`` wrote, on the host.

    Parameters
    ----------
    path : Path
        The file.
    config : RunConfig
        Of the run that is to go on.
    data : mapping, optional
        The ``identity`` of its images; a checkpoint without one goes with any.

    Returns
    -------
    dict

    Raises
    ------
    InvalidInputError
        If the file is no checkpoint, is damaged, or is of another config or of other images.
    """
    content = read_content(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InvalidInputError(
            f"checkpoint {str(path)!r} is no checkpoint of train_flow.py; give another folder"
        )
    saved, ours = json.loads(content["config"]), _trained(config)
    if saved != ours:
        raise InvalidInputError(
            f"checkpoint {str(path)!r} is of another config: {_difference(saved, ours)}; give "
            "another folder, or delete the checkpoint to start anew"
        )
    images = content.get("data")  # files of earlier versions have none
    if images is not None and data is not None and images != dict(data):
        raise InvalidInputError(
            f"checkpoint {str(path)!r} is of other images: {_difference(images, dict(data))}; "
            "give those again, another folder, or delete the checkpoint to start anew"
        )
    state: dict[str, Any] = content["state"]
    return state


def _trained(config: RunConfig) -> dict[str, Any]:
    """The settings that training depends on, whatever is measured afterwards, and wherever."""
    return {name: part for name, part in canonical(config).items() if name != "evaluation"}


def _difference(saved: dict[str, Any], ours: dict[str, Any]) -> str:
    """The settings that differ, in words."""
    before, now = _flat(saved), _flat(ours)
    names = [name for name in (before | now) if before.get(name) != now.get(name)]
    shown = [f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in names[:3]]
    return "; ".join(shown) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
