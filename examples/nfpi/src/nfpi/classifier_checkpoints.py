"""Checkpoints of classifiers: files from which a killed training resumes."""

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
    """Write what training needs to resume, replacing an earlier file.

    Parameters
    ----------
    path : Path
        The file; its folder is created if necessary.
    settings : dict
        Anything JSON can represent; only a run with the same settings can resume from the file.
    model, optimizer
        Their states are saved.
    history : list of dict
        One entry per epoch.
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
    """Restore model and optimizer, and return the history so far.

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
        If the file cannot be read, or belongs to other settings.
    """
    content = read_content(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InvalidInputError(
            f"checkpoint {str(path)!r} is not a classifier's; pass another path"
        )
    saved, ours = json.loads(content["settings"]), json.loads(json.dumps(settings))
    # files of earlier versions lack settings that were added since
    differing = [name for name in ours if saved.get(name, ours[name]) != ours[name]]
    if differing:
        was = "; ".join(f"{name} was {saved.get(name)}, is {ours[name]}" for name in differing)
        raise InvalidInputError(
            f"checkpoint {str(path)!r} belongs to another run: {was}; pass another path, or "
            "delete it"
        )
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimiser"])
    return list(content["history"])
