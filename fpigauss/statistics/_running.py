"""Statistics of a stream in which earlier batches count for less and less."""

import os
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fpigauss._array.checks import as_number
from fpigauss._array.files import FLOATS, load_arrays, save_arrays
from fpigauss._array.labels import as_classes, listed
from fpigauss.errors import InvalidInputError
from fpigauss.statistics._checks import check_statistics_kind
from fpigauss.statistics._class_statistics import ClassStatistics
from fpigauss.statistics._files import FIELDS, arrays_of

__all__ = ["RunningStatistics"]


@dataclass(frozen=True, eq=False, repr=False)
class RunningStatistics:
    """Class statistics of a stream of batches, each of which counts less the older it is.

    A batch that is followed by n others counts ``decay`` ** n times: its rows are rows of that
    weight. The means and covariances are those of all rows seen so far with these weights, so they
    are unbiased from the first batch on, and at ``decay=1`` those of ``ClassStatistics``. A class
    that is missing from a batch keeps its mean and covariance; only its count falls.

    They are frozen: ``update`` and ``merge`` return new ones.

    Parameters
    ----------
    decay : float
        What a batch counts for after the next one, in (0, 1].
    covariance : {"diagonal", "dense"}
        Whether variances or full covariance matrices are gathered.
    classes : (K,) array-like, optional
        All classes, so that any other label is an error. By default, the labels seen so far.

    statistics : ClassStatistics, optional
        Those of the rows so far, for ``solve_fixed_point``; None before the first batch. If passed,
        of the same kind, and with the same classes if these are given.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used.

    See Also
    --------
    ClassStatistics : all rows count alike.

    Examples
    --------
    >>> from fpigauss import RunningStatistics
    >>> running = RunningStatistics(0.5).update([[0.0], [5.0]], [0, 1])
    >>> running = running.update([[3.0], [5.0]], [0, 1])
    >>> running.statistics.means, running.statistics.counts
    (array([[2.],
           [5.]]), array([1.5, 1.5]))
    """

    decay: float
    covariance: str = "diagonal"
    classes: Any = None
    statistics: ClassStatistics | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        decay = as_number(self.decay, "decay")
        if not 0.0 < decay <= 1.0:
            raise InvalidInputError(f"decay is {decay:g}; pass a number in (0, 1]")
        object.__setattr__(self, "decay", decay)
        check_statistics_kind(self.covariance)
        if self.classes is not None:
            object.__setattr__(self, "classes", as_classes(self.classes))
        if self.statistics is not None:
            self._check_statistics(self.statistics)

    def __repr__(self) -> str:
        """Describe them, without their numbers."""
        return f"RunningStatistics(decay={self.decay:g}, statistics={self.statistics!r})"

    def _check_statistics(self, statistics: ClassStatistics) -> None:
        """Check that given statistics are of the kind and the classes that were named."""
        if not isinstance(statistics, ClassStatistics):
            raise InvalidInputError(
                f"statistics is a {type(statistics).__name__}; pass a ClassStatistics, or samples "
                "to update"
            )
        if statistics.covariance != self.covariance:
            raise InvalidInputError(
                f"statistics has {statistics.covariance} covariances, but covariance is "
                f"{self.covariance!r}; pass covariance={statistics.covariance!r}"
            )
        if self.classes is None:
            if statistics.closed:
                object.__setattr__(self, "classes", statistics.classes)
            return
        if not np.array_equal(statistics.classes, self.classes):
            raise InvalidInputError(
                f"statistics has the classes {listed(statistics.classes)}, but classes has "
                f"{listed(self.classes)}; gather the statistics with the same classes="
            )
        if not statistics.closed:
            object.__setattr__(self, "statistics", replace(statistics, closed=True))

    def update(self, z: Any, y: Any, sample_weight: Any = None) -> Self:
        """Let what was gathered count for less, and add a batch, in a new object.

        Parameters
        ----------
        z, y, sample_weight
            As in ``ClassStatistics.update``.

        Returns
        -------
        RunningStatistics

        Raises
        ------
        InvalidInputError
            If an argument cannot be used; these statistics stay as they are.
        """
        before = self.statistics
        if before is None:
            batch: Any = [(z, y) if sample_weight is None else (z, y, sample_weight)]
            gathered = ClassStatistics.from_batches(
                batch, covariance=self.covariance, classes=self.classes
            )
        else:
            faded = replace(before, counts=self.decay * before.counts)
            gathered = faded.update(z, y, sample_weight)
        return replace(self, statistics=gathered)

    def merge(self, other: Self) -> Self:
        """Merge the statistics of two streams of equal age, of two processes say, in a new object.

        Parameters
        ----------
        other : RunningStatistics
            With the same decay, width and kind, and with the same classes if these were given.

        Returns
        -------
        RunningStatistics

        Raises
        ------
        InvalidInputError
            If the two do not go together.
        """
        if not isinstance(other, RunningStatistics):
            raise InvalidInputError(f"other is a {type(other).__name__}; pass a RunningStatistics")
        if self.decay != other.decay:
            raise InvalidInputError(
                f"other has decay {other.decay:g}, but these have {self.decay:g}; "
                "merge statistics of one decay"
            )
        if self.covariance != other.covariance:
            raise InvalidInputError(
                f"other has {other.covariance} covariances, but these are {self.covariance}; "
                "make both with the same covariance="
            )
        given = [x.classes for x in (self, other) if x.classes is not None]
        if len(given) == 2 and not np.array_equal(*given):
            raise InvalidInputError(
                f"other has the classes {listed(other.classes)}, but these have "
                f"{listed(self.classes)}; make both with the same classes="
            )
        if self.statistics is None or other.statistics is None:
            filled = other if self.statistics is None else self
            # an empty one may be the one that names the classes
            return replace(filled, classes=given[0]) if len(given) == 1 else filled
        classes = given[0] if given else None
        merged = self.statistics.merge(other.statistics)
        return replace(self, classes=classes, statistics=merged)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file, atomically, as ``ClassStatistics.save`` does.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        InvalidInputError
            If there was no batch yet.
        """
        gathered = self.statistics
        if gathered is None:
            raise InvalidInputError("there is nothing to save before the first batch; call update")
        arrays = {"decay": np.asarray(self.decay), **arrays_of(gathered)}
        save_arrays(path, "RunningStatistics", arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what ``save`` wrote, as numpy arrays.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        RunningStatistics

        Raises
        ------
        InvalidInputError
            If the file is not one that ``RunningStatistics.save`` wrote.
        """
        arrays = load_arrays(path, "RunningStatistics", {"decay": FLOATS, **FIELDS})
        decay, closed = float(arrays.pop("decay")), bool(arrays.pop("closed"))
        gathered = ClassStatistics(**arrays, closed=closed)
        classes = gathered.classes if closed else None
        return cls(decay, gathered.covariance, classes, gathered)
