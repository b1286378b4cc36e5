"""The grid: every run of a scale, with the tables and claims made from them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fpigauss import InvalidInputError

from nfpi.grid.claims import Claim

__all__ = ["Column", "Grid", "PlannedRun", "Row", "Table", "merged"]

KINDS = (
    "flow",
    "augmentation",
    "energy",
    "rejection",
    "neighbors",
    "later",
    "few",
    "uneven",
)


@dataclass(frozen=True)
class PlannedRun:
    """One run, which leaves one record under its name.

    Parameters
    ----------
    name : str
        The key of its record.
    setting : str
        The name shared by the same run at other seeds.
    seed : int
        Seeds the flow, the batches, the noise and the generated images.
    tables : tuple of str
        The tables that show it; the first is the one it is run for.
    dataset : str
        The name of the images, whose path is given on the command line; "digits" needs none.
    config : mapping
        Differences from the grid's base, as nested tables of a run config.
    kind : str
        Train a flow and measure it ("flow"); and then augment a classifier's images with it
        ("augmentation"), or reject images of no known class ("rejection"), or compare where its
        classes are with a classifier's confusions ("neighbors"). "energy" trains an energy model,
        which has no flow, "later" trains on some classes and adds the others, "few" and "uneven"
        compare what learns from few rows per class, or from uneven ones.
    options : mapping
        Options of the measurements after training; of the whole training of an energy model.
    tuned_by : tuple of str
        Tuning runs; the ``choice`` of the one with the highest validation NF-Acc is merged into
        this config.
    choice : mapping
        The setting that a tuning run tries. Tuning runs split validation images off the training
        images and never see a test image.
    """

    name: str
    setting: str
    seed: int
    tables: tuple[str, ...]
    dataset: str
    config: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "flow"
    options: Mapping[str, Any] = field(default_factory=dict)
    tuned_by: tuple[str, ...] = ()
    choice: Mapping[str, Any] = field(default_factory=dict)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Return the names of the images it is trained on, and of those it must reject."""
        foreign = self.options.get("foreign")
        return (self.dataset,) if foreign is None else (self.dataset, foreign)

    @property
    def is_tuning(self) -> bool:
        """Return whether the run only chooses a setting for others."""
        return bool(self.choice)


@dataclass(frozen=True)
class Row:
    """A row of a table: a setting, and the row of the paper to compare it with.

    ``metric`` is for runs that measure several rows: it replaces the column's, or the braces in it.
    """

    label: str
    setting: str
    paper: str | None = None
    metric: str | None = None

    def metric_of(self, column: "Column") -> str:
        """Return the metric in the cell of a column."""
        if "{}" in column.metric:
            return column.metric.replace("{}", self.metric or "")
        return self.metric or column.metric


@dataclass(frozen=True)
class Column:
    """A column of a table: a metric of the records, and its format.

    ``median`` is for times, which a busy machine stretches: it replaces mean and interval.
    """

    metric: str
    heading: str
    digits: int = 3
    median: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its title, columns and rows, a note for readers, and the claims it is headed by."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = ()
    note: str = ""
    headlines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """All runs of a scale in the order in which they are run, with their tables and claims.

    ``command`` makes them, if ``reproduce.py`` does not.
    """

    scale: str
    note: str
    base: Mapping[str, Any]
    runs: tuple[PlannedRun, ...]
    tables: Mapping[str, Table]
    claims: tuple[Claim, ...]
    command: str = ""

    def __post_init__(self) -> None:
        """Check that runs, tables and claims fit together."""
        names = [run.name for run in self.runs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidInputError(f"the grid lists runs more than once: {twice}")
        unusable = [
            name for name in names if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)
        ]
        if unusable:
            raise InvalidInputError(
                f"names of runs must be usable as names of files, unlike: {unusable}"
            )
        known = {run.setting for run in self.runs if not run.is_tuning}
        choosing = {run.name for run in self.runs if run.is_tuning}
        for run in self.runs:
            unknown = set(run.tables) - self.tables.keys()
            if unknown or not run.tables:
                raise InvalidInputError(f"run {run.name!r}: no such tables {sorted(unknown)}")
            if not choosing.issuperset(run.tuned_by):
                raise InvalidInputError(
                    f"run {run.name!r} is tuned by {run.tuned_by}, not all of them tuning runs"
                )
            if run.kind not in KINDS:
                raise InvalidInputError(f"run {run.name!r}: kind is {run.kind!r}, not of {KINDS}")
            rows = {row.setting for name in run.tables for row in self.tables[name].rows}
            if not run.is_tuning and run.setting not in rows:
                raise InvalidInputError(f"run {run.name!r}: no table has its {run.setting!r}")
        headed = {name for table in self.tables.values() for name in table.headlines}
        unclaimed = sorted(headed - {claim.name for claim in self.claims})
        if unclaimed:
            raise InvalidInputError(f"tables are headed by claims that are not there: {unclaimed}")
        named = {side.setting for claim in self.claims for pair in claim.pairs for side in pair}
        named |= {row.setting for table in self.tables.values() for row in table.rows}
        missing = sorted(named - known)
        if missing:
            raise InvalidInputError(f"tables or claims name settings without a run: {missing}")

    def of_table(self, name: str) -> tuple[PlannedRun, ...]:
        """List the runs of a table and those that tune them; all runs for "all"."""
        if name == "all":
            return self.runs
        wanted = [run for run in self.runs if name in run.tables]
        needed = {run.name for run in wanted} | {by for run in wanted for by in run.tuned_by}
        return tuple(run for run in self.runs if run.name in needed)

    def runs_of(self, setting: str) -> tuple[PlannedRun, ...]:
        """List the runs of a setting, one per seed, without those that tune it."""
        return tuple(run for run in self.runs if run.setting == setting and not run.is_tuning)


def merged(base: Mapping[str, Any], *changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changes into nested tables; later ones win."""
    result = {
        key: merged(value) if isinstance(value, Mapping) else value for key, value in base.items()
    }
    for change in changes:
        for key, value in change.items():
            old = result.get(key)
            if isinstance(value, Mapping) and isinstance(old, Mapping):
                value = merged(old, value)
            result[key] = value
    return result
