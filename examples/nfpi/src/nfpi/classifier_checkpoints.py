"""Where a classifier's training stands, in a file that a killed run goes on from."""

import json
from pathlib import Path
from typing import Any

import torch
from fpigauss import InvalidInputError
from torch import nn

from nfpi.checkpoints import read_content, write_atomically

__all__ = ["restore_progress", "save_progress"]

_FORMAT = "nfpi classifier 1"


def save_progress(
    path: Path,
    settings: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: list[dict[str, Any]],
) -> None:
    """Write what training needs to go on; a file of the same path is replaced.

    Parameters
    ----------
    path : Path
        The file; its folder is made if need be.
    settings : dict
        What JSON can hold: only a run of the same can go on from it.
    model, optimizer
        Their states are kept.
    history : list of dict
        One an epoch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": _FORMAT,
        "settings": json.dumps(settings),
        "model": model.state_dict(),
        "optimiser": optimizer.state_dict(),
        "history": history,
    }
    write_atomically(path, lambda at: torch.save(content, at))


def restore_progress(
    path: Path, settings: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
) -> list[dict[str, Any]]:
    """The history so far, once model and optimizer are as they were.

    Parameters
    ----------
    path, settings, model, optimizer
        As in ``save_progress``; model and optimizer are changed in place.

    Returns
    -------
    list of dict

    Raises
    ------
    InvalidInputError
        If the file cannot be read, or is of other settings.
    """
    content = read_content(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InvalidInputError(f"checkpoint {str(path)!r} is no classifier's; give another path")
    saved, ours = json.loads(content["settings"]), json.loads(json.dumps(settings))
    # files of earlier versions lack settings that were added since
    differing = [name for name in ours if saved.get(name, ours[name]) != ours[name]]
    if differing:
        was = "; ".join(f"{name} was {saved.get(name)}, is {ours[name]}" for name in differing)
        raise InvalidInputError(
            f"checkpoint {str(path)!r} is of another run: {was}; give another path, or delete it"
        )
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimiser"])
    return list(content["history"])
