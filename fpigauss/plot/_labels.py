"""Where labels go so that they do not hide one another, and how long ones are written."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from fpigauss._array.typing import Labels
from fpigauss.plot._style import figure_of

__all__ = ["every_nth", "names_of", "places_of_labels"]

#: Characters of a name: of longer ones, the beginning and the end are written.
_MOST_CHARACTERS = 16
_END = 7
#: Room around a label, in points.
_ROOM = 2.0
#: How far a label may be moved, in its own widths and heights.
_MOST_RINGS = 8
_DIRECTIONS = 16


def names_of(classes: Labels) -> list[str]:
    """Return labels as they are written: on one line, in at most 16 characters."""
    return [_shortened(" ".join(str(label).split())) for label in classes]


def _shortened(name: str) -> str:
    if len(name) <= _MOST_CHARACTERS:
        return name
    return f"{name[: _MOST_CHARACTERS - 1 - _END]}…{name[-_END:]}"


def every_nth(room: float, size: float) -> int:
    """Return the n of which every n-th label of ``size`` has room, where one has ``room``."""
    return max(1, math.ceil(1.2 * size / room))


def places_of_labels(
    ax: Axes, points: Any, names: list[str], taken: Any = (), **font: Any
) -> list[Any]:
    """Place a label at or near each of the ``points`` (K, 2), away from those before it.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where they are drawn, with its limits set; labels stay within it.
    points : (K, 2) array
        In the coordinates of the data.
    names : list of str
        The labels.
    taken : sequence of matplotlib.transforms.Bbox
        What labels keep away from, in pixels.
    **font
        Properties of the text.

    Returns
    -------
    list of (2,) arrays or None
        How far from its point the center of each label goes, in points; None for a label that
        finds no free place within reach.
    """
    scale = 72.0 / figure_of(ax).dpi  # points per pixel
    at = ax.transData.transform(points) * scale
    low, high = np.asarray(ax.get_window_extent().get_points()) * scale
    boxes = _sizes(ax, names, **font) * scale + _ROOM
    centers = [np.mean(box.get_points(), axis=0) * scale for box in taken]
    extents = [np.ptp(box.get_points(), axis=0) * scale for box in taken]
    rings = _rings()
    places: list[Any] = []
    for point, box in zip(at, boxes, strict=True):
        tries = point + rings * box  # (M, 2), the nearest first
        free = ((tries - box / 2.0 >= low) & (tries + box / 2.0 <= high)).all(axis=-1)
        if centers:
            gaps = np.abs(tries[:, None] - np.stack(centers)) - (box + np.stack(extents)) / 2.0
            free &= (gaps >= 0.0).any(axis=-1).all(axis=-1)
        if not free.any():
            places.append(None)
            continue
        center = tries[free.argmax()]
        centers.append(center)
        extents.append(box)
        places.append(center - point)
    return places


def _sizes(ax: Axes, names: list[str], **font: Any) -> Any:
    """Measure labels (K, 2), in pixels."""
    probe = ax.text(0.0, 0.0, "", **font)
    sizes = []
    for name in names:
        probe.set_text(name)
        box = probe.get_window_extent()
        sizes.append((box.width, box.height))
    probe.remove()
    return np.asarray(sizes)


def _rings() -> Any:
    """Return offsets (M, 2) in sizes of a label: none, then those on growing circles."""
    angles = 2.0 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    radii = np.arange(0.5, _MOST_RINGS + 0.25, 0.5)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.concatenate([np.zeros((1, 2)), (radii[:, None, None] * circle).reshape(-1, 2)])
