"""Draw the paper's two figures, and plots of the tables."""

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from einops import rearrange
from fpigauss import (
    ClassGaussians,
    InvalidInputError,
    NotPositiveDefiniteError,
    fit_fixed_point,
    pairwise_kld,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from nfpi.checkpoints import write_atomically
from nfpi.grid import Grid
from nfpi.grid.claims import Side
from nfpi.grid.results import values_by_seed
from nfpi.grid.settings import ALPHA
from nfpi.intervals import t_interval

__all__ = [
    "draw_ellipses",
    "figure1",
    "figure2",
    "load_embedding",
    "make_figure",
    "mean_point",
    "plot_curves",
    "plot_levels",
    "plot_trade_off",
    "save_figure",
]

#: Points per panel of Fig. 1.
SHOWN = 2_000
#: lam in the panels of Fig. 1.
LAMS = (30.0, 300.0, 1_000.0)
#: Half axes of an ellipse in standard deviations: 86 % of a Gaussian in the plane.
DEVIATIONS = 2.0


def load_embedding(path: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Load points in the plane and their classes.

    Parameters
    ----------
    path : Path or None
        An npz file of numbers z (N, 2) and labels y (N,); None for t-SNE of scikit-learn's digits.

    Raises
    ------
    InvalidInputError
        If the file does not contain them.
    """
    if path is None:
        from sklearn.datasets import load_digits
        from sklearn.manifold import TSNE

        x, y = load_digits(return_X_y=True)
        return TSNE(init="pca", random_state=0).fit_transform(x).astype(float), y
    try:
        with np.load(path) as file:
            z, y = file["z"].astype(float), file["y"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInputError(
            f"embedding {path}: an npz file with z (N, 2) and y (N,) is needed; {error}"
        ) from error
    if z.ndim != 2 or z.shape[1] != 2 or y.shape != z.shape[:1] or not np.isfinite(z).all():
        raise InvalidInputError(
            f"embedding {path}: z has shape {z.shape}, y {y.shape}; finite (N, 2) and (N,) needed"
        )
    return z, y


def figure1(path: Path, z: np.ndarray, y: np.ndarray) -> None:
    """Draw Fig. 1: an embedding, samples of its class Gaussians, and of repelled ones."""
    data = fit_fixed_point(z, y, 0.0).gaussians
    panels: list[list[tuple[str, ClassGaussians | None]]] = [
        [("the embedding", None)],
        [("class Gaussians of the data", data)],
    ]
    readings: tuple[tuple[str, dict[str, Any]], ...] = (
        ("released", {"equations": "released", "alpha": ALPHA, "tol": 0.1}),
        ("exact, tied diagonal", {"tied": True, "alpha": ALPHA}),
    )
    for row, (name, options) in zip(panels, readings, strict=True):
        for lam in LAMS:
            try:
                fit = fit_fixed_point(z, y, lam, **options)
            except NotPositiveDefiniteError:
                row.append((f"{name}, lam = {lam:g}: breaks off", None))
                continue
            kld = pairwise_kld(fit.gaussians)
            nearest = kld[~np.eye(len(kld), dtype=bool)].min()
            title = f"{name}, lam = {lam:g}\n{fit.status}, smallest KLD {nearest:.3g}"
            row.append((title, fit.gaussians))
    figure = make_figure(4 * 3.6, 2 * 3.7)
    axes = figure.subplots(2, 4, sharex="row", sharey="row")
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(z))[:SHOWN]
    classes, codes = np.unique(y, return_inverse=True)
    colors = _colors(len(classes))
    for axis, (title, gaussians) in zip(axes.flat, panels[0] + panels[1], strict=True):
        broken = gaussians is None and title != "the embedding"
        if not broken:
            points = z[rows] if gaussians is None else gaussians.sample(y[rows], seed=0)
            axis.scatter(*points.T, c=colors[codes[rows]], s=3, alpha=0.4, linewidths=0)
        if gaussians is not None:
            draw_ellipses(axis, gaussians, colors)
        axis.set(title=title, aspect="equal", adjustable="box")
        axis.tick_params(labelsize=7)
        axis.title.set_fontsize(10)
    save_figure(figure, path)


def figure2(path: Path, pictures: Path) -> None:
    """Draw Fig. 2: images next to their augmented variants, two images per class.

    Parameters
    ----------
    path : Path
        Where to write the picture.
    pictures : Path
        The file written by the run: images (K * 2, 1 + variants, C, H, W) and labels.
    """
    with np.load(pictures) as file:
        images, labels = file["images"], file["labels"]
    n_images, n_columns, channels, height, width = images.shape
    tiles = np.pad(images, [(0, 0)] * 3 + [(1, 1)] * 2, constant_values=255)
    strips = rearrange(tiles, "n m c h w -> n h (m w) c")
    half = n_images // len(np.unique(labels))
    gap = np.full((height + 2, (width + 2) // 2, channels), 255, dtype=np.uint8)
    lines = [
        np.concatenate([part for strip in strips[start : start + half] for part in (strip, gap)], 1)
        for start in range(0, n_images, half)
    ]
    canvas = np.concatenate(lines)
    figure = make_figure(5.2, 5.2 * canvas.shape[0] / canvas.shape[1] + 0.7)
    axis = figure.subplots()
    axis.imshow(canvas.squeeze(), cmap="gray", vmin=0, vmax=255)
    step = n_columns * (width + 2) + gap.shape[1]
    marks = [(i * step + (width + 2) / 2, "image") for i in range(half)]
    marks += [
        (i * step + (width + 2) * (1 + n_columns) / 2, f"{n_columns - 1} variants")
        for i in range(half)
    ]
    axis.set_xticks([at for at, _ in marks], [text for _, text in marks])
    axis.set_yticks(
        [(k + 0.5) * (height + 2) for k in range(len(lines))], [str(y) for y in labels[::half]]
    )
    axis.tick_params(length=0)
    axis.xaxis.tick_top()
    for side in axis.spines.values():
        side.set_visible(False)
    save_figure(figure, path)


def plot_levels(path: Path, grid: Grid, records: Mapping[str, Mapping[str, Any]]) -> bool:
    """Plot the accuracies of Table 2 against lam; return False if there are none."""
    metrics = [c for c in grid.tables["table2"].columns if "acc" in c.metric]
    curves: dict[str, list[tuple[float, str]]] = {}
    for row in grid.tables["table2"].rows:
        name, lam = row.label.split(", lam = ")
        curves.setdefault(name, []).append((float(lam), row.setting))
    figure = make_figure(4.2 * len(metrics), 3.4)
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    drawn = False
    for axis, column in zip(axes, metrics, strict=True):
        for name, levels in curves.items():
            found = [
                (lam, t_interval(list(values.values())))
                for lam, setting in levels
                if (values := values_by_seed(grid, records, Side(setting, column.metric)))
            ]
            if found:
                drawn = True
                lams, intervals = zip(*found, strict=True)
                errors = [one.half_width if one.n > 1 else math.nan for one in intervals]
                means = [one.mean for one in intervals]
                (line, *_) = axis.errorbar(lams, means, errors, marker="o", capsize=3, label=name)
                partly = [
                    (lam, one.mean)
                    for lam, one in found
                    if one.n < len(grid.runs_of(dict(levels)[lam]))
                ]
                if partly:  # runs are missing or failed: the others flatter
                    axis.plot(
                        *zip(*partly, strict=True), "o", color="white",
                        markeredgecolor=line.get_color(), zorder=3,
                    )  # fmt: skip
        axis.set(xscale="log", xlabel="lam", title=column.heading)
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.3)
    if drawn:
        axes[0].set_ylabel("accuracy")
        axes[0].legend(frameon=False)
        save_figure(figure, path)
    return drawn


def plot_trade_off(path: Path, grid: Grid, records: Mapping[str, Mapping[str, Any]]) -> bool:
    """Plot NF-Acc against NLL of the families without missing runs; False if there are none."""
    figure = make_figure(6.4, 4.4)
    axis = figure.subplots()
    points: dict[str, list[tuple[float, float]]] = {}
    rows = [*grid.tables["families"].rows, *grid.tables["table1"].rows]
    for row in rows:
        point = mean_point(grid, records, row.setting, "nll", "nf_acc")
        if ":" not in row.label and point is not None:
            name = re.sub(r", lam = [^,]+", "", row.label)
            points.setdefault(name, []).append(point)
    markers, colors = "os^vDP*X<>hp", matplotlib.colormaps["tab20"]
    best = min((nll for found in points.values() for nll, _ in found), default=0.0)
    for i, (name, found) in enumerate(points.items()):
        likelihoods, accuracies = zip(*found, strict=True)
        axis.scatter(
            1.0 + np.array(likelihoods) - best, accuracies, s=36, color=colors(i % 20),
            marker=markers[i % len(markers)], label=name,
        )  # fmt: skip
    if points:
        axis.set(
            xscale="log", xlabel=f"NLL above the best one's ({best:.1f} nats), plus 1",
            ylabel="NF-Acc",
        )  # fmt: skip
        axis.grid(alpha=0.3)
        figure.legend(loc="outside right center", frameon=False, fontsize=8)
        save_figure(figure, path)
    return bool(points)


def plot_curves(
    path: Path, grid: Grid, records: Mapping[str, Mapping[str, Any]], table: str
) -> bool:
    """Plot the accuracies of a table's methods against NLL; return False if none can be drawn.

    A method's curve joins its strengths, the last part of a row's label. Settings with missing runs
    are omitted.
    """
    metrics = [c for c in grid.tables[table].columns if c.metric in ("nf_acc", "cnn_acc_1")]
    curves: dict[str, list[str]] = {}
    for row in grid.tables[table].rows:
        name, _, strength = row.label.rpartition(", ")
        if strength.startswith(("lam", "spread")) and ":" not in name:
            curves.setdefault(name, []).append(row.setting)
        elif strength != "tuned" and ":" not in name:
            curves[row.label] = [row.setting]
    figure = make_figure(max(4.2 * len(metrics), 6.4), 4.0)
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    drawn = False
    for axis, column in zip(axes, metrics, strict=True):
        for name, settings in curves.items():
            at = (mean_point(grid, records, each, "nll", column.metric) for each in settings)
            points = [point for point in at if point is not None]
            style = "o-" if len(settings) > 1 else "x"
            axis.plot(*zip(*points, strict=True) if points else ((), ()), style, label=name)
            drawn |= len(points) > 1
        axis.set(xlabel="NLL (nats)", title=column.heading)
        axis.grid(alpha=0.3)
    if drawn:
        axes[0].set_ylabel("accuracy")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            frameon=False,
            fontsize=8,
            ncols=len(metrics),
        )
        save_figure(figure, path)
    return drawn


def mean_point(
    grid: Grid, records: Mapping[str, Mapping[str, Any]], setting: str, x: str, y: str
) -> tuple[float, float] | None:
    """Return the means over seeds of two metrics of a setting; None if a run lacks one of them."""
    seeds = {run.seed for run in grid.runs_of(setting)}
    values = [values_by_seed(grid, records, Side(setting, metric)) for metric in (x, y)]
    if any(seeds != found.keys() for found in values):
        return None
    across, up = (float(np.mean([*found.values()])) for found in values)
    return across, up


def make_figure(width: float, height: float) -> Figure:
    """Make a figure that needs no display and no global state."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file, in a folder that is made if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda at: figure.savefig(at, dpi=120, metadata={"Software": None}))


def _colors(n: int) -> np.ndarray:
    palette = matplotlib.colormaps["tab10" if n <= 10 else "gist_ncar"]
    return palette(np.arange(n) if n <= 10 else np.linspace(0.02, 0.95, n))


def draw_ellipses(
    axis: Axes, gaussians: ClassGaussians, colors: np.ndarray, linewidth: float = 1.5
) -> None:
    """Draw axis-parallel ellipses: the covariances are diagonal, (K, 2) or (2,)."""
    means = np.asarray(gaussians.means)
    widths = 2 * DEVIATIONS * np.sqrt(np.broadcast_to(gaussians.covariances, means.shape))
    for mean, (width, height), color in zip(means, widths, colors, strict=True):
        axis.add_patch(
            Ellipse(mean, width, height, fill=False, edgecolor=color, linewidth=linewidth)
        )
