"""Ellipses of class Gaussians, with samples."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from scipy.stats import chi2

from fpigauss._array.checks import check_width
from fpigauss._array.labels import as_labels
from fpigauss._array.linalg import eye_like
from fpigauss._array.namespaces import as_floating, cast_like, namespace, to_numpy
from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians, discriminant_axes, projected
from fpigauss.plot._found import drawn_gaussians, gaussians_of, latents_of
from fpigauss.plot._labels import names_of, places_of_labels
from fpigauss.plot._style import axes_of, colors_apart, darker, figure_of

__all__ = ["GaussiansDisplay"]

#: The parts of a class that lie within its ellipses.
_MASSES = (0.5, 0.95)
#: How the ellipses of each are drawn: style and width.
_LINES: dict[float, tuple[Any, float]] = {0.5: ("solid", 1.2), 0.95: ("dashed", 0.8)}
#: Points of all classes together: more hide one another.
_MOST_POINTS = 5000
#: Classes from which on labels are small.
_MANY = 20
#: Characters from which on a label is long.
_LONG = 8
#: The part of the axes, in width and height, that the legend takes at most.
_LEGEND = (0.35, 0.15)


class GaussiansDisplay:
    """Class Gaussians in a plane: per class, ellipses that hold 50 and 95 % of it.

    The ellipse of 50 % is solid, that of 95 % dashed. Of more than 20 classes, the picture shows
    the inner ellipses only.

    Two dimensions are drawn as they are. Of more, the picture shows the plane of the first two
    discriminant axes, along which the class means part most, in units of the standard deviation
    within classes. Two classes have one such axis; up is then across it, along the feature that
    varies most there.

    Labels of more than 16 characters are shortened in the middle. A label that finds no free place
    within the axes is left out. Labels are placed in the axes as they are: where a layout moves
    panels as others fill, draw this one last.

    Parameters
    ----------
    means : (K, 2) array
        Means in the plane.
    covariances : (K, 2, 2) array
        Covariances in the plane.
    classes : (K,) array
        Labels.
    points : (N, 2) array, optional
        Samples in the plane.
    labels : (N,) array, optional
        The labels of the samples.
    axis_names : pair of str
        What the axes show.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure of ``ax_``.

    See Also
    --------
    KLDDisplay : the divergences of all pairs.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from fpigauss.plot import GaussiansDisplay
    >>> from fpigauss.sklearn import FixedPointGaussianClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> classifier = FixedPointGaussianClassifier(separation=20.0).fit(X, y)
    >>> display = GaussiansDisplay.from_estimator(classifier, X, y)
    >>> display.ax_.get_xlabel()
    'discriminant axis 1'
    """

    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        means: Any,
        covariances: Any,
        classes: Labels,
        *,
        points: Any = None,
        labels: Labels | None = None,
        axis_names: tuple[str, str] = ("dimension 1", "dimension 2"),
    ) -> None:
        self.means = means
        self.covariances = covariances
        self.classes = classes
        self.points = points
        self.labels = labels
        self.axis_names = axis_names

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any = None, y: Any = None, **options: Any) -> Self:
        """Draw the Gaussians of a fitted estimator, with rows of ``X`` if given.

        Parameters
        ----------
        estimator : FixedPointGaussianClassifier, Pipeline, search or FixedPointResult
            Something that has Gaussians; of a pipeline those of its last step, of a search those of
            its best estimator.
        X, y, **options
            As ``z``, ``y`` and the others of ``from_gaussians``. The steps of a pipeline before the
            last one transform ``X`` first.

        Returns
        -------
        GaussiansDisplay
        """
        return cls.from_gaussians(gaussians_of(estimator), latents_of(estimator, X), y, **options)

    @classmethod
    def from_gaussians(
        cls,
        gaussians: ClassGaussians,
        z: Any = None,
        y: Any = None,
        *,
        ax: Axes | None = None,
        **options: Any,
    ) -> Self:
        """Draw Gaussians, with samples if given.

        Parameters
        ----------
        gaussians : ClassGaussians
            Gaussians in two dimensions or more, or what has them as ``class_gaussians()``, as
            LatentGaussians and flows do.
        z : (N, d) array, optional
            Samples; of more than 5,000, every so many is drawn.
        y : (N,) array-like, optional
            Their labels; without labels the samples are gray.
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes by default.
        **options
            As for ``plot``.

        Returns
        -------
        GaussiansDisplay

        Raises
        ------
        InvalidInputError
            If there is one dimension only, or the samples do not fit the Gaussians.
        """
        gaussians = drawn_gaussians(gaussians)
        if gaussians.dim < 2:
            raise InvalidInputError("gaussians have one dimension; ellipses need two or more")
        if y is not None and z is None:
            raise InvalidInputError("y is given without z; pass the samples too")
        axes = _plane_of(gaussians)
        flat = projected(gaussians, axes)
        points = labels = None
        if z is not None:
            points, labels = _in_plane(gaussians, axes, z, y)
        display = cls(
            to_numpy(flat.means),
            to_numpy(flat.covariances),
            gaussians.classes,
            points=points,
            labels=labels,
            axis_names=_axis_names(gaussians),
        )
        return display.plot(ax=ax, **options)

    def plot(self, *, ax: Axes | None = None, labeled: bool = True) -> Self:
        """Draw the ellipses, and the samples if there are any.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes by default.
        labeled : bool
            Write the label of every class at its mean, or next to it with a line to it where labels
            would hide one another; without a free place, not at all.

        Returns
        -------
        GaussiansDisplay
            Itself.
        """
        self.ax_ = ax = axes_of(ax, side=8.0 if len(self.classes) > _MANY else 5.0)
        self.figure_ = figure_of(ax)
        colors = colors_apart(self.means)
        if self.points is not None:
            self._scatter(ax, colors)
        variances, directions = np.linalg.eigh(self.covariances)
        angles = np.degrees(np.arctan2(directions[:, 1, 1], directions[:, 0, 1]))
        masses = _MASSES[:1] if len(self.classes) > _MANY else _MASSES
        for mass in masses:
            across = 2.0 * np.sqrt(variances * chi2.ppf(mass, df=2))
            ellipses = EllipseCollection(
                across[:, 1],
                across[:, 0],
                angles,
                units="xy",
                offsets=self.means,
                offset_transform=ax.transData,
                facecolors="none",
                edgecolors=colors,
                linewidths=_LINES[mass][1],
                linestyles=_LINES[mass][0],
                zorder=2,
            )
            ax.add_collection(ellipses)
        reach = np.sqrt(chi2.ppf(max(_MASSES), df=2) * np.diagonal(self.covariances, 0, 1, 2))
        ax.update_datalim(np.concatenate([self.means - reach, self.means + reach]))
        ax.autoscale_view()
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_xlabel(self.axis_names[0])
        ax.set_ylabel(self.axis_names[1])
        if (layout := self.figure_.get_layout_engine()) is not None:
            layout.execute(self.figure_)  # the size of the axes is that to be seen, and so
        ax.apply_aspect()  # are the limits: labels are as far apart as when they are drawn
        legend = self._explain(ax, masses)
        if labeled:
            self._label(ax, colors, legend)
        return self

    def _explain(self, ax: Axes, masses: Sequence[float]) -> Legend:
        """Say which ellipse holds what, in the corner with the fewest points."""
        lines = [
            Line2D([], [], color="0.3", linestyle=_LINES[mass][0], linewidth=_LINES[mass][1])
            for mass in masses
        ]
        every = self.means if self.points is None else np.concatenate([self.means, self.points])
        inside = (ax.transData + ax.transAxes.inverted()).transform(every)
        corners: dict[Any, int] = {
            f"{up} {side}": np.sum(
                (np.abs(inside - (side == "right", up == "upper")) < _LEGEND).all(axis=-1)
            )
            for up in ("upper", "lower")
            for side in ("right", "left")
        }
        legend = Legend(
            ax,
            lines,
            [f"{mass:.0%} of a class" for mass in masses],
            loc=min(corners, key=lambda corner: corners[corner]),
            fontsize="x-small",
            framealpha=0.7,
            edgecolor="none",
        )
        ax.add_artist(legend)  # a legend of the axes' own stays
        return legend

    def _scatter(self, ax: Axes, colors: list[str]) -> None:
        if self.labels is None:
            shades: Any = "0.6"
        else:
            shades = np.asarray(colors)[np.searchsorted(self.classes, self.labels)]
        across, up = self.points.T
        ax.scatter(across, up, s=4, c=shades, alpha=0.5, linewidths=0, zorder=1)

    def _label(self, ax: Axes, colors: list[str], legend: Legend) -> None:
        names = names_of(self.classes)
        size = (7 if len(names) > _MANY else 10) - 2 * (max(map(len, names)) > _LONG)
        font: dict[str, Any] = {"fontsize": size, "weight": "bold", "parse_math": False}
        taken = [legend.get_window_extent()]
        places = places_of_labels(ax, self.means, names, taken, **font)
        for name, mean, place, color in zip(names, self.means, places, colors, strict=True):
            if place is None:
                continue
            line = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkB": 0.0}
            text = ax.annotate(
                name,
                mean,
                xytext=place,
                textcoords="offset points",
                arrowprops=line if np.any(place) else None,
                color=darker(color),
                ha="center",
                va="center",
                zorder=3,
                path_effects=[withStroke(linewidth=2, foreground="white")],
                clip_on=True,
                **font,
            )
            text.set_in_layout(False)  # labels do not shrink the axes that they are placed in


def _axis_names(gaussians: ClassGaussians) -> tuple[str, str]:
    if gaussians.dim == 2:
        return "dimension 1", "dimension 2"
    second = "across axis 1" if gaussians.n_classes == 2 else "discriminant axis 2"
    return "discriminant axis 1", second


def _plane_of(gaussians: ClassGaussians) -> Any:
    """Return the axes (d, 2) of the plane that is drawn."""
    means, _ = gaussians.working()
    xp, identity = namespace(means), eye_like(gaussians.dim, means)
    if gaussians.dim == 2:
        return identity
    axes = discriminant_axes(gaussians, 2)
    if axes.shape[1] == 2:
        return axes
    # two classes part along one axis: across it, the feature that varies most there
    across = identity[:, int(xp.argmax(_variances_left(gaussians, axes[:, 0])))]
    both = xp.stack([axes[:, 0], across], axis=1)
    within = xp.mean(projected(gaussians, both).covariances, axis=0)
    left = across - within[0, 1] * axes[:, 0]
    length = xp.sqrt(within[1, 1] - within[0, 1] ** 2)
    return xp.stack([axes[:, 0], left / length], axis=1)


def _variances_left(gaussians: ClassGaussians, axis: Any) -> Any:
    """Return the variances (d,) within classes that are uncorrelated with an axis of variance 1."""
    family, (_, factor) = gaussians.family, gaussians.working()
    xp, values = namespace(axis), family.values(factor)
    each = xp.broadcast_to(axis, (values.shape[0], axis.shape[0]))
    along = xp.mean(family.apply(values, each), axis=0)
    dense = values.ndim == 3
    own = xp.linalg.diagonal(values) if dense else family.apply(values, xp.ones_like(each))
    return xp.mean(own, axis=0) - along * along


def _in_plane(gaussians: ClassGaussians, axes: Any, z: Any, y: Any) -> tuple[Any, Labels | None]:
    """Take samples to the plane, as many as can be told apart."""
    z = as_floating(z, "z")
    check_width(z, gaussians.dim)
    every = max(1, -(-int(z.shape[0]) // _MOST_POINTS))
    points = to_numpy(cast_like(z[::every, :], axes) @ axes)
    if y is None:
        return points, None
    labels = as_labels(y)
    if len(labels) != z.shape[0]:
        raise InvalidInputError(f"y has {len(labels)} labels for {z.shape[0]} rows of z")
    labels = labels[::every]
    unknown = np.setdiff1d(labels, gaussians.classes)
    if len(unknown):
        raise InvalidInputError(
            f"y contains the label {unknown[0].item()!r}, which has no Gaussian"
        )
    return points, labels
