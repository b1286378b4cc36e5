"""Ellipses of class Gaussians, with samples."""

from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy.stats import chi2

from fpigauss._array.checks import check_width
from fpigauss._array.labels import as_labels
from fpigauss._array.linalg import eye_like
from fpigauss._array.namespaces import as_floating, cast_like, namespace, to_numpy
from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians, discriminant_axes, projected
from fpigauss.plot._labels import places_of_labels
from fpigauss.plot._style import axes_of, colors_apart, darker, figure_of, gaussians_of

__all__ = ["GaussiansDisplay"]

#: The parts of a class that lie within its ellipses.
_MASSES = (0.5, 0.95)
#: Points of all classes together: more hide one another.
_MOST_POINTS = 5000
#: Classes from which on labels are small.
_MANY = 20


class GaussiansDisplay:
    """Class Gaussians in a plane: per class, ellipses that hold 50 and 95 % of it.

    Of more than 20 classes, the picture shows the inner ellipses only.

    Two dimensions are drawn as they are. Of more, the picture shows the plane of the first two
    discriminant axes, along which the class means part most, in units of the standard deviation
    within classes.

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
        estimator : FixedPointGaussianClassifier or FixedPointResult
            Something that has Gaussians.
        X, y, **options
            As ``z``, ``y`` and the others of ``from_gaussians``.

        Returns
        -------
        GaussiansDisplay
        """
        return cls.from_gaussians(gaussians_of(estimator), X, y, **options)

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
            Gaussians in two dimensions or more.
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
        if not isinstance(gaussians, ClassGaussians):
            raise InvalidInputError(
                f"gaussians is a {type(gaussians).__name__}; pass a ClassGaussians"
            )
        if gaussians.dim < 2:
            raise InvalidInputError("gaussians have one dimension; ellipses need two or more")
        if y is not None and z is None:
            raise InvalidInputError("y is given without z; pass the samples too")
        axes = _plane_of(gaussians)
        flat = projected(gaussians, axes)
        names = "dimension" if gaussians.dim == 2 else "discriminant axis"
        points = labels = None
        if z is not None:
            points, labels = _in_plane(gaussians, axes, z, y)
        display = cls(
            to_numpy(flat.means),
            to_numpy(flat.covariances),
            gaussians.classes,
            points=points,
            labels=labels,
            axis_names=(f"{names} 1", f"{names} 2"),
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
            would hide one another.

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
        many = len(self.classes) > _MANY
        for mass in _MASSES[:1] if many else _MASSES:
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
                linewidths=1.2 if mass == _MASSES[0] else 0.8,
                linestyles="solid" if mass == _MASSES[0] else "dashed",
                zorder=2,
            )
            ax.add_collection(ellipses)
        reach = np.sqrt(chi2.ppf(max(_MASSES), df=2) * np.diagonal(self.covariances, 0, 1, 2))
        ax.update_datalim(np.concatenate([self.means - reach, self.means + reach]))
        ax.autoscale_view()
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_xlabel(self.axis_names[0])
        ax.set_ylabel(self.axis_names[1])
        if labeled:
            self._label(ax, colors)
        return self

    def _scatter(self, ax: Axes, colors: list[str]) -> None:
        if self.labels is None:
            shades: Any = "0.6"
        else:
            shades = np.asarray(colors)[np.searchsorted(self.classes, self.labels)]
        across, up = self.points.T
        ax.scatter(across, up, s=4, c=shades, alpha=0.5, linewidths=0, zorder=1)

    def _label(self, ax: Axes, colors: list[str]) -> None:
        size = 7 if len(self.classes) > _MANY else 10
        names = [str(label) for label in self.classes]
        if (layout := self.figure_.get_layout_engine()) is not None:
            layout.execute(self.figure_)  # the size of the axes is that to be seen, and so
        ax.apply_aspect()  # are the limits: labels are as far apart as when they are drawn
        places = places_of_labels(ax, self.means, names, size)
        for name, mean, offset, color in zip(names, self.means, places, colors, strict=True):
            moved = bool(np.any(offset))
            ax.annotate(
                name,
                mean,
                xytext=offset,
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkB": 0.0}
                if moved
                else None,
                color=darker(color),
                fontsize=size,
                weight="bold",
                ha="center",
                va="center",
                zorder=3,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )


def _plane_of(gaussians: ClassGaussians) -> Any:
    """Return the axes (d, 2) of the plane that is drawn."""
    means, _ = gaussians.working()
    xp, identity = namespace(means), eye_like(gaussians.dim, means)
    if gaussians.dim == 2:
        return identity
    axes = discriminant_axes(gaussians, 2)
    if axes.shape[1] == 2:
        return axes
    # two classes part along one axis: across it, the feature that counts least there
    across = identity[:, int(xp.argmin(xp.abs(axes[:, 0])))]
    both = xp.stack([axes[:, 0], across], axis=1)
    within = xp.mean(projected(gaussians, both).covariances, axis=0)
    left = across - within[0, 1] * axes[:, 0]
    length = xp.sqrt(within[1, 1] - within[0, 1] ** 2)
    return xp.stack([axes[:, 0], left / length], axis=1)


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
