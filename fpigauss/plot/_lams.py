"""The axis of lam: logarithmic, with a place for 0."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

__all__ = ["mark_lams", "positions_of"]

#: How far lam = 0 is to the left of the smallest other one: a part of the axis, and at least.
_GAP, _SMALLEST_GAP = 0.12, 0.15
#: Decades from which on only powers of ten are marked.
_MANY = 3


def positions_of(lam: Any) -> Any:
    """Place each lam on a logarithmic axis: 0 is to the left of the others."""
    positive = lam[lam > 0.0]
    if not len(positive):
        return np.ones(len(lam))
    low, high = math.log10(positive.min()), math.log10(positive.max())
    zero = 10.0 ** (low - max(_SMALLEST_GAP, _GAP * (high - low)))
    return np.where(lam > 0.0, lam, zero)


def mark_lams(panel: Axes, lam: Any, positions: Any) -> None:
    """Mark the axis where there are fits: powers of ten or so, 0, and the break before it."""
    panel.set_xscale("log")
    ticks = dict(_ticks(lam[lam > 0.0]))
    if (lam == 0.0).any():
        ticks[float(positions[lam == 0.0][0])] = "0"
    panel.set_xticks(list(ticks), list(ticks.values()))
    panel.xaxis.set_minor_locator(NullLocator())
    if (lam == 0.0).any() and (lam > 0.0).any():
        middle = math.sqrt(positions[lam == 0.0][0] * lam[lam > 0.0].min())
        panel.plot(
            [middle],
            [0.0],
            transform=panel.get_xaxis_transform(),
            clip_on=False,
            color="k",
            marker=[(-0.6, -1.0), (0.6, 1.0)],
            markersize=8,
            linestyle="none",
            scalex=False,
        )


def _ticks(lam: Any) -> Iterator[tuple[float, str]]:
    """Choose values to mark, and how they are written."""
    if not len(lam):
        return
    low, high = (float(end) for end in (lam.min(), lam.max()))
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    many = len(exponents) > _MANY + 1
    within = [
        (factor * 10.0**exponent, factor, exponent)
        for exponent in exponents
        for factor in ((1,) if many else (1, 2, 5))
        if 0.999 * low <= factor * 10.0**exponent <= 1.001 * high
    ]
    if not within:
        yield low, f"{low:.3g}"
    for value, _, exponent in within:
        yield value, f"$10^{{{exponent}}}$" if many else f"{value:g}"
