"""How a fit got to its end."""

from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure

from fpigauss.errors import InvalidInputError
from fpigauss.plot._style import COLORS, figure_of, panels_of
from fpigauss.result import FixedPointResult, History

__all__ = ["HistoryDisplay"]

#: The names in a history that are drawn, and what is written next to them.
_PANELS = {
    "objective": "L - smallest L (nats)",
    "residual": "residual",
    "smallest_kld": "smallest KLD (nats)",
}


class HistoryDisplay:
    """The objective, the residual and the smallest divergence over the steps of a fit.

    Parameters
    ----------
    history : dict of str to (n_steps + 1,) numpy array
        The ``history`` of a ``FixedPointResult``.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        The three panels.
    figure_ : matplotlib.figure.Figure
        Their figure.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from fpigauss import fit_fixed_point
    >>> from fpigauss.plot import HistoryDisplay
    >>> result = fit_fixed_point(*load_wine(return_X_y=True), lam=10.0, tied=True)
    >>> len(HistoryDisplay.from_result(result).axes_)
    3
    """

    axes_: list[Any]
    figure_: Figure

    def __init__(self, history: History) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the history of the fit of an estimator.

        Parameters
        ----------
        estimator : FixedPointGaussianClassifier
            A fitted estimator.
        ax : sequence of three matplotlib.axes.Axes, optional
            Where to draw; new axes by default.

        Returns
        -------
        HistoryDisplay
        """
        return cls.from_result(getattr(estimator, "result_", estimator), ax=ax)

    @classmethod
    def from_result(cls, result: FixedPointResult, *, ax: Any = None) -> Self:
        """Draw the history of a fit.

        Parameters
        ----------
        result : FixedPointResult
        ax : sequence of three matplotlib.axes.Axes, optional
            Where to draw; new axes by default.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        InvalidInputError
            If ``result`` is something else.
        """
        if not isinstance(result, FixedPointResult):
            raise InvalidInputError(
                f"result is a {type(result).__name__}; pass what fit_fixed_point returns"
            )
        return cls(result.history).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the three panels.

        Parameters
        ----------
        ax : sequence of three matplotlib.axes.Axes, optional
            Where to draw; new axes by default.

        Returns
        -------
        HistoryDisplay
            Itself.
        """
        self.axes_ = panels_of(ax, list(_PANELS))
        self.figure_ = figure_of(self.axes_[0])
        for panel, (name, title) in zip(self.axes_, _PANELS.items(), strict=True):
            values = np.asarray(self.history[name], dtype=float)
            if name == "objective":
                values = values - values[np.isfinite(values)].min(initial=np.inf)
            shown = np.isfinite(values) & (values > 0.0)  # what a logarithmic axis can show
            steps = np.flatnonzero(shown)
            panel.plot(steps, values[shown], ".-", color=COLORS[0], markersize=4, linewidth=1.2)
            if len(steps) and (name != "smallest_kld" or np.ptp(np.log(values[shown])) > 3.0):
                panel.set_yscale("log")
            panel.set_ylabel(title)
            panel.grid(alpha=0.3)
        self.axes_[-1].set_xlabel("step")
        return self
