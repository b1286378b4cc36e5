"""Classes that come later: add them to a trained flow without images of the first ones.

Models of latents, pixels or features learn classes from statistics alone; a flow that is trained
further sees samples of its own in place of old images.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    InvalidInputError,
    solve_fixed_point,
    solve_separated,
)
from fpigauss_torch import ClassFlow, LatentGaussians, add_class
from torch import Tensor

from nfpi.batches import Batches
from nfpi.data import ImageSet
from nfpi.generation import evaluating
from nfpi.grid.settings import ALPHA

__all__ = [
    "Added",
    "Arrivals",
    "Learner",
    "NearestMean",
    "Refitted",
    "StreamingLDA",
    "accuracies",
    "added",
    "encoded",
    "judged",
    "pixels",
]

_AT_ONCE = 500


@dataclass(frozen=True)
class Arrivals:
    """Images of classes that arrive in steps.

    Parameters
    ----------
    training, test : ImageSet
        Classes are numbered in the order in which they arrive.
    ends : tuple of int
        The number of classes after the first training, and after every step.
    """

    training: ImageSet
    test: ImageSet
    ends: tuple[int, ...]

    @classmethod
    def of(
        cls, training: ImageSet, test: ImageSet, first: int, per_step: int, seed: int
    ) -> "Arrivals":
        """Draw the order of the classes.

        Parameters
        ----------
        training, test : ImageSet
        first : int
            Classes of the first training, at least 2.
        per_step : int
            Classes per later step; the last step takes what is left.
        seed : int
            Draws the order.
        """
        n_classes = training.n_classes
        if n_classes < 3:
            raise InvalidInputError(
                f"{training.name} has {n_classes} classes; at least three are needed, two to train "
                "on first and one that comes later"
            )
        if not 2 <= first < n_classes:
            raise InvalidInputError(
                f"first is {first} of {n_classes} classes; pass 2 to {n_classes - 1}, so that "
                "others come later"
            )
        if per_step < 1:
            raise InvalidInputError(f"per_step is {per_step}; pass at least one class")
        order = np.random.default_rng(seed).permutation(n_classes)
        number = torch.from_numpy(np.argsort(order))
        training, test = (replace(part, labels=number[part.labels]) for part in (training, test))
        ends = (first, *range(first + per_step, n_classes, per_step), n_classes)
        return cls(training, test, ends)

    @property
    def first(self) -> tuple[ImageSet, ImageSet]:
        """Return the training and test images of the first classes."""
        end = self.ends[0]
        return self.between(self.training, 0, end), self.between(self.test, 0, end)

    @property
    def steps(self) -> tuple[tuple[int, int], ...]:
        """Return the classes of every later step, as pairs (start, end)."""
        return tuple(zip(self.ends[:-1], self.ends[1:], strict=True))

    def between(self, images: ImageSet, start: int, end: int) -> ImageSet:
        """Return the images of the classes start..end-1; ``end`` classes are known."""
        rows = (images.labels >= start) & (images.labels < end)
        return replace(images.subset(rows), n_classes=end)


class Learner(Protocol):
    """A classifier that learns new classes from their rows alone."""

    def learn(self, z: Tensor, y: Tensor) -> None:
        """Take the rows of new classes, numbered from the number of known ones."""

    def predict(self, z: Tensor) -> Tensor:
        """Return the class of every row."""


class _OfStatistics:
    """Merge the statistics of all classes so far, and make Gaussians from them."""

    kind = "diagonal"

    def __init__(self) -> None:
        """Start without a class."""
        self.statistics: ClassStatistics | None = None
        self.gaussians: ClassGaussians | None = None

    def learn(self, z: Tensor, y: Tensor) -> None:
        new = ClassStatistics.from_samples(z.double(), y, covariance=self.kind)
        self.statistics = new if self.statistics is None else self.statistics.merge(new)
        self.gaussians = self._fitted(self.statistics)

    def predict(self, z: Tensor) -> Tensor:
        assert self.gaussians is not None
        return torch.as_tensor(self.gaussians.predict(z.double()))

    def _fitted(self, statistics: ClassStatistics) -> ClassGaussians:
        raise NotImplementedError


class NearestMean(_OfStatistics):
    """The nearest class mean: Gaussians of one shared variance, without repulsion."""

    def _fitted(self, statistics: ClassStatistics) -> ClassGaussians:
        return solve_fixed_point(statistics, 0.0, covariance="isotropic", tied=True).gaussians


class StreamingLDA(_OfStatistics):
    """Linear discriminant analysis of running means and a running covariance, shrunk by OAS."""

    kind = "dense"

    def _fitted(self, statistics: ClassStatistics) -> ClassGaussians:
        return solve_fixed_point(
            statistics, 0.0, covariance="dense", tied=True, shrinkage="oas"
        ).gaussians


class Refitted(_OfStatistics):
    """All Gaussians are fitted anew to the merged statistics, ``separation`` nats apart."""

    def __init__(self, separation: float) -> None:
        """Keep the separation."""
        super().__init__()
        self.separation = separation

    def _fitted(self, statistics: ClassStatistics) -> ClassGaussians:
        return solve_separated(
            statistics, min_kld=self.separation, covariance="isotropic", tied=True, alpha=ALPHA
        ).gaussians


def added(
    gaussians: LatentGaussians,
    statistics: ClassStatistics,
    z: Tensor,
    y: Tensor,
    separation: float,
) -> tuple[LatentGaussians, ClassStatistics]:
    """Add class after class by ``add_class``, whose means alone are fitted.

    Parameters
    ----------
    gaussians, statistics
        Of the known classes.
    z, y : (N, d) and (N,) tensors
        Latents of new classes.
    separation : float
        The nats between a new class and any other; 0 takes the mean of its latents.

    Returns
    -------
    tuple of LatentGaussians and ClassStatistics
    """
    for label in y.unique():
        gaussians, statistics, _ = add_class(
            gaussians, statistics, z[y == label], None if separation else 0.0,
            separation=separation or None, update="means", alpha=ALPHA,
        )  # fmt: skip
    return gaussians, statistics


class Added:
    """``add_class``: the old Gaussians stay, and repel the new one.

    Parameters
    ----------
    gaussians : LatentGaussians
        Those of the trained flow.
    separation : float
        The nats between a new class and any other; 0 takes the mean of its latents.
    """

    def __init__(self, gaussians: LatentGaussians, separation: float) -> None:
        """Start from a flow's Gaussians."""
        self.gaussians, self.separation = gaussians, separation
        self._statistics: ClassStatistics | None = None

    def learn(self, z: Tensor, y: Tensor) -> None:
        """Add class after class; the first call has those that the flow knows."""
        if self._statistics is None:
            self._statistics = ClassStatistics.from_samples(
                z.double(), y, covariance=self.gaussians.statistics_kind
            )
            return
        self.gaussians, self._statistics = added(
            self.gaussians, self._statistics, z, y, self.separation
        )

    def predict(self, z: Tensor) -> Tensor:
        """Return the class of every row."""
        return self.gaussians.predict(z)


def accuracies(
    learner: Learner, arrivals: Arrivals, training: Tensor, test: Tensor
) -> Iterator[tuple[str, float]]:
    """Teach a learner step by step, and judge it after each on all classes so far.

    Parameters
    ----------
    learner : Learner
    arrivals : Arrivals
    training, test : (N, d) tensors
        Latents, pixels or features of its images.

    Yields
    ------
    tuple of (str, float)
        The names of `judged`.
    """
    for start, end in ((0, arrivals.ends[0]), *arrivals.steps):
        y = arrivals.training.labels
        new = (y >= start) & (y < end)
        learner.learn(training[new], y[new])
        seen = arrivals.test.labels < end
        yield from judged(learner.predict(test[seen]), arrivals.test.labels[seen], arrivals)


def judged(found: Tensor, labels: Tensor, arrivals: Arrivals) -> Iterator[tuple[str, float]]:
    """Yield acc_K after K classes; after the last also acc, first and later.

    The last two are the accuracies on the classes of the first training and on all others.
    """
    right = (found.cpu() == labels).double()
    n_seen = int(labels.max()) + 1
    yield f"acc_{n_seen}", float(right.mean())
    if n_seen == arrivals.ends[-1]:
        late = labels >= arrivals.ends[0]
        yield "acc", float(right.mean())
        yield "first", float(right[~late].mean())
        yield "later", float(right[late].mean())


@torch.no_grad()
def encoded(model: ClassFlow, images: ImageSet, seed: int) -> Tensor:
    """Return the latents of images, in their order."""
    device = model.gaussians.density().means.device
    with evaluating(model):
        parts = [
            model.encode(x.to(device))[0].flatten(1).cpu()
            for x, _ in Batches(images, _AT_ONCE, seed=seed, shuffle=False)
        ]
    return torch.cat(parts)


def pixels(images: ImageSet) -> Tensor:
    """Return images as rows of numbers in [0, 1]."""
    return images.images.flatten(1).double() / 255.0
