"""What the fixed point needs to know of the data: counts, means and covariances of the classes.

Gathered in one pass, merged in any order, safe far from the origin.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from fpigauss._arrays import (
    as_floating,
    cast_like,
    detached,
    device_of,
    namespace,
    to_numpy,
    working_dtype,
)
from fpigauss._batches import folded
from fpigauss._blocks import blocks
from fpigauss._dask import tree_of
from fpigauss._errors import InvalidInputError
from fpigauss._io import load_arrays, save_arrays
from fpigauss._labels import as_classes, as_labels, codes_of, grouped, union
from fpigauss._linalg import symmetrised
from fpigauss._rows import as_rows, kind_of, row_chunks
from fpigauss._typing import Array, Labels
from fpigauss._validation import (
    check_class_weights,
    check_classes,
    check_finite_sums,
    check_sample_weight,
    check_samples,
    check_statistics_kind,
    check_statistics_values,
    check_width,
)

__all__ = ["ClassStatistics"]

#: Bytes of samples that are gathered at a time: they should stay in a core's cache.
_PIECE_BYTES = 2**18
_PIECE_ROWS = 64


class _Moments(NamedTuple):
    """Sum of weights, mean and mean outer product about the mean, of a part of the data."""

    count: Array
    mean: Array
    covariance: Array


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    r"""Counts, means and covariances of labelled latents, a class each.

    The covariances are divided by N_y (not N_y - 1), as the balanced likelihood of Eqs. 5 and 7
    asks. A frozen value: ``update`` and ``merge`` give new ones. Statistics are held in float64
    where the device has it, whatever the dtype of the latents, so that merging loses nothing.

    Parameters
    ----------
    counts : (K,) array
        Samples a class, or sums of their weights.
    means : (K, d) array
        Class means.
    covariances : (K, d) or (K, d, d) array
        Class variances ("diagonal" statistics) or covariance matrices ("dense" ones).
    classes : (K,) array-like
        The labels, integers or strings, in ascending order.

    Raises
    ------
    InvalidInputError
        If shapes disagree, a value is not finite, a count or a variance is negative, or
        ``classes`` are not distinct and ascending.

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

    def __post_init__(self) -> None:
        """Check and unify the fields."""
        means = detached(as_floating(self.means, "means"))
        xp = namespace(means)
        means = xp.astype(means, working_dtype(means), copy=True)  # frozen: nobody else's array
        counts = cast_like(detached(as_floating(self.counts, "counts")), means)
        covariances = cast_like(detached(as_floating(self.covariances, "covariances")), means)
        counts, covariances = (xp.astype(x, x.dtype, copy=True) for x in (counts, covariances))
        classes = as_labels(self.classes, "classes")
        check_classes(classes)
        check_statistics_values(counts, means, covariances, classes)
        for name, value in [
            ("counts", counts),
            ("means", means),
            ("covariances", covariances),
            ("classes", classes),
        ]:
            object.__setattr__(self, name, value)

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
        """The statistics of one array of latents, in one pass.

        The array may be larger than memory: a numpy memmap, or a store that is sliced like an
        array (zarr, h5py), is read a chunk of rows at a time, in multiples of its own chunks.

        Parameters
        ----------
        z : (N, d) array
            Latents, of any namespace, mapped from a file or in a store; gradients are not tracked.
        y : (N,) array-like
            Labels: integers, strings, or floats with integral values.
        covariance : {"diagonal", "dense"}
            Whether variances or full covariance matrices are gathered.
        classes : (K,) array-like, optional
            All classes, in any order; a label outside them is an error, and one without
            samples is an error only when solving. By default, the labels that occur.
        sample_weight : (N,) array-like, optional
            Repetition weights >= 0: a row of weight 2 counts as two rows.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        InvalidInputError
            If an argument cannot be used; the message says which and what to do.

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
        """The statistics of a stream of batches, each ``(z, y)`` or ``(z, y, sample_weight)``.

        Whatever ends the stream early, a batch that cannot be used, an exception of the iterator
        or an interrupt from the keyboard, is raised with the statistics of the batches before it
        as its attribute ``statistics`` (None if there were none). They can be saved, updated, and
        merged with those of the batches that follow.

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
            If there is no batch, or a batch cannot be used (its position, from 0, is named).

        Examples
        --------
        >>> from fpigauss import ClassStatistics
        >>> batches = [([[0.0], [1.0]], [0, 1]), ([[2.0], [5.0]], [0, 1])]
        >>> ClassStatistics.from_batches(batches).means
        array([[1.],
               [3.]])

        Going on after a fault:

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
        """The statistics of a dask array, gathered where its chunks are, and merged in a tree.

        Computed by dask's current scheduler: threads, or the workers of a ``distributed.Client``.
        The order of the merges depends on the chunks only. A progress bar is dask's own,
        ``dask.diagnostics.ProgressBar``. Needs ``pip install "fpigauss[dask]"``.

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
            If an argument cannot be used; where a chunk is at fault, its first row is named.
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
        """These statistics and those of more samples, as a new object.

        Parameters
        ----------
        z, y, sample_weight
            As in ``from_samples``. All weights of a class may be zero here: a class for which that
            stays so is an error when solving.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        InvalidInputError
            If an argument cannot be used; these statistics stay as they are.
        """
        rows = as_rows(z)
        check_width(rows, self.dim, "that the statistics are of")
        part = self._gathered(
            rows,
            y,
            sample_weight,
            covariance=self.covariance,
            classes=self.classes if self.closed else None,
            in_parts=True,
        )
        return self.merge(part)

    def merge(self, other: Self) -> Self:
        """The statistics of two parts of the data together, as a new object.

        Parameters
        ----------
        other : ClassStatistics
            Of the same width and kind, and with the same classes if these were given.

        Returns
        -------
        ClassStatistics

        Raises
        ------
        InvalidInputError
            If width, kind or given classes differ.
        """
        if not isinstance(other, ClassStatistics):
            raise InvalidInputError(
                f"other is a {type(other).__name__}; merge takes ClassStatistics, "
                "use update for samples"
            )
        if self.covariance != other.covariance:
            raise InvalidInputError(
                f"other holds {other.covariance} covariances, these are {self.covariance}; "
                "gather both with the same covariance="
            )
        if self.dim != other.dim:
            raise InvalidInputError(
                f"other has {other.dim} dimensions, these have {self.dim}; "
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
        second = _Moments(*(cast_like(x, self.means) for x in second))
        merged = _merged(first, second)
        return type(self)(*merged, classes=classes, closed=self.closed or other.closed)

    # -- files -----------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file (npz), atomically.

        Parameters
        ----------
        path : path-like
        """
        save_arrays(
            path,
            "ClassStatistics",
            {
                "counts": to_numpy(self.counts),
                "means": to_numpy(self.means),
                "covariances": to_numpy(self.covariances),
                "classes": self.classes,
                "closed": np.asarray(self.closed),
            },
        )

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
        arrays = load_arrays(path, "ClassStatistics")
        try:
            return cls(**(arrays | {"closed": bool(arrays["closed"])}))
        except (KeyError, TypeError) as error:
            raise InvalidInputError(
                f"path {os.fspath(path)!r} is not a whole file of ClassStatistics ({error})"
            ) from None

    # -- inside ----------------------------------------------------------------------------

    @classmethod
    def _gathered(
        cls, z: Any, y: Any, sample_weight: Any, *, covariance: str, classes: Any, in_parts: bool
    ) -> Self:
        """The statistics of one array; ``in_parts`` if others will be merged with them.

        Labels and weights are checked whole before the first latent is read.
        """
        check_statistics_kind(covariance)
        rows = as_rows(z)
        labels = as_labels(y)
        check_samples(rows, labels)
        known = np.unique(labels) if classes is None else as_classes(classes)
        codes = codes_of(labels, known)
        weights: Array | None = None
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, labels.shape[0])
            if not in_parts:
                check_class_weights(weights, labels)
            kind = kind_of(rows)
            weights = cast_like(weights, namespace(kind).astype(kind[:, 0], working_dtype(kind)))
        total: _Moments | None = None
        for place, chunk in row_chunks(rows):
            parts = {
                code: _class_moments(
                    chunk,
                    members,
                    None if weights is None else weights[place],
                    dense=covariance == "dense",
                )
                for code, members in grouped(codes[place])
            }
            moments = _assembled(parts, known.shape[0])
            check_finite_sums(chunk, moments.mean, moments.covariance, first_row=place.start)
            total = moments if total is None else _merged(total, moments)
        assert total is not None  # check_samples leaves a row
        return cls(*total, classes=known, closed=classes is not None)

    def _spread_over(self, classes: Labels) -> _Moments:
        """The fields with a row of zeros for each of ``classes`` that is not among ours."""
        moments = _Moments(self.counts, self.means, self.covariances)
        if np.array_equal(classes, self.classes):
            return moments
        xp = namespace(self.means)
        position = np.searchsorted(self.classes, classes)
        found = self.classes[np.minimum(position, self.n_classes - 1)] == classes
        index = xp.asarray(np.where(found, position, self.n_classes), device=device_of(self.means))
        padded = (xp.concat([x, xp.zeros_like(x[:1, ...])]) for x in moments)
        return _Moments(*(xp.take(x, index, axis=0) for x in padded))


def _class_moments(z: Array, rows: Any, weights: Array | None, *, dense: bool) -> _Moments:
    """The moments of the rows of one class, gathered and centred a piece at a time."""
    xp = namespace(z)
    dtype = working_dtype(z)
    total: _Moments | None = None
    index = xp.asarray(rows, device=device_of(z))
    piece_rows = max(_PIECE_ROWS, _PIECE_BYTES // (8 * z.shape[1]))
    for piece in blocks(rows.shape[0], 1, piece_rows):
        x = xp.astype(xp.take(z, index[piece], axis=0), dtype, copy=False)  # (n, d)
        w = xp.ones_like(x[:, 0]) if weights is None else xp.take(weights, index[piece])
        part = _piece_moments(x, w, dense=dense)
        total = part if total is None else _merged(total, part)
    assert total is not None  # a class in ``grouped`` has a row
    return total


def _piece_moments(x: Array, w: Array, *, dense: bool) -> _Moments:
    """The moments of ``x`` (n, d) with weights ``w`` (n,): a row without weight adds nothing."""
    xp = namespace(x)
    count = xp.sum(w)
    scale = xp.where(count > 0.0, count, xp.ones_like(count))
    with np.errstate(invalid="ignore", over="ignore"):  # found by check_finite_sums
        mean = (w @ x) / scale
        centred = x - mean
        weighted = centred * w[:, None]
        if dense:
            covariance = symmetrised(xp.matrix_transpose(weighted) @ centred) / scale
        else:
            covariance = xp.sum(weighted * centred, axis=0) / scale
    return _Moments(count, mean, covariance)


def _merged(a: _Moments, b: _Moments) -> _Moments:
    """The moments of two parts (Chan, Golub & LeVeque 1983); counts () or (K,)."""
    xp = namespace(a.mean)
    count = a.count + b.count
    scale = xp.where(count > 0.0, count, xp.ones_like(count))
    with np.errstate(invalid="ignore", over="ignore"):
        kept, share = (a.count / scale)[..., None], (b.count / scale)[..., None]
        difference = b.mean - a.mean
        mean = a.mean + difference * share
        spread = difference * kept * share
        if a.covariance.ndim > a.mean.ndim:
            kept, share = kept[..., None], share[..., None]
            between = symmetrised(spread[..., :, None] * difference[..., None, :])
        else:
            between = spread * difference
        covariance = a.covariance * kept + b.covariance * share + between
    return _Moments(count, mean, covariance)


def _assembled(parts: dict[int, _Moments], n_classes: int) -> _Moments:
    """One array a field, with zeros for the classes without samples."""
    some = next(iter(parts.values()))
    xp = namespace(some.mean)
    empty = _Moments(*(xp.zeros_like(x) for x in some))
    ordered = [parts.get(code, empty) for code in range(n_classes)]
    return _Moments(*(xp.stack(list(column)) for column in zip(*ordered, strict=True)))
