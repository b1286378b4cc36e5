"""Records of runs: one line of a CSV file each, so that a comparison goes on where it stopped."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Record:
    """A CSV file of runs: what tells them apart, and the figures that were measured."""

    path: Path
    keys: tuple[str, ...]
    figures: tuple[str, ...]

    def add(self, key: Sequence[Any], figures: dict[str, float]) -> None:
        """Append a run."""
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow([*self.keys, *self.figures])
            writer.writerow([*key, *(f"{figures[name]:.6g}" for name in self.figures)])

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs, in the order of the file; splits are integers."""
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
        for row in rows:
            row.update({name: float(row[name]) for name in self.figures}, split=int(row["split"]))
        return rows

    def keys_of_runs(self) -> set[tuple[str, ...]]:
        """Return what tells the runs apart, as text."""
        return {tuple(str(run[key]) for key in self.keys) for run in self.runs()}


def complete(
    runs: Sequence[dict[str, Any]], key: str, wanted: Sequence[str]
) -> list[dict[str, Any]]:
    """Keep the runs of those splits of a data set in which everything wanted was measured."""
    found: dict[tuple[str, int], set[str]] = {}
    for run in runs:
        found.setdefault((run["data"], run["split"]), set()).add(run[key])
    return [run for run in runs if found[run["data"], run["split"]] >= set(wanted)]


def in_processes(
    tasks: Iterable[tuple[Callable[..., None], tuple[Any, ...]]], workers: int
) -> None:
    """Call functions in processes that were started afresh, and raise what they raise."""
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = [pool.submit(function, *arguments) for function, arguments in tasks]
        for future in futures:
            future.result()


def parser_of(module: str, names: Iterable[str], n_splits: int) -> argparse.ArgumentParser:
    """Return what reads the options that comparisons with a record have in common."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}")
    parser.add_argument("--only", nargs="+", choices=list(names), default=list(names))
    parser.add_argument("--splits", type=int, default=n_splits, help="fewer, for a trial")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser
