"""What fits along a path of lam cost, and what they give."""

from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fpigauss.errors import InvalidInputError
from fpigauss.fit import LamPath
from fpigauss.plot._lams import mark_lams, positions_of
from fpigauss.plot._style import COLORS, figure_of, panels_of

__all__ = ["PathDisplay"]

#: The panels by what is written next to them: arrays of a path, and their names in the legend.
_PANELS = {
    "KLD (nats)": {"smallest_kld": "smallest", "median_kld": "median"},
    "likelihood part (nats)": {"likelihood": ""},
    "on validation data": {"accuracy": "accuracy", "ece": "calibration error"},
    "log-loss (nats)": {"nll": ""},
}
#: What is drawn on a logarithmic axis: it is positive, and grows like a power of lam.
_LOGARITHMIC = {"smallest_kld", "nll"}
#: Where a logarithmic axis of losses ends: what is below, no validation data can tell from 0.
_LEAST = {"nll": 1e-6}
#: How fits end whose Gaussians are no answer.
_FAILED = ("unbounded", "diverged")


class PathDisplay:
    """Divergences, likelihood and validation scores against ``lam``.

    The axis of ``lam`` is logarithmic. A fit at ``lam=0`` has its place at the left end, beyond a
    break of the axis, and is not joined to the others. Fits that ran away or broke down have no
    points; dotted lines mark where they are. The axis of the log-loss ends at 1e-6 nats; losses
    below, of classes that are told apart without doubt, lie on its end.

    Parameters
    ----------
    path : LamPath
        What `fpigauss.lam_path` returns.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        The panels: two, and with validation data four.
    figure_ : matplotlib.figure.Figure
        Their figure.

    See Also
    --------
    fpigauss.lam_path : what it draws.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from fpigauss import lam_path
    >>> from fpigauss.plot import PathDisplay
    >>> z, y = load_wine(return_X_y=True)
    >>> path = lam_path(z, y, [0.0, 1.0, 10.0, 100.0], validation=(z, y), tied=True)
    >>> len(PathDisplay.from_path(path).axes_)
    4
    """

    axes_: list[Any]
    figure_: Figure

    def __init__(self, path: LamPath) -> None:
        self.path = path

    @classmethod
    def from_path(cls, path: LamPath, *, ax: Any = None) -> Self:
        """Draw a path.

        Parameters
        ----------
        path : LamPath
            What `fpigauss.lam_path` returns.
        ax : sequence of matplotlib.axes.Axes, optional
            Where to draw, one per panel; new axes by default.

        Returns
        -------
        PathDisplay

        Raises
        ------
        InvalidInputError
            If ``path`` is something else, or ``ax`` has another number of axes.
        """
        if not isinstance(path, LamPath):
            raise InvalidInputError(f"path is a {type(path).__name__}; pass what lam_path returns")
        return cls(path).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : sequence of matplotlib.axes.Axes, optional
            Where to draw, one per panel; new axes by default.

        Returns
        -------
        PathDisplay
            Itself.
        """
        columns = self.path.columns()
        shown = {title: names for title, names in _PANELS.items() if set(names) <= set(columns)}
        self.axes_ = panels_of(ax, list(shown))
        self.figure_ = figure_of(self.axes_[0])
        positions = positions_of(self.path.lam)
        failed = np.isin(self.path.status, _FAILED)
        for panel, (title, names) in zip(self.axes_, shown.items(), strict=True):
            for color, (name, label) in zip(COLORS, names.items(), strict=False):
                kept = np.maximum(columns[name], _LEAST.get(name, -np.inf))
                values = np.where(failed, np.nan, kept)
                _draw(panel, positions, self.path.lam, values, color=color, label=label)
            for position in positions[failed]:
                panel.axvline(position, color="0.6", linestyle=":", linewidth=1.0)
            panel.set_ylabel(title)
            panel.grid(alpha=0.3)
            if _LOGARITHMIC & set(names):
                panel.set_yscale("log")
            if any(names.values()):
                panel.legend(frameon=False, fontsize="small")
            mark_lams(panel, self.path.lam, positions)
        self.axes_[-1].set_xlabel("lam")
        return self


def _draw(panel: Axes, positions: Any, lam: Any, values: Any, *, color: str, label: str) -> None:
    """Draw a line through the fits with repulsion, and the one without beside it."""
    own, zero = lam > 0.0, lam == 0.0
    style: dict[str, Any] = {"color": color, "markersize": 4, "linewidth": 1.2}
    panel.plot(positions[own], values[own], ".-", label=label if own.any() else None, **style)
    panel.plot(
        positions[zero],
        values[zero],
        "o",
        fillstyle="none",
        label=None if own.any() else label,
        **style,
    )
