"""Look up a grid's runs in its records."""

import math
from collections.abc import Mapping
from typing import Any

from nfpi.grid.claims import Measured, Side
from nfpi.grid.model import Grid, PlannedRun

__all__ = ["Records", "chosen", "measured", "values_by_seed"]

#: Records by name of the run.
Records = Mapping[str, Mapping[str, Any]]


def values_by_seed(grid: Grid, records: Records, side: Side) -> dict[int, float]:
    """Return a metric of a setting's finished runs, by seed.

    Runs without a finite value are omitted.
    """
    found = {
        run.seed: records.get(run.name, {}).get("metrics", {}).get(side.metric)
        for run in grid.runs_of(side.setting)
    }
    return {
        seed: float(value)
        for seed, value in found.items()
        if value is not None and math.isfinite(value)
    }


def measured(grid: Grid, records: Records, side: Side) -> Measured:
    """Return a metric of all runs of a setting: its values, and the seeds without one."""
    values = values_by_seed(grid, records, side)
    without = [run for run in grid.runs_of(side.setting) if run.seed not in values]
    failed = {run.seed for run in without if records.get(run.name, {}).get("failure")}
    return Measured(values, frozenset(failed), frozenset({run.seed for run in without} - failed))


def chosen(run: PlannedRun, grid: Grid, records: Records) -> PlannedRun | None:
    """Return the tuning run that decides a run's setting, by the highest validation NF-Acc.

    Failed runs cannot win; ties go to the run listed first. None while a run is not finished, or if
    all failed.
    """
    if any(name not in records for name in run.tuned_by):
        return None
    scores = {
        name: records[name]["metrics"]["nf_acc"]
        for name in run.tuned_by
        if records[name]["failure"] is None and "nf_acc" in records[name]["metrics"]
    }
    if not scores:
        return None
    best = max(scores, key=lambda name: scores[name])
    return next(one for one in grid.runs if one.name == best)
