"""What the fixed point needs to know about the data: class counts, means and covariances.

Gathered in one pass, merged in any order, safe far from the origin.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Self

import numpy as np

from fpigauss._array.checks import check_classes, check_width
from fpigauss._array.files import load_arrays, save_arrays
from fpigauss._array.flags import unflagged
from fpigauss._array.labels import as_classes, as_labels, union
from fpigauss._array.namespaces import (
    as_floating,
    cast_like,
    detached,
    namespace,
    precise,
    working_dtype,
)
from fpigauss._array.typing import Array, Labels
from fpigauss.errors import InvalidInputError
from fpigauss.statistics._batches import folded
from fpigauss.statistics._checks import (
    check_finite_totals,
    check_statistics_kind,
    check_statistics_values,
)
from fpigauss.statistics._dask import tree_of
from fpigauss.statistics._files import FIELDS, arrays_of
from fpigauss.statistics._gather import gathered
from fpigauss.statistics._moments import ClassMoments, merged
from fpigauss.statistics._rows import as_rows
from fpigauss.statistics._selection import over

__all__ = ["ClassStatistics"]


@dataclass(frozen=True, eq=False, repr=False)
class ClassStatistics:
    r"""Counts, means and covariances of labeled latents, per class.

    The covariances are divided by N_y (not N_y - 1), as the balanced likelihood of Eqs. 5 and 7
    requires. Statistics are frozen: ``update`` and ``merge`` return new ones. They are held in
    float64 where the device supports it, whatever the dtype of the latents, so that merging loses
    nothing; those of jax arrays without ``jax_enable_x64`` are numpy's.

    Parameters
    ----------
    counts : (K,) array
        Samples per class, or sums of their weights.
    means : (K, d) array
        Class means.
    covariances : (K, d) or (K, d, d) array
        Class variances ("diagonal" statistics) or covariance matrices ("dense" ones).
    classes : (K,) array-like
        The labels, integers or strings, in ascending order.

    Raises
    ------
    InvalidInputError
        If shapes disagree, a value is not finite, a count or a variance is negative, a covariance
        matrix has a negative eigenvalue beyond rounding, or ``classes`` are not distinct and
        ascending.

    See Also
    --------
    solve_fixed_point : fit Gaussians to them.
    open_latents : batches from files.

    Examples
    --------
    >>> import numpy as np
    >>> from fpigauss import ClassStatistics
    >>> z = np.array([[0.0, 0.0], [2.0, 2.0], [5.0, 5.0], [5.0, 7.0]])
    >>> statistics = ClassStatistics.from_samples(z, ["a", "a", "b", "b"])
    >>> statistics.means
    array([[1., 1.],
           [5., 6.]])
    >>> statistics.covariances
    array([[1., 1.],
           [0., 1.]])
    >>> half = ClassStatistics.from_samples(z[:2], ["a", "a"])
    >>> half.update(z[2:], ["b", "b"]).classes
    array(['a', 'b'], dtype='<U1')
    """

    counts: Array
    means: Array
    covariances: Array
    classes: Labels
    #: Whether the classes were given, so that other labels are errors.
    closed: bool = field(default=False, repr=False)

    @unflagged
    def __post_init__(self) -> None:
        """Check and unify the fields."""
        means = precise(detached(as_floating(self.means, "means")))
        xp = namespace(means)
        means = xp.astype(means, working_dtype(means), copy=True)  # frozen: shared with nobody
        counts = cast_like(detached(as_floating(self.counts, "counts")), means)
        given = detached(as_floating(self.covariances, "covariances"))
        covariances = cast_like(given, means)
        counts, covariances = (xp.astype(x, x.dtype, copy=True) for x in (counts, covariances))
        classes = as_labels(self.classes, "classes").copy()
        check_classes(classes)
        eps = float(namespace(given).finfo(given.dtype).eps)
        check_statistics_values(counts, means, covariances, classes, eps=eps)
        for name, value in [
            ("counts", counts),
            ("means", means),
            ("covariances", covariances),
            ("classes", classes),
        ]:
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Describe the statistics, without their numbers."""
        total = float(namespace(self.counts).sum(self.counts))
        return (
            f"ClassStatistics(n_classes={self.n_classes}, dim={self.dim}, "
            f"n_samples={total:g}, covariance={self.covariance!r})"
        )

    # -- what they are ---------------------------------------------------------------------

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return int(self.means.shape[0])

    @property
    def dim(self) -> int:
        """The number of dimensions d."""
        return int(self.means.shape[1])

    @property
    def covariance(self) -> Literal["diagonal", "dense"]:
        """The kind of the covariances."""
        return "dense" if self.covariances.ndim == 3 else "diagonal"

    # -- how they are gathered -------------------------------------------------------------

    @classmethod
    def from_samples(
        cls,
        z: Any,
        y: Any,
        *,
        covariance: str = "diagonal",
        classes: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Gather the statistics of one array of latents, in one pass.

        The array may be larger than memory: a numpy memmap, or a store that is sliced like an
        array (zarr, h5py), is read a chunk of rows at a time, in multiples of its own chunks.

        Parameters
        ----------
        z : (N, d) array
            Latents, of any namespace, mapped from a file or in a store; gradients are not tracked.
        y : (N,) array-like
            Labels: integers, strings, or floats with integral values. -1 is a class like any
            other.
        covariance : {"diagonal", "dense"}
            Whether variances or full covariance matrices are gathered.
        classes : (K,) array-like, optional
            All classes, in any order: any other label is an error; a class without samples is an
            error only when solving. By default, the labels that occur.
        sample_weight : (N,) array-like, optional
            Repetition weights >= 0: a row of weight 2 counts as two rows.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        InvalidInputError
            If an argument cannot be used; the message names it and the remedy.

        Examples
        --------
        >>> import numpy as np
        >>> from fpigauss import ClassStatistics
        >>> ClassStatistics.from_samples([[0.0], [1.0], [4.0]], [0, 0, 1]).counts
        array([2., 1.])
        """
        return cls._gathered(
            z, y, sample_weight, covariance=covariance, classes=classes, in_parts=False
        )

    @classmethod
    def from_batches(
        cls,
        batches: Iterable[tuple[Any, ...]],
        *,
        covariance: str = "diagonal",
        classes: Any = None,
        progress: bool = False,
    ) -> Self:
        """Gather the statistics of batches, each ``(z, y)`` or ``(z, y, sample_weight)``.

        If the stream ends early (a batch cannot be used, the iterator raises, or the keyboard
        interrupts), the exception carries the statistics of the batches before as its attribute
        ``statistics`` (None if there were none). They can be saved, updated, and merged with those
        of the batches that follow.

        Parameters
        ----------
        batches : iterable
            A data loader, a generator, or a list. All batches have the same namespace, dtype and
            width; none is empty.
        covariance, classes
            As in ``from_samples``.
        progress : bool
            Show a progress bar.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        InvalidInputError
            If there is no batch, or a batch cannot be used; the message gives its position, from 0.

        Examples
        --------
        >>> from fpigauss import ClassStatistics
        >>> batches = [([[0.0], [1.0]], [0, 1]), ([[2.0], [5.0]], [0, 1])]
        >>> ClassStatistics.from_batches(batches).means
        array([[1.],
               [3.]])

        Resume after a fault:

        >>> stream = iter([([[0.0], [1.0]], [0, 1]), ([], []), ([[2.0], [5.0]], [0, 1])])
        >>> try:
        ...     statistics = ClassStatistics.from_batches(stream)
        ... except ValueError as error:
        ...     statistics = error.statistics.merge(ClassStatistics.from_batches(stream))
        >>> statistics.means
        array([[1.],
               [3.]])
        """
        check_statistics_kind(covariance)
        known = None if classes is None else as_classes(classes)
        first = partial(cls._gathered, covariance=covariance, classes=known, in_parts=True)

        def add(total: Self | None, z: Any, y: Any, sample_weight: Any) -> Self:
            if total is None:
                return first(z, y, sample_weight)
            return total.update(z, y, sample_weight)

        return folded(batches, add, progress=progress)

    @classmethod
    def from_dask(
        cls,
        z: Any,
        y: Any,
        *,
        covariance: str = "diagonal",
        classes: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Gather the statistics of a dask array: each chunk where it lives, merged in a tree.

        They are computed by dask's current scheduler: threads, or the workers of a
        ``distributed.Client``. The order of the merges depends only on the chunks. For a progress
        bar, use dask's own, ``dask.diagnostics.ProgressBar``.
        Needs dask, the extra ``dask``.

        Parameters
        ----------
        z : (N, d) dask.array.Array
            Latents. A chunk of rows should fit in a worker's memory; chunks of columns are
            joined first.
        y : (N,) dask.array.Array, dask.dataframe.Series or array-like
            Labels, as in ``from_samples``.
        covariance, classes
            As in ``from_samples``.
        sample_weight : (N,) dask.array.Array, dask.dataframe.Series or array-like, optional
            Repetition weights >= 0.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        InvalidInputError
            If an argument cannot be used; if a chunk is at fault, the message names its first row.
        ImportError
            If dask is not installed.

        Examples
        --------
        >>> import dask.array as da
        >>> from fpigauss import ClassStatistics
        >>> z = da.from_array([[0.0], [1.0], [2.0], [5.0]], chunks=(2, 1))
        >>> ClassStatistics.from_dask(z, [0, 1, 0, 1]).means
        array([[1.],
               [3.]])
        """
        check_statistics_kind(covariance)
        known = None if classes is None else as_classes(classes)
        gather = partial(cls._gathered, covariance=covariance, classes=known, in_parts=True)
        return tree_of(gather, z, y, sample_weight)

    def update(self, z: Any, y: Any, sample_weight: Any = None) -> Self:
        """Add more samples, in a new object.

        Parameters
        ----------
        z, y, sample_weight
            As in ``from_samples``. All weights of a class may be zero here; if that stays so, it is
            an error when solving.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        InvalidInputError
            If an argument cannot be used; these statistics stay as they are.
        """
        rows = as_rows(z)
        check_width(rows, self.dim, "of the statistics")
        part = self._gathered(
            rows,
            y,
            sample_weight,
            covariance=self.covariance,
            classes=self.classes if self.closed else None,
            in_parts=True,
        )
        return self.merge(part)

    @unflagged
    def merge(self, other: Self) -> Self:
        """Merge the statistics of two parts of the data into a new object.

        Parameters
        ----------
        other : ClassStatistics
            Statistics of the same width and kind, and with the same classes if these were given.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        InvalidInputError
            If width, kind or given classes differ, or the merged moments of a class overflow.
        """
        if not isinstance(other, ClassStatistics):
            raise InvalidInputError(
                f"other is a {type(other).__name__}; pass a ClassStatistics, or samples to update"
            )
        if self.covariance != other.covariance:
            raise InvalidInputError(
                f"other has {other.covariance} covariances, but these are {self.covariance}; "
                "gather both with the same covariance="
            )
        if self.dim != other.dim:
            raise InvalidInputError(
                f"other has {other.dim} dimensions, but these have {self.dim}; "
                "merge statistics of the same latent space"
            )
        classes = union(self.classes, other.classes)
        for given in (self, other):
            if given.closed and not np.array_equal(given.classes, classes):
                missing = np.setdiff1d(classes, given.classes)
                raise InvalidInputError(
                    f"other has different classes: {missing[0].item()!r} is not among the given "
                    "ones; gather both with the same classes="
                )
        first, second = self._spread_over(classes), other._spread_over(classes)
        second = ClassMoments(*(cast_like(x, self.means) for x in second))
        total = merged(first, second)
        check_finite_totals(*total, classes=classes, source="the merge of both parts")
        closed = self.closed or other.closed
        return type(self)._of_moments(total, classes, closed=closed)

    # -- files -----------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file, atomically.

        An earlier file keeps its mode, and a link stays a link; other hard links to the file keep
        the earlier contents.

        Parameters
        ----------
        path : path-like
            The format is npz, or safetensors by its ending, as in ``ClassGaussians.save``.
        """
        save_arrays(path, "ClassStatistics", arrays_of(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what ``save`` wrote, as numpy arrays.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        ClassStatistics

        Raises
        ------
        InvalidInputError
            If the file is not one that ``ClassStatistics.save`` wrote.
        """
        arrays = load_arrays(path, "ClassStatistics", FIELDS)
        return cls(**(arrays | {"closed": bool(arrays["closed"])}))

    # -- inside ----------------------------------------------------------------------------

    @classmethod
    @unflagged
    def _gathered(
        cls, z: Any, y: Any, sample_weight: Any, *, covariance: str, classes: Any, in_parts: bool
    ) -> Self:
        """Gather the statistics of one array; ``in_parts`` if others will be merged with them.

        Labels and weights are checked whole before the first latent is read.
        """
        known, moments = gathered(
            z, y, sample_weight, covariance=covariance, classes=classes, in_parts=in_parts
        )
        return cls._of_moments(moments, known, closed=classes is not None)

    @classmethod
    def _of_moments(cls, moments: ClassMoments, classes: Labels, *, closed: bool) -> Self:
        """Make statistics of fresh arrays, which need neither a check nor a copy."""
        statistics = object.__new__(cls)
        fields = {**moments._asdict(), "classes": classes, "closed": closed}
        names = {"count": "counts", "mean": "means", "covariance": "covariances"}
        for name, value in fields.items():
            object.__setattr__(statistics, names.get(name, name), value)
        return statistics

    def _spread_over(self, classes: Labels) -> ClassMoments:
        """Return the fields over ``classes``, with zeros for those that are not among ours."""
        return over(ClassMoments(self.counts, self.means, self.covariances), self.classes, classes)
