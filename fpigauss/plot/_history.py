"""How a fit got to its end."""

from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fpigauss.errors import InvalidInputError
from fpigauss.fit import SeparatedResult
from fpigauss.plot._found import fitted_of
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

    Logarithmic axes show what is positive; a panel without anything positive, as the objective of a
    fit whose start is its end, has a linear axis.

    After a separation, the history is that of the last of several fits, which starts from earlier
    ones: it is short, and begins close to its end.

    Parameters
    ----------
    history : dict of str to (n_steps + 1,) numpy array
        The ``history`` of a ``FixedPointResult``.
    title : str
        What is written above the panels.

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

    def __init__(self, history: History, title: str = "") -> None:
        self.history = history
        self.title = title

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the history of the fit of an estimator.

        Parameters
        ----------
        estimator : FixedPointGaussianClassifier, Pipeline or search
            A fitted estimator; of a pipeline its last step counts, of a search its best estimator.
        ax : sequence of three matplotlib.axes.Axes, optional
            Where to draw; new axes by default.

        Returns
        -------
        HistoryDisplay
        """
        fitted = fitted_of(estimator)
        return cls.from_result(getattr(fitted, "result_", fitted), ax=ax)

    @classmethod
    def from_result(cls, result: FixedPointResult | SeparatedResult, *, ax: Any = None) -> Self:
        """Draw the history of a fit.

        Parameters
        ----------
        result : FixedPointResult or SeparatedResult
            Of the latter, its last fit.
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
        title = ""
        if isinstance(result, SeparatedResult):
            title = (
                f"fit {len(result.path)} of {len(result.path)} of the search, lam={result.lam:.4g}"
            )
            result = result.result
        if not isinstance(result, FixedPointResult):
            raise InvalidInputError(
                f"result is a {type(result).__name__}; "
                "pass what fit_fixed_point or fit_separated returns"
            )
        return cls(result.history, title).plot(ax=ax)

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
            logarithmic = shown.any()
            if not logarithmic:
                shown = np.isfinite(values)
            steps = np.flatnonzero(shown)
            panel.plot(steps, values[shown], ".-", color=COLORS[0], markersize=4, linewidth=1.2)
            if logarithmic and (name != "smallest_kld" or np.ptp(np.log(values[shown])) > 3.0):
                panel.set_yscale("log")
            panel.set_ylabel(title)
            panel.grid(alpha=0.3)
            panel.set_xlim(-0.5, len(values) - 0.5)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        self.axes_[-1].set_xlabel("step")
        if self.title:
            self.axes_[0].set_title(self.title, fontsize="medium")
        return self
