"""Draw accuracies over the number of classes so far, and over the rows per class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from nfpi.figures import make_figure, save_figure
from nfpi.grid import Grid, Row
from nfpi.grid.claims import Side
from nfpi.grid.results import values_by_seed
from nfpi.job_plots import plot_rows

__all__ = ["plot_arrivals", "plot_counts", "plot_few"]

_Records = Mapping[str, Mapping[str, Any]]

#: Titles of the panels, and how the labels of their rows begin.
_PANELS = {
    "learned in a frozen flow": ("frozen flow:",),
    "the flow trained further": ("flow trained further:", "all images at once: flow"),
    "other latents, features and pixels": (
        "frozen flow with",
        "frozen CNN:",
        "pixels:",
        "all images at once: CNN",
    ),
}


def plot_arrivals(path: Path, grid: Grid, records: _Records, table: str) -> bool:
    """Plot a table of the grid "later": accuracy over classes so far; False if there is none.

    What has all images at once is a point at the end.
    """
    rows = grid.tables[table].rows
    settings = {row.setting for row in rows}
    own = [record for record in records.values() if record["setting"] in settings]
    counts = _class_counts(rows, own)
    figure = make_figure(12.6, 5.0)
    axes = figure.subplots(1, len(_PANELS), sharey=True)
    drawn = [
        _draw_rows(axis, grid, records, [row for row in rows if row.label.startswith(starts)],
                   counts)
        for axis, starts in zip(axes, _PANELS.values(), strict=True)
    ]  # fmt: skip
    if not any(drawn):
        return False
    # what forgets the first classes would leave no room for the others
    high = max(value for each in drawn for value in each)
    low = min(value for each in drawn for value in each if value >= 0.75 * high)
    for axis, title in zip(axes, _PANELS, strict=True):
        axis.set(title=title, xlabel="classes so far", ylim=(low - 0.02, high + 0.01))
        axis.set_xticks(counts)
        _finish(axis)
    axes[0].set_ylabel("accuracy on all classes so far")
    save_figure(figure, path)
    return True


def plot_few(path: Path, grid: Grid, records: _Records, table: str) -> bool:
    """Plot a table of the grid "few": few rows as curves, uneven ones as points."""
    plot = plot_rows if table.startswith("uneven") else plot_counts
    return plot(path, grid, records, table)


def plot_counts(path: Path, grid: Grid, records: _Records, table: str) -> bool:
    """Plot accuracy over the rows per class, one curve per row; return False if there is none."""
    rows = grid.tables[table].rows
    counts = [int(column.metric.rpartition("_")[2]) for column in grid.tables[table].columns]
    figure = make_figure(7.4, 6.4)
    axis = figure.subplots()
    if not _draw_rows(axis, grid, records, rows, counts):
        return False
    axis.set(xscale="log", xlabel="rows per class", ylabel="accuracy")
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.set_xticks([], minor=True)
    _finish(axis)
    save_figure(figure, path)
    return True


def _draw_rows(
    axis: Axes, grid: Grid, records: _Records, rows: Sequence[Row], counts: Sequence[int]
) -> list[float]:
    """Draw a curve of means per row, with a dash per seed, and return the values."""
    shown: list[float] = []
    for i, row in enumerate(rows):
        found = {
            count: list(values.values())
            for count in counts
            if (values := values_by_seed(grid, records, Side(row.setting, _metric(row, count))))
        }
        if not found:
            continue
        color, alone = f"C{i % 10}", len(found) == 1
        axis.plot(
            list(found), [float(np.mean(values)) for values in found.values()],
            marker="*" if alone else ".", markersize=12 if alone else 6, color=color,
            linestyle="-" if i < 10 else "--", linewidth=1.2, label=row.label,
        )  # fmt: skip
        for count, of_seeds in found.items():
            axis.plot([count] * len(of_seeds), of_seeds, "_", color=color, alpha=0.6, markersize=6)
            shown += of_seeds
    return shown


def _metric(row: Row, count: int) -> str:
    """Return the metric of a row at a number of classes, or of rows per class."""
    return f"{row.metric}_acc_{count}"


def _class_counts(rows: Sequence[Row], records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the numbers of classes at which rows were judged."""
    metrics = {name for record in records for name in record["metrics"]}
    starts = tuple(f"{row.metric}_acc_" for row in rows)
    ends = {name.rpartition("_")[2] for name in metrics if name.startswith(starts)}
    return sorted(int(end) for end in ends if end.isdigit())


def _finish(axis: Axes) -> None:
    """Add a grid, and the legend under the panel."""
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=8)
    if axis.get_legend_handles_labels()[0]:  # none where every run has failed
        axis.legend(
            fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=1
        )
