"""Where a run stands, in a file that a killed run goes on from."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from fpigauss import InvalidInputError
from nfpi.config import RunConfig, canonical

__all__ = ["load_checkpoint", "save_checkpoint", "write_atomically"]

_FORMAT = "nfpi checkpoint 1"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
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


def save_checkpoint(path: Path, config: RunConfig, state: Mapping[str, Any]) -> None:
    """Write what a run needs to go on.

    Parameters
    ----------
    path : Path
        The file.
    config : RunConfig
        The run's: only a run of the same one can load it, but for what is evaluated.
    state : mapping
        Tensors, numbers, strings, and dicts, lists and tuples of them.
    """
    content = {"format": _FORMAT, "config": json.dumps(_trained(config)), "state": dict(state)}
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def load_checkpoint(path: Path, config: RunConfig) -> dict[str, Any]:
    """The state that ``save_checkpoint`` wrote, on the host.

    Parameters
    ----------
    path : Path
        The file.
    config : RunConfig
        Of the run that is to go on.

    Returns
    -------
    dict

    Raises
    ------
    InvalidInputError
        If the file is no checkpoint, is damaged, or is of another config.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file can make the reader raise anything
        raise InvalidInputError(
            f"checkpoint {str(path)!r} cannot be read ({type(error).__name__}); delete it to start "
            "anew"
        ) from error
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
