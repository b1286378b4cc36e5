"""What the pictures have in common: axes, colors and names."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from scipy.spatial.distance import cdist

from fpigauss.errors import InvalidInputError

__all__ = [
    "COLORS",
    "axes_of",
    "colors_apart",
    "darker",
    "figure_of",
    "panels_of",
]

#: Okabe and Ito's colors for all kinds of color vision (2008), without yellow, faint on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")

#: Pairs of them that deuteranopes see alike but for their lightness.
_ALIKE = (("#009E73", "#CC79A7"), ("#E69F00", "#D55E00"))
#: The colors of neighbors settle in a few turns.
_MOST_TURNS = 20


def axes_of(
    ax: Axes | None, side: float = 5.0, *, width: float | None = None, layout: str = "constrained"
) -> Axes:
    """Return ``ax``, or new axes in a figure ``side`` inches high and, if not ``width``, wide.

    Axes of a fixed aspect need the layout "compressed": the constrained one leaves room for their
    labels beside the axes as they were before the aspect was applied.
    """
    size = (side if width is None else width, side)
    return plt.subplots(figsize=size, layout=layout)[1] if ax is None else _checked(ax)


def _checked(ax: Any) -> Axes:
    """Return ``ax`` if it is axes that pictures can be drawn in."""
    if not isinstance(ax, Axes):
        given = repr(ax) if isinstance(ax, str | int | float) else f"a {type(ax).__name__}"
        raise InvalidInputError(f"ax is {given}; pass matplotlib.axes.Axes, or leave it out")
    if ax.name != "rectilinear":
        raise InvalidInputError(
            f'ax has the projection "{ax.name}"; pass axes without one, as plt.subplots() makes'
        )
    return ax


def figure_of(ax: Axes) -> Figure:
    """Return the figure that ``ax`` is drawn in."""
    figure = ax.get_figure()
    while isinstance(figure, SubFigure):
        figure = figure.figure
    assert isinstance(figure, Figure)
    return figure


def panels_of(ax: Any, names: Sequence[str], *, apart: int = 0) -> list[Axes]:
    """Return one panel per name: those in ``ax``, or new ones above each other.

    New ones share the axis below, but for the first ones that stand ``apart``.
    """
    if ax is None:
        size = (5.5, 1.9 * len(names) + 0.5)
        _, ax = plt.subplots(len(names), figsize=size, layout="constrained")
        for panel in np.ravel(ax)[apart:-1]:
            panel.sharex(np.ravel(ax)[-1])
            panel.tick_params(labelbottom=False)
    panels = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(panels) != len(names):
        raise InvalidInputError(
            f"ax holds {len(panels)} axes; pass {len(names)}, for {', '.join(names)}"
        )
    return list(map(_checked, panels))


def colors_apart(points: Any) -> list[str]:
    """Color ``points`` (K, 2) so that those of one color are far apart.

    Each point takes the color with the least sum of inverse squared distances to others of it, and
    half of that to others of a color that some readers see alike, in turns until none changes.
    """
    points = np.asarray(points, dtype=float)
    squared = cdist(points, points, "sqeuclidean")
    closeness = 1.0 / np.maximum(squared, 1e-12 * squared.max() or 1.0)
    np.fill_diagonal(closeness, 0.0)
    similarity = _similarity()
    chosen = np.zeros((len(points), len(COLORS)))  # a one per row, once it is colored
    crowded = np.argsort(-closeness.max(axis=1, initial=0.0), kind="stable")
    for _ in range(_MOST_TURNS):
        before = chosen.copy()
        for code in crowded:
            best = np.argmin(closeness[code] @ chosen @ similarity)
            chosen[code] = np.arange(len(COLORS)) == best
        if (chosen == before).all():
            break
    return [COLORS[color] for color in chosen.argmax(axis=1)]


def _similarity() -> Any:
    """Return how alike colors are (C, C)."""
    similarity = np.eye(len(COLORS))
    for one, other in _ALIKE:
        pair = COLORS.index(one), COLORS.index(other)
        similarity[pair] = similarity[pair[::-1]] = 0.5
    return similarity


def darker(color: str) -> tuple[float, ...]:
    """Return a color as dark as small text needs it."""
    return tuple(0.7 * part for part in to_rgb(color))
