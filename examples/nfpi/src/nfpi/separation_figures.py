"""Plot how accuracy rises with the separation, in nats and in nats per dimension."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from nfpi.figures import make_figure, mean_point, save_figure
from nfpi.grid import Grid

__all__ = ["plot_separations"]

_MARKERS = "o^sDvP"


def plot_separations(
    path: Path, grid: Grid, records: Mapping[str, Mapping[str, Any]], table: str
) -> bool:
    """Plot the accuracies of methods at several image sizes against the nats between classes.

    A row's label is "14x14: METHOD, lam = ..."; a curve joins the strengths of a method at one
    size. Settings with missing runs are omitted.

    Parameters
    ----------
    path : Path
        Where to write the picture.
    grid : Grid
    records : mapping of str to record
        By the name of the run.
    table : str
        The name of the table.

    Returns
    -------
    bool
        False, and no picture, if no curve can be drawn.
    """
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in grid.tables[table].rows:
        size, _, rest = row.label.partition(": ")
        points = curves.setdefault((size, rest.rpartition(", ")[0]), [])
        point = mean_point(grid, records, row.setting, "smallest_kld", "nf_acc")
        if point is not None:
            points.append(point)
    if all(len(points) < 2 for points in curves.values()):
        return False
    # sizes and methods look the same whichever runs are missing
    sizes, methods = (list(dict.fromkeys(names)) for names in zip(*curves, strict=True))
    drawn = {names: points for names, points in curves.items() if points}
    colors = matplotlib.colormaps["tab10"]
    figure = make_figure(8.4, 4.2)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, per_dim in zip(axes, (False, True), strict=True):
        for (size, method), points in drawn.items():
            dim = math.prod(map(int, size.split("x"))) if per_dim else 1
            at = np.reshape(sorted(points), (-1, 2))
            axis.plot(
                at[:, 0] / dim, at[:, 1], marker=_MARKERS[methods.index(method)],
                linestyle="-" if method == methods[0] else ":",
                color=colors(sizes.index(size)), label=f"{size}: {method}",
            )  # fmt: skip
        unit = "nats per dimension" if per_dim else "nats"
        axis.set(xscale="log", xlabel=f"smallest KLD ({unit})")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("NF-Acc")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", frameon=False, fontsize=8, ncols=len(sizes)
    )
    save_figure(figure, path)
    return True
