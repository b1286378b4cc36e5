"""Grids as committed JSON files."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from fpigauss import InvalidInputError
from pydantic import TypeAdapter, ValidationError

from nfpi.grid.model import Grid, PlannedRun
from nfpi.refusals import told

__all__ = ["read_grid", "write_grid"]

_GRID = TypeAdapter(Grid)


def write_grid(path: Path, grid: Grid) -> None:
    """Write a grid as JSON, one run per line."""
    fields = {name: json.dumps(value, indent=2) for name, value in dataclasses.asdict(grid).items()}
    lines = [json.dumps(_without_defaults(run)) for run in grid.runs]
    fields["runs"] = "[\n" + ",\n".join(lines) + "\n]"
    text = ",\n".join(f"{json.dumps(name)}: {value}" for name, value in fields.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + text + "\n}\n")


def read_grid(path: Path) -> Grid:
    """Read what ``write_grid`` wrote.

    Raises
    ------
    InvalidInputError
        If the file is missing, or is not a grid.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InvalidInputError(
            f"{path} is missing; make it with reproduce.py --write-grid, and commit it before the "
            "first run"
        ) from None
    except ValueError as error:  # from JSON, or from text that is not UTF-8
        raise InvalidInputError(f"{path} is not a grid: {error}") from error
    try:
        return _GRID.validate_python(found)
    except ValidationError as error:
        raise InvalidInputError(f"{path} is not a grid: {told(error, found)}") from None


def _without_defaults(run: PlannedRun) -> dict[str, Any]:
    blank = PlannedRun(run.name, run.setting, run.seed, run.tables, run.dataset)
    required = {"name", "setting", "seed", "tables", "dataset"}
    return {
        name: value
        for name, value in dataclasses.asdict(run).items()
        if name in required or value != getattr(blank, name)
    }
