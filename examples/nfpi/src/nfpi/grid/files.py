"""Grids as committed JSON files."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from fpigauss import InvalidInputError

from nfpi.grid.claims import Claim, Side
from nfpi.grid.model import Column, Grid, PlannedRun, Row, Table

__all__ = ["read_grid", "write_grid"]


def write_grid(path: Path, grid: Grid) -> None:
    """Write a grid as JSON, a run a line."""
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
        If the file is missing, or no grid.
    """
    try:
        found = json.loads(path.read_text())
        return Grid(
            scale=found["scale"],
            note=found["note"],
            base=found["base"],
            runs=tuple(_run(entry) for entry in found["runs"]),
            tables={name: _table(entry) for name, entry in found["tables"].items()},
            claims=tuple(_claim(entry) for entry in found["claims"]),
        )
    except FileNotFoundError:
        raise InvalidInputError(
            f"{path} is missing; make it with reproduce.py --write-grid, and commit it before the "
            "first run"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{path} holds no grid: {error!r}") from error


def _without_defaults(run: PlannedRun) -> dict[str, Any]:
    blank = PlannedRun(run.name, run.setting, run.seed, run.tables, run.dataset)
    required = {"name", "setting", "seed", "tables", "dataset"}
    return {
        name: value
        for name, value in dataclasses.asdict(run).items()
        if name in required or value != getattr(blank, name)
    }


def _run(entry: dict[str, Any]) -> PlannedRun:
    tuples = {name: tuple(entry[name]) for name in ("tables", "tuned_by") if name in entry}
    return PlannedRun(**{**entry, **tuples})


def _table(entry: dict[str, Any]) -> Table:
    return Table(
        entry["title"],
        tuple(Column(**column) for column in entry["columns"]),
        tuple(Row(**row) for row in entry["rows"]),
        entry.get("note", ""),
    )


def _claim(entry: dict[str, Any]) -> Claim:
    pairs = tuple(tuple(Side(**side) for side in pair) for pair in entry["pairs"])
    return Claim(**{**entry, "pairs": pairs})
