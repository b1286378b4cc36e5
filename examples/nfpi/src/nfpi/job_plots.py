"""Draw tables as points with intervals, and distances of classes against their resemblance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from nfpi.figures import make_figure, save_figure
from nfpi.grid import Column, Grid, Row
from nfpi.grid.claims import Side
from nfpi.grid.results import values_by_seed
from nfpi.intervals import t_interval

__all__ = ["plot_neighbors", "plot_rows"]

_Records = Mapping[str, Mapping[str, Any]]

#: Inches per panel, and per line of one.
_WIDTH, _LINE = 2.3, 0.23
#: Methods whose distances are drawn.
_DRAWN = ("exact", "random", "gd")


def plot_rows(path: Path, grid: Grid, records: _Records, table: str) -> bool:
    """Plot a table, one panel per column: runs, means and intervals; False if it has no values."""
    rows, columns = grid.tables[table].rows, grid.tables[table].columns
    figure = make_figure(3.2 + _WIDTH * len(columns), 0.9 + _LINE * len(rows))
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    if _draw_rows(axes, grid, records, rows, columns):
        save_figure(figure, path)
        return True
    return False


def plot_neighbors(
    path: Path, grid: Grid, records: _Records, matrices: Path, *, table: str
) -> bool:
    """Plot a table of the grid "neighbors", under the distances of the first seed's Gaussians.

    Parameters
    ----------
    path : Path
    grid, records
        The grid and its records.
    matrices : Path
        The folder that the runs wrote their distances to.
    table : str
        One of the grid's tables.
    """
    rows, columns = grid.tables[table].rows, grid.tables[table].columns
    drawn = {
        row.label: each
        for row in rows
        if row.setting.removeprefix(f"{table}-") in _DRAWN
        and (each := matrices / f"{row.setting}-s{grid.runs_of(row.setting)[0].seed}.npz").exists()
    }
    height = 0.9 + _LINE * len(rows)
    figure = make_figure(2.2 + _WIDTH * len(columns), height + (2.9 if drawn else 0.0))
    parts: list[SubFigure] = list(
        figure.subfigures(
            2 if drawn else 1, 1, height_ratios=[2.9, height] if drawn else None, squeeze=False
        )[:, 0]
    )
    if drawn:
        axes = parts[0].subplots(1, len(drawn), sharex=True, sharey=True, squeeze=False)[0]
        for axis, (label, each) in zip(axes, drawn.items(), strict=True):
            _draw_pairs(axis, label, each)
        axes[0].set_ylabel("KLD (nats)", fontsize=8)
    axes = parts[-1].subplots(1, len(columns), sharey=True, squeeze=False)[0]
    if _draw_rows(axes, grid, records, rows, columns):
        save_figure(figure, path)
        return True
    return False


def _draw_pairs(axis: Axes, label: str, path: Path) -> None:
    """Draw every pair of classes: how far apart over how much they resemble each other."""
    with np.load(path) as file:
        kld, resemblance = file["kld"], file["resemblance"]
    pairs = np.triu_indices(len(kld), 1)
    n_pairs = len(pairs[0])
    axis.plot(
        resemblance[pairs], kld[pairs], "o", markersize=4 if n_pairs < 100 else 2,
        alpha=0.7 if n_pairs < 100 else 0.3, markeredgewidth=0,
    )  # fmt: skip
    axis.set(xscale="log", yscale="log")
    axis.set_xlabel("the referee's posterior of the other class", fontsize=8)
    axis.set_title(label, fontsize=9)
    axis.tick_params(labelsize=7, which="both")
    axis.grid(alpha=0.3)


def _draw_rows(
    axes: Sequence[Axes],
    grid: Grid,
    records: _Records,
    rows: Sequence[Row],
    columns: Sequence[Column],
) -> bool:
    """Draw a panel per column with a line per row; rows of a method have one color."""
    families = list(dict.fromkeys(_family(row) for row in rows))
    anything = False
    for axis, column in zip(axes, columns, strict=True):
        shown: list[float] = []
        for line, row in enumerate(rows):
            found = values_by_seed(grid, records, Side(row.setting, row.metric_of(column)))
            if not found:
                continue
            anything = True
            color = f"C{families.index(_family(row)) % 10}"
            values = list(found.values())
            shown += values
            axis.plot(values, [line] * len(values), ".", color=color, alpha=0.4, markersize=4)
            one = t_interval(values)
            width = one.half_width if one.n > 1 else 0.0
            axis.errorbar(one.mean, line, xerr=width, fmt="o", color=color, capsize=2, markersize=4)
        if shown:
            # a few values may have an interval that dwarfs all else
            low, high, room = min(shown), max(shown), max(max(shown) - min(shown), 1e-3)
            left, right = axis.get_xlim()
            axis.set_xlim(max(left, low - 0.5 * room), min(right, high + 0.5 * room))
        axis.locator_params(axis="x", nbins=5)
        axis.set_title(column.heading, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return anything


def _family(row: Row) -> str:
    """Return what a row has in common with those of the same color."""
    return row.label.partition(":")[0]
