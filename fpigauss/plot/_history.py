"""How a fit got to its end."""

from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fpigauss.errors import InvalidInputError
from fpigauss.fit import SeparatedResult
from fpigauss.plot._found import attribute_of, fitted_of
from fpigauss.plot._lams import mark_lams, positions_of
from fpigauss.plot._style import COLORS, figure_of, panels_of
from fpigauss.result import FixedPointResult, History

__all__ = ["HistoryDisplay"]

#: The names in a history that are drawn, and what is written next to them.
_PANELS = {
    "objective": "L - smallest L (nats)",
    "residual": "residual",
    "smallest_kld": "smallest KLD (nats)",
}


#: How fits end whose Gaussians are no answer.
_FAILED = ("unbounded", "diverged")


class HistoryDisplay:
    """The objective, the residual and the smallest divergence over the steps of a fit.

    Logarithmic axes show what is positive; a panel without anything positive, as the objective of a
    fit whose start is its end, has a linear axis.

    After a separation, a panel above the others shows the search: what each fit reached at its
    ``lam``, joined in the order in which they were made, and the target as a dashed line. Fits that
    ran away or broke down are dotted lines. The history is that of the last fit, which starts from
    earlier ones: it is short, and begins close to its end.

    Parameters
    ----------
    history : dict of str to (n_steps + 1,) numpy array
        The ``history`` of a ``FixedPointResult``.
    title : str
        What is written above the history.
    search : SeparatedResult, optional
        The search to draw above it.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        The three panels of the history, after that of the search if there is one.
    figure_ : matplotlib.figure.Figure
        Their figure.

    See Also
    --------
    PathDisplay : fits at many ``lam``.

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

    def __init__(
        self, history: History, title: str = "", *, search: SeparatedResult | None = None
    ) -> None:
        self.history = history
        self.title = title
        self.search = search

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
        result = attribute_of(fitted, "result_")
        return cls.from_result(fitted if result is None else result, ax=ax)

    @classmethod
    def from_result(cls, result: FixedPointResult | SeparatedResult, *, ax: Any = None) -> Self:
        """Draw the history of a fit.

        Parameters
        ----------
        result : FixedPointResult or SeparatedResult
            Of the latter, the search and its last fit.
        ax : sequence of three matplotlib.axes.Axes, optional
            Where to draw; new axes by default. With a search, four.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        InvalidInputError
            If ``result`` is something else, or ``ax`` has another number of axes.
        """
        title, search = "", None
        if isinstance(result, SeparatedResult):
            title = (
                f"fit {len(result.path)} of {len(result.path)} of the search, lam={result.lam:.4g}"
            )
            search, result = result, result.result
        if not isinstance(result, FixedPointResult):
            raise InvalidInputError(
                f"result is a {type(result).__name__}; "
                "pass what fit_fixed_point or fit_separated returns"
            )
        return cls(result.history, title, search=search).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : sequence of three matplotlib.axes.Axes, optional
            Where to draw; new axes by default. With a search, four.

        Returns
        -------
        HistoryDisplay
            Itself.
        """
        searched = [] if self.search is None else ["search"]
        self.axes_ = panels_of(ax, [*searched, *_PANELS], apart=len(searched))
        self.figure_ = figure_of(self.axes_[0])
        panels = self.axes_[len(searched) :]
        if self.search is not None:
            _draw_search(self.axes_[0], self.search)
        for panel, (name, title) in zip(panels, _PANELS.items(), strict=True):
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
            panels[0].set_title(self.title, fontsize="medium")
        return self


def _draw_search(panel: Axes, search: SeparatedResult) -> None:
    """Draw what each fit of a search reached at its lam."""
    target = search.target
    lam = np.asarray([trial.lam for trial in search.path])
    values = np.asarray([trial.value for trial in search.path])
    failed = np.isin([trial.status for trial in search.path], _FAILED) | ~np.isfinite(values)
    positions = positions_of(lam)
    kept, reached = positions[~failed], values[~failed]
    panel.axhline(target.bound, color="0.5", linestyle="--", linewidth=1.0)
    panel.plot(kept, reached, "-", color="0.7", linewidth=0.8)
    panel.plot(kept, reached, "o", color=COLORS[0], fillstyle="none", markersize=5)
    panel.plot(kept[-1:], reached[-1:], "o", color=COLORS[0], markersize=5)
    for position in positions[failed]:
        panel.axvline(position, color="0.6", linestyle=":", linewidth=1.0)
    if (reached > 0.0).all():
        panel.set_yscale("log")
    panel.set_ylabel(f"{target.measure}{f' ({target.unit.strip()})' if target.unit else ''}")
    panel.grid(alpha=0.3)
    panel.set_title(
        f"search: {len(search.path)} fits, {search.n_iter} evaluations", fontsize="medium"
    )
    mark_lams(panel, lam, positions)
    panel.set_xlabel("lam")
