"""Where labels go so that they do not hide one another."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from fpigauss.plot._style import figure_of

__all__ = ["places_of_labels"]

#: Of the font size: the width of a character and the height of a line, with a little room.
_WIDTH, _HEIGHT = 0.75, 1.25
#: How far a label may be moved, in its own widths and heights.
_MOST_RINGS = 8
_DIRECTIONS = 12


def places_of_labels(ax: Axes, points: Any, names: list[str], size: float) -> Any:
    """Place a label at or near each of the ``points`` (K, 2), away from those before it.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where they are drawn, with its limits set.
    points : (K, 2) array
        In the coordinates of the data.
    names : list of str
        The labels.
    size : float
        Of their font, in points.

    Returns
    -------
    (K, 2) array
        How far from its point the center of each label goes, in points; a label that finds no free
        place within reach stays at its point.
    """
    at = ax.transData.transform(points) * 72.0 / figure_of(ax).dpi  # in points
    boxes = size * np.array([(_WIDTH * len(name), _HEIGHT) for name in names])
    offsets = np.zeros_like(at)
    rings = _rings()
    for code, box in enumerate(boxes):
        tries = rings * box  # (M, 2), the nearest first
        clearance = (box + boxes[:code]) / 2.0
        between = at[:code] + offsets[:code] - at[code]
        near = (np.abs(between) < clearance + tries.max(axis=0)).all(axis=1)
        gaps = np.abs(tries[:, None] - between[near]) - clearance[near]  # (M, near, 2)
        free = (gaps >= 0.0).any(axis=-1).all(axis=-1)
        offsets[code] = tries[free.argmax()]  # the first of all if none is free
    return offsets


def _rings() -> Any:
    """Return offsets (M, 2) in sizes of a label: none, then those on growing circles."""
    angles = 2.0 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    radii = np.arange(1.0, _MOST_RINGS + 0.5, 0.5)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.concatenate([np.zeros((1, 2)), (radii[:, None, None] * circle).reshape(-1, 2)])
