"""Draw what the experiments with gradients through the fit have measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nfpi.figures import make_figure, save_figure
from nfpi.grid import Grid
from nfpi.grid.claims import Side
from nfpi.grid.results import values_by_seed

__all__ = ["plot_methods"]


def plot_methods(
    path: Path, grid: Grid, records: Mapping[str, Mapping[str, Any]], table: str
) -> bool:
    """Plot accuracy against likelihood, and against time, one point per run; False if none.

    A method that was trained for other epochs too keeps its color, and its points are hollow.
    """
    figure = make_figure(10.0, 4.8)
    axes = figure.subplots(1, 2, sharey=True)
    colors: dict[str, str] = {}
    drawn = False
    for row in grid.tables[table].rows:
        found = [
            values_by_seed(grid, records, Side(row.setting, metric))
            for metric in ("nll", "processor_seconds", "nf_acc")
        ]
        seeds = sorted(set.intersection(*map(set, found)))
        if not seeds:
            continue
        nll, seconds, accuracy = ([of[seed] for seed in seeds] for of in found)
        name = row.setting.removesuffix("-as-long")
        color = colors.setdefault(name, f"C{len(colors)}")
        hollow = row.setting != name
        for axis, x in zip(axes, (nll, seconds), strict=True):
            axis.scatter(
                x, accuracy, s=34, label=row.label, edgecolors=color, linewidths=1.4,
                facecolors="none" if hollow else color,
            )  # fmt: skip
            axis.plot(np.mean(x), np.mean(accuracy), "_", color=color, markersize=22)
        drawn = True
    if drawn:
        axes[0].set(xlabel="NLL (nats)", ylabel="NF-Acc")
        axes[1].set(xlabel="seconds of a processor", xscale="log")
        for axis in axes:
            axis.grid(alpha=0.3)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", frameon=False, fontsize=8, ncols=2
        )
        save_figure(figure, path)
    return drawn
