"""Collect the runs and rows of a grid while it is built."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nfpi.grid.model import PlannedRun, Row, Table, merged
from nfpi.grid.settings import Config

__all__ = ["Collector"]


class Collector:
    """Collects runs and rows; a setting shared by several tables is run once.

    Parameters
    ----------
    tables : iterable of str
        Names of the tables.
    dataset : str
        The images of runs that name no others.
    seeds : sequence of int
        Seeds of the runs that name no others.
    tuning_seed : int
        The seed of all tuning runs.

    Attributes
    ----------
    runs : dict of PlannedRun
        By name, in the order in which they were added.
    tuned : dict of tuple of str
        Names of the tuning runs, by what they tune.
    """

    def __init__(
        self, tables: Iterable[str], dataset: str, seeds: Sequence[int], tuning_seed: int
    ) -> None:
        """Start without runs."""
        self.dataset, self.seeds, self.tuning_seed = dataset, tuple(seeds), tuning_seed
        self.runs: dict[str, PlannedRun] = {}
        self.tuned: dict[str, tuple[str, ...]] = {}
        self._rows: dict[str, list[Row]] = {name: [] for name in tables}

    def tune(
        self, name: str, table: str, config: Config, choices: Mapping[str, Config], *,
        dataset: str | None = None,
    ) -> None:  # fmt: skip
        """Add tuning runs for the setting ``name``, one per choice."""
        without_cnn = merged(config, {"evaluation": {"cnn": False}})
        for label, choice in choices.items():
            run = f"tune-{name}-{label}"
            self.runs[run] = PlannedRun(
                run, f"tune-{name}", self.tuning_seed, (table,), dataset or self.dataset,
                without_cnn, choice=choice,
            )  # fmt: skip
        self.tuned[name] = tuple(f"tune-{name}-{label}" for label in choices)

    def add(
        self, table: str, label: str, setting: str, config: Config, *,
        seeds: Sequence[int] | None = None, paper: str | None = None, metric: str | None = None,
        **others: Any,
    ) -> None:  # fmt: skip
        """Add a row and its runs; runs that other tables have already only gain the table."""
        self._rows[table].append(Row(label, setting, paper, metric))
        for seed in seeds or self.seeds:
            name = f"{setting}-s{seed}"
            known = self.runs.get(name)
            if known is None:
                self.runs[name] = PlannedRun(
                    name, setting, seed, (table,), config=config,
                    **{"dataset": self.dataset, **others},
                )  # fmt: skip
            elif table not in known.tables:
                self.runs[name] = replace(known, tables=(*known.tables, table))

    def filled(self, blank: Mapping[str, Table]) -> dict[str, Table]:
        """Return tables with the rows collected for them."""
        return {name: replace(table, rows=tuple(self._rows[name])) for name, table in blank.items()}
