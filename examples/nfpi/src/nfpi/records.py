"""Run records: one JSON file per finished run, with the environment it ran in."""

import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fpigauss
import numpy as np
import torch
from fpigauss import InvalidInputError

from nfpi.checkpoints import write_atomically

__all__ = ["environment", "read_records", "write_record"]


def write_record(folder: str | Path, record: Mapping[str, Any]) -> Path:
    """Write ``KEY.json`` atomically, replacing a record with the same key.

    Parameters
    ----------
    folder : path
        Created if necessary.
    record : mapping
        "key" (letters, digits, ``_``, ``-`` and ``.``) and anything JSON can represent; arrays and
        tensors become lists. Numbers that are not finite become null, since JSON has none.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InvalidInputError
        If the key cannot name a file, or a value is not a number, string, list or dict.
    """
    key = record.get("key")
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", key):
        raise InvalidInputError(
            f'record["key"] is {key!r}; pass letters, digits, "_", "-" and ".", as config_key does'
        )
    text = json.dumps(_plain(record, "record"), indent=1, allow_nan=False) + "\n"
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key}.json"
    write_atomically(path, lambda at: at.write_text(text, encoding="utf-8"))
    return path


def read_records(folder: str | Path) -> list[dict[str, Any]]:
    """Read every record in a folder, sorted by key; none if there is no such folder.

    Parameters
    ----------
    folder : path

    Returns
    -------
    list of dict

    Raises
    ------
    InvalidInputError
        If it is not a folder, or a JSON file in it is damaged or is not a record of that name.
    """
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InvalidInputError(f"{folder} is not a folder; move it elsewhere")
    records = []
    for path in sorted(Path(folder).glob("*.json")):
        if path.name.startswith("."):
            continue  # left over from a writer that was killed
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # from JSON, or text that is not UTF-8
            raise InvalidInputError(
                f"{path} is damaged: {error}; remove it to repeat the run"
            ) from error
        if not isinstance(record, dict) or record.get("key") != path.stem:
            raise InvalidInputError(
                f'{path} is not a record: its "key" should be {path.stem!r}; move it elsewhere'
            )
        records.append(record)
    return records


def environment() -> dict[str, Any]:
    """Return versions and machine, which may explain differences between figures.

    Returns
    -------
    dict
        python, torch, numpy, fpigauss, system, machine, cores, threads, gpu (or None), and
        revision: the commit of this file's checkout, with "+" if tracked files have changed since,
        or None outside git.
    """
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "fpigauss": fpigauss.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "revision": _revision(),
    }


def _revision() -> str | None:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ("git", *arguments),
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout
        return None


def _plain(value: Any, name: str) -> Any:
    """Convert ``value`` to types of JSON."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidInputError(f"{name} has the key {key!r}; keys are strings")
        return {key: _plain(part, f'{name}["{key}"]') for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, f"{name}[{i}]") for i, part in enumerate(value)]
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return _plain(value.tolist(), name)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return str(value)  # members of string enumerations, such as a fit's status, included
    if value is None or isinstance(value, (bool, int)):
        return value
    raise InvalidInputError(
        f"{name} is a {type(value).__name__}; pass numbers, strings, lists and dicts"
    )
