"""Where labels go so that they do not hide one another."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from fpigauss.plot._style import figure_of

__all__ = ["places_of_labels"]

#: Of the font size: the width of a character and the height of a line, with a little room.
_WIDTH, _HEIGHT = 0.75, 1.25
#: How far a label may be moved, in heights of a line.
_MOST_RINGS = 12
_DIRECTIONS = 16


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
    taken: list[int] = []
    for code, box in enumerate(boxes):
        placed = at[taken] + offsets[taken]
        for offset in _rings(box):
            gaps = np.abs(at[code] + offset - placed) - (box + boxes[taken]) / 2.0
            if (gaps >= 0.0).any(axis=1).all():
                offsets[code] = offset
                break
        taken.append(code)
    return offsets


def _rings(box: Any) -> Iterator[Any]:
    """Yield offsets: none, then those on growing ellipses in the shape of ``box``."""
    yield np.zeros(2)
    angles = 2.0 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    for ring in range(2, 2 * _MOST_RINGS + 1):
        for angle in angles:
            yield ring / 2.0 * box * np.array([np.cos(angle), np.sin(angle)])
