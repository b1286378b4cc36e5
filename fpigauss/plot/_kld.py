"""A heat map of the divergences between all pairs of classes."""

from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from fpigauss._array.namespaces import to_numpy
from fpigauss._array.typing import Labels
from fpigauss.divergence import pairwise_kld
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians
from fpigauss.plot._found import drawn_gaussians, gaussians_of
from fpigauss.plot._labels import every_nth, names_of
from fpigauss.plot._style import COLORS, axes_of, figure_of

__all__ = ["KLDDisplay"]

#: The smallest font in which all are named, and that of names where only some are, in points.
_SMALLEST, _SPARSE = 4.0, 6.0
#: Classes from which on ticks without marks can be told apart.
_MANY = 20
#: Where the colors end: ticks need room to the largest floating-point number.
_MOST = 1e200
#: How infinite divergences are drawn: no color of the map is near it.
_INFINITE = COLORS[5]


class KLDDisplay:
    """A heat map of KLD(N_y || N_y'), in nats, with similar classes next to each other.

    Every class has a row and a column. Where the axes are too small to name them all, every second
    is named, or every third, and so on. Infinite divergences have a color of their own, named above
    the color bar; colors end at 1e200 nats, and cells of what is not a number are empty.

    Parameters
    ----------
    kld : (K, K) array
        Divergences, as ``pairwise_kld`` returns them.
    classes : (K,) array
        Labels.

    Attributes
    ----------
    order_ : (K,) array of int
        The classes in the order of the rows and columns: the one along which neighbors are most
        similar, of those that a hierarchical clustering allows.
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure of ``ax_``.

    See Also
    --------
    GaussiansDisplay : ellipses.
    fpigauss.pairwise_kld : the numbers.

    Examples
    --------
    >>> from fpigauss import ClassGaussians
    >>> from fpigauss.plot import KLDDisplay
    >>> gaussians = ClassGaussians([[0.0], [9.0], [1.0]], [1.0, 1.0, 1.0], covariance="isotropic",
    ...                            classes=["a", "b", "c"])
    >>> display = KLDDisplay.from_gaussians(gaussians)
    >>> [label.get_text() for label in display.ax_.get_xticklabels()]
    ['b', 'c', 'a']
    """

    order_: Any
    ax_: Axes
    figure_: Figure

    def __init__(self, kld: Any, classes: Labels) -> None:
        self.kld = kld
        self.classes = classes

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> Self:
        """Draw the divergences of the Gaussians of a fitted estimator.

        Parameters
        ----------
        estimator : FixedPointGaussianClassifier, Pipeline, search or FixedPointResult
            Something that has Gaussians; of a pipeline those of its last step, of a search those of
            its best estimator.
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes by default.

        Returns
        -------
        KLDDisplay
        """
        return cls.from_gaussians(gaussians_of(estimator), ax=ax)

    @classmethod
    def from_gaussians(cls, gaussians: ClassGaussians, *, ax: Axes | None = None) -> Self:
        """Draw the divergences of Gaussians.

        Parameters
        ----------
        gaussians : ClassGaussians
            Or what has them as ``class_gaussians()``, as LatentGaussians and flows do.
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes by default.

        Returns
        -------
        KLDDisplay

        Raises
        ------
        InvalidInputError
            If there are no Gaussians, or one class only.
        """
        gaussians = drawn_gaussians(gaussians)
        if gaussians.n_classes < 2:
            raise InvalidInputError("gaussians have one class; divergences need two or more")
        return cls(to_numpy(pairwise_kld(gaussians)), gaussians.classes).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes by default.

        Returns
        -------
        KLDDisplay
            Itself.
        """
        n_classes = len(self.classes)
        side = float(np.clip(3.8 + 0.1 * n_classes, 4.8, 14.0))
        self.ax_ = ax = axes_of(ax, side=side, width=1.15 * side + 0.4, layout="compressed")
        self.figure_ = figure_of(ax)
        self.order_ = _by_similarity(np.asarray(self.kld, dtype=float))
        shown = self.kld[np.ix_(self.order_, self.order_)].astype(float)
        np.fill_diagonal(shown, np.nan)  # a class against itself says nothing
        infinite = np.isposinf(shown)
        low, high = _limits(shown)
        image = ax.imshow(
            np.where(infinite, np.nan, shown), cmap="cividis", norm=LogNorm(low, high, clip=True)
        )
        if infinite.any():
            ax.imshow(np.where(infinite, 1.0, np.nan), cmap=ListedColormap([_INFINITE]))
        beside = ax.inset_axes((1.03, 0.0, 0.04, 1.0))  # as high as the map, whatever the figure
        bar = self.figure_.colorbar(image, cax=beside, label="KLD(row || column), nats")
        if infinite.any():
            bar.ax.set_title("\N{INFINITY}", color=_INFINITE, fontsize="medium")
        plain = LogFormatter(labelOnlyBase=False, minor_thresholds=(2.0, 0.5))
        bar.ax.yaxis.set_major_formatter(plain)
        bar.ax.yaxis.set_minor_formatter(plain)
        ax.set_xlabel("to")
        ax.set_ylabel("from")
        for _ in range(2):  # names take room from the axes, whose size decides on the names
            if (layout := self.figure_.get_layout_engine()) is not None:
                layout.execute(self.figure_)
            ax.apply_aspect()
            self._name(ax)
        return self

    def _name(self, ax: Axes) -> None:
        """Name the rows and columns, as many as can be read."""
        names = names_of(self.classes[self.order_])
        box = ax.get_window_extent()
        room = min(box.width, box.height) * 72.0 / self.figure_.dpi / len(names)  # per name
        size = min(0.8 * room, 10.0) if 0.8 * room >= _SMALLEST else _SPARSE
        every = every_nth(room, size)
        upright = (0.62 * max(map(len, names)) + 0.5) * size < every * room
        shown = range(0, len(names), every)
        text: dict[str, Any] = {"fontsize": size, "parse_math": False}
        ax.set_xticks(shown, names[::every], rotation=0 if upright else 90, **text)
        ax.set_yticks(shown, names[::every], **text)
        ax.tick_params(length=0 if len(names) > _MANY and every == 1 else 2)


def _limits(kld: Any) -> tuple[float, float]:
    """Return the divergences where the colors begin and end."""
    positive = kld[np.isfinite(kld) & (kld > 0.0)]
    if not len(positive):
        return 1.0, 10.0
    low, high = (min(float(end), _MOST) for end in (positive.min(), positive.max()))
    return (low / 2.0, high * 2.0) if high / low < 1.0 + 1e-6 else (low, high)


def _by_similarity(kld: Any) -> Any:
    """Order the classes so that neighbors are alike, by hierarchical clustering."""
    if len(kld) < 3:
        return np.arange(len(kld))
    between = np.sqrt(0.5 * kld + 0.5 * kld.T)  # for equal covariances, a distance
    np.fill_diagonal(between, 0.0)
    known = np.isfinite(between)
    between = np.where(known, between, 2.0 * between[known].max() or 1.0)
    distances = squareform(between, checks=False)
    return leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))
