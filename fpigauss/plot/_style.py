"""What the pictures have in common: axes, colors and names."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from scipy.spatial import KDTree

from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians

__all__ = [
    "COLORS",
    "axes_of",
    "colors_apart",
    "figure_of",
    "gaussians_of",
    "label_size",
    "panels_of",
]

#: Okabe and Ito's colors for all kinds of color vision (2008), without their black and yellow.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def axes_of(ax: Axes | None, side: float = 5.0) -> Axes:
    """Return ``ax``, or new axes ``side`` inches wide and high."""
    return plt.subplots(figsize=(side, side), layout="constrained")[1] if ax is None else ax


def figure_of(ax: Axes) -> Figure:
    """Return the figure that ``ax`` is drawn in."""
    figure = ax.get_figure()
    while isinstance(figure, SubFigure):
        figure = figure.figure
    assert isinstance(figure, Figure)
    return figure


def panels_of(ax: Any, names: Sequence[str]) -> list[Axes]:
    """Return one panel per name: those in ``ax``, or new ones above each other."""
    if ax is None:
        size = (5.5, 1.9 * len(names) + 0.5)
        _, ax = plt.subplots(len(names), sharex=True, figsize=size, layout="constrained")
    panels = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(panels) != len(names):
        raise InvalidInputError(
            f"ax holds {len(panels)} axes; pass {len(names)}, for {', '.join(names)}"
        )
    return panels


def gaussians_of(estimator: Any) -> ClassGaussians:
    """Return the Gaussians of an estimator, a result, or what is made of Gaussians itself."""
    for name in ("gaussians_", "gaussians"):
        found = getattr(estimator, name, None)
        if isinstance(found, ClassGaussians):
            return found
    if isinstance(estimator, ClassGaussians):
        return estimator
    raise InvalidInputError(
        f"estimator is a {type(estimator).__name__}, without gaussians_; "
        "pass a fitted FixedPointGaussianClassifier, or Gaussians to from_gaussians"
    )


def colors_apart(points: Any) -> list[str]:
    """Give each of the ``points`` (K, 2) a color that its nearest neighbors do not have."""
    points = np.asarray(points, dtype=float)
    n_near = min(len(points), len(COLORS))
    near = KDTree(points).query(points, k=n_near)[1].reshape(len(points), n_near)
    chosen = np.full(len(points), -1)
    for code, neighbors in enumerate(near):
        taken = set(chosen[neighbors]) | {chosen[k] for k, row in enumerate(near) if code in row}
        free = [color for color in range(len(COLORS)) if color not in taken]
        chosen[code] = free[0] if free else code % len(COLORS)
    return [COLORS[color] for color in chosen]


def label_size(n_labels: int, inches: float) -> float:
    """Return a font size at which ``n_labels`` fit side by side, between 4 and 10 points."""
    return float(np.clip(0.8 * 72.0 * inches / max(n_labels, 1), 4.0, 10.0))
