"""Draw what the experiments with gradients through the fit have measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fpigauss import ClassGaussians, fit_fixed_point
from matplotlib.axes import Axes

from nfpi.figures import draw_ellipses, make_figure, save_figure
from nfpi.grid import Grid
from nfpi.grid.claims import Side
from nfpi.grid.results import values_by_seed
from nfpi.influence import Influence, closest_pair
from nfpi.latent_problems import Latents
from nfpi.learned_lam import Comparison

__all__ = ["plot_influence", "plot_lam", "plot_methods"]

#: Points of the embedding, digits per direction, and pixels between them.
_SHOWN, _IMAGES, _GAP = 4_000, 16, 4


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
        axes[1].set(xlabel="seconds of a processor", xlim=(0.0, None))
        for axis in axes:
            axis.grid(alpha=0.3)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", frameon=False, fontsize=8, ncols=2
        )
        save_figure(figure, path)
    return drawn


def plot_lam(path: Path, found: Mapping[tuple[str, str], Comparison]) -> None:
    """Plot the log-loss of held-out rows over lam: the grid's curve, and the fits of learning.

    Parameters
    ----------
    path : Path
    found : mapping
        By latents and family.
    """
    names, families = (list(dict.fromkeys(key[i] for key in found)) for i in (0, 1))
    figure = make_figure(3.6 * len(families), 2.7 * len(names))
    axes = figure.subplots(len(names), len(families), squeeze=False)
    for (name, family), one in found.items():
        axis = axes[names.index(name), families.index(family)]
        lams, losses = np.array(one.grid_lam), np.array(one.grid_log_loss)
        unit = lams[lams > 0.0].min()
        axis.plot(lams, losses, ".-", color="C0", label=f"grid, {len(lams)} fits")
        axis.plot(
            [trial.lam for trial in one.trials], [trial.log_loss for trial in one.trials], "o",
            color="C1", markerfacecolor="none", label=f"learning, {len(one.trials)} fits",
        )  # fmt: skip
        axis.plot(one.learned.lam, one.learned.log_loss, "*", color="C3", markersize=13)
        low, high = np.nanmin(losses), losses[0]
        room = max(high - low, 0.01)
        axis.set_ylim(low - 0.2 * room, low + 3.0 * room)  # far beyond, losses are large
        axis.set_xscale("symlog", linthresh=unit)
        axis.set_xlim(-0.3 * unit, lams[-1])
        axis.set_title(f"{name}, {family}", fontsize=9)
        axis.tick_params(labelsize=7)
        axis.legend(frameon=False, fontsize=7)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("lam")
    for axis in axes[:, 0]:
        axis.set_ylabel("log-loss (nats)")
    save_figure(figure, path)


def plot_influence(
    path: Path,
    problems: Mapping[str, Latents],
    found: Mapping[tuple[str, str], Mapping[str, Influence]],
    fits: Mapping[str, Mapping[str, Any]],
) -> None:
    """Draw influence on the smallest KLD: in the embedding, against deletion, and as digits.

    Parameters
    ----------
    path : Path
    problems : mapping
        Latents by name, "digits" and "embedding" among them.
    found : mapping
        Influences by quantity, by latents and family.
    fits : mapping
        Options of the fits by family, of which the first is drawn.
    """
    family = next(iter(fits))
    figure = make_figure(11.0, 8.6)
    axes = figure.subplot_mosaic(
        [["map", "digits"], ["found_embedding", "found_digits"]], height_ratios=(1.2, 1.0)
    )
    for name, latents in problems.items():
        one = found[name, family]["smallest_kld"]
        gaussians = fit_fixed_point(latents.z, latents.y, **fits[family]).gaussians
        pair = closest_pair(gaussians)
        if name == "embedding":
            _draw_map(axes["map"], latents, one.predicted, gaussians, pair)
        else:
            _draw_digits(axes["digits"], latents, one.predicted, gaussians, pair)
        axis = axes[f"found_{name}"]
        x = one.predicted[one.rows]
        own = np.isin(latents.y[one.rows], gaussians.classes[list(pair)])
        for mask, label in ((own, "rows of the two classes"), (~own, "rows of others")):
            axis.plot(x[mask], one.found[mask], "o", label=label, markersize=5, alpha=0.7)
        ends = np.array([x.min(), x.max()])
        axis.plot(ends, ends, "k-", linewidth=0.8)
        axis.set(
            xlabel="predicted change of the smallest KLD (nats)", ylabel="found by deletion",
            title=f"{name}: rank correlation {one.rank_correlation:.4f}",
        )  # fmt: skip
        axis.locator_params(axis="x", nbins=5)
        axis.legend(frameon=False, fontsize=8)
        axis.grid(alpha=0.3)
    save_figure(figure, path)


def _draw_map(
    axis: Axes,
    latents: Latents,
    predicted: np.ndarray,
    gaussians: ClassGaussians,
    pair: tuple[int, int],
) -> None:
    """Draw points in the colors of their influence, under the Gaussians."""
    rows = np.random.default_rng(0).permutation(len(latents.z))[:_SHOWN]
    limit = float(np.quantile(np.abs(predicted), 0.99))
    points = axis.scatter(
        latents.z[rows, 0], latents.z[rows, 1], c=predicted[rows], s=4, cmap="coolwarm",
        vmin=-limit, vmax=limit, linewidths=0,
    )  # fmt: skip
    axis.figure.colorbar(points, ax=axis, shrink=0.7, label="change by deletion (nats)")
    draw_ellipses(axis, gaussians, np.array(["0.7"] * len(gaussians.means)), linewidth=0.8)
    closest = np.array(["none"] * len(gaussians.means), dtype=object)
    closest[list(pair)] = "black"
    draw_ellipses(axis, gaussians, closest)
    axis.set(title="embedding: which rows keep the closest two apart", aspect="equal")


def _draw_digits(
    axis: Axes,
    latents: Latents,
    predicted: np.ndarray,
    gaussians: ClassGaussians,
    pair: tuple[int, int],
) -> None:
    """Draw the images whose deletion changes the smallest KLD most, either way."""
    assert latents.images is not None
    order = np.argsort(predicted)
    strips = []
    for rows in (order[::-1][:_IMAGES], order[:_IMAGES]):  # two lines each
        tiles = np.pad(latents.images[rows], [(0, 0), (1, 1), (1, 1)])
        strips += [np.concatenate(list(half), axis=1) for half in np.split(tiles, 2)]
        strips.append(np.zeros((_GAP, strips[-1].shape[1])))
    axis.imshow(np.concatenate(strips[:-1]), cmap="gray_r")
    height = 2 * (latents.images.shape[1] + 2)
    axis.set_yticks([height / 2, height * 1.5 + _GAP], ["draw\ntogether", "keep\napart"])
    axis.set_xticks([])
    for side in axis.spines.values():
        side.set_visible(False)
    first, second = gaussians.classes[list(pair)]
    axis.set_title(f"digits: rows of most influence on {first} and {second},\nthe closest two")
