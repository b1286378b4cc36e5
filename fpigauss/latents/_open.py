"""The public call: a file or a folder in, batches of latents and labels out."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fpigauss._array.checks import check_positive_integer
from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError
from fpigauss.latents._faults import checked_path
from fpigauss.latents._formats import column_of, source_of
from fpigauss.latents._source import Paired, Source, Wanted

__all__ = ["Latents", "open_latents"]

#: A batch takes this part of the memory; what is made of it takes more.
_SHARE = 4
#: Bytes that reading a batch takes, beyond which no statistics are gathered faster.
_LARGEST_BATCH = 2**25


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents and labels in a file or a folder, read anew in batches by every iteration.

    Made by :func:`open_latents`. Iterating yields ``(z, y)``: numpy arrays (n, d) and (n,), ``y``
    being None without labels. Arrays may be views of a file, which cannot be written to.

    Attributes
    ----------
    path : pathlib.Path
        The file or folder of the latents.
    n_rows : int or None
        The number of rows; None where only reading tells (csv).
    dim : int
        The number of dimensions d.
    has_labels : bool
        Whether batches have labels.
    names : tuple of str
        The arrays or columns that lie there.
    batch_size : int
        The most rows of a batch.

    See Also
    --------
    open_latents : gives them.
    ClassStatistics.from_batches : takes them.
    """

    path: Path
    n_rows: int | None
    dim: int
    has_labels: bool
    names: tuple[str, ...] = field(repr=False)
    batch_size: int
    _source: Source = field(repr=False)

    def __iter__(self) -> Iterator[tuple[Any, Labels | None]]:
        """Read the batches from the first."""
        return self._source.batches(self.batch_size)


def open_latents(
    path: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    *,
    z: str | Sequence[str] | None = None,
    y: str | None = None,
    batch_size: int | None = None,
    memory_limit: int = 2**30,
) -> Latents:
    """Open latents, and their labels, in a file or a folder, to be read in batches.

    Nothing is read yet but names, shapes and types. The formats, by the ending of a file's name:

    ``.npy``
        one array, mapped; its labels are another file, ``labels``;
    ``.npz``
        arrays by name, streamed out of the archive, compressed or not;
    ``.parquet``, ``.csv``, ``.tsv``, ``.csv.gz``, ``.tsv.gz``
        columns by name;
    ``.safetensors``
        tensors by name;
    ``.pt``, ``.pth``
        a dict of tensors that ``torch.save`` wrote, mapped;
    a folder
        a zarr store, of format 2 or 3; or a pair ``z.npy`` and ``y.npy``; or parts of one of the
        formats above, in the order of their names, ``part_2`` before ``part_10``.

    Parquet, csv, safetensors and zarr need the extra ``cli``, pt needs ``torch``. Nothing is
    unpickled but the tensors of pt.

    Parameters
    ----------
    path : str or os.PathLike
        The file or folder of the latents, on this machine.
    labels : str or os.PathLike, optional
        A file or folder of the labels, if these lie elsewhere: of any format, one per row of the
        latents and in their order.
    z : str or sequence of str, optional
        The array or column of the latents, or several columns of numbers. By default the array
        "z"; the column "embedding", of lists of numbers, or if there is none all columns of numbers
        but that of the labels (and row names that pandas or R wrote).
    y : str, optional
        The array or column of the labels, in ``labels`` if that is given. By default the array "y"
        or the column "label", if there is one; in ``labels``, also the only one there is.
    batch_size : int, optional
        The most rows of a batch. By default, as many as 32 MiB allow.
    memory_limit : int
        Bytes that reading may take. Batches are made smaller where they would exceed it.

    Returns
    -------
    Latents

    Raises
    ------
    InvalidInputError
        If there is no such file, array or column (the message lists those that are there), a file
        is damaged or cut short, shapes disagree, or the memory is too small. What only reading can
        tell, such as a missing entry, is raised while iterating.
    ImportError
        If the package that reads the format is not installed; the message names the extra.

    See Also
    --------
    ClassStatistics.from_batches : gather statistics of what it reads.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fpigauss import ClassStatistics, open_latents
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "latents.npz"
    >>> np.savez(path, z=[[0.0, 0.0], [2.0, 2.0], [5.0, 7.0]], y=["a", "a", "b"])
    >>> latents = open_latents(path)
    >>> latents.n_rows, latents.dim, latents.has_labels
    (3, 2, True)
    >>> ClassStatistics.from_batches(latents).means
    array([[1., 1.],
           [5., 7.]])
    >>> [z.shape for z, y in open_latents(path, batch_size=2)]
    [(2, 2), (1, 2)]
    >>> folder.cleanup()
    """
    most = check_positive_integer(memory_limit, "memory_limit")
    wanted = None if batch_size is None else check_positive_integer(batch_size, "batch_size")
    _check_names(z, y)
    place = checked_path(path, "path")
    if labels is None:
        source = source_of(place, z, y)
    else:
        beside = checked_path(labels, "labels")
        column = column_of(beside, y)
        if beside.samefile(place):  # the labels are not latents there, whatever their name
            source = source_of(place, z, y)
        else:
            _check_not_a_part(place, beside, z, y)
            source = Paired(source_of(place, z, None, alone=True), column)
    if source.n_rows == 0 or source.dim == 0:
        what = "rows" if source.n_rows == 0 else "dimensions"
        raise InvalidInputError(f"{str(place)!r} has 0 {what}; pass a file with data")
    return Latents(
        place,
        source.n_rows,
        source.dim,
        source.has_labels,
        source.names,
        _batch_size(source, wanted, most),
        source,
    )


def _check_not_a_part(place: Path, beside: Path, z: Wanted, y: str | None) -> None:
    """Raise if latents and labels lie in both places under the same names, as in parts of a set.

    The labels of one part are not those of the rows of another, and lengths are often the same.
    """
    try:
        own, other = (source_of(path, z, y) for path in (place, beside))
    except (InvalidInputError, ImportError):
        return
    alike = len(own.names) > 1 and set(own.names) == set(other.names)
    if alike and own.has_labels and other.has_labels:
        raise InvalidInputError(
            f"labels {str(beside)!r} contains latents too, like {str(place)!r}, which has labels "
            "of its own: these are two parts of a data set; pass the folder of all parts, or "
            "gather statistics of each and merge them"
        )


def _check_names(z: object, y: object) -> None:
    several = isinstance(z, Sequence) and len(z) > 0 and all(isinstance(name, str) for name in z)
    if not (z is None or several):
        raise InvalidInputError(f"z is {z!r}; pass the name of an array or column, or of several")
    if not (y is None or isinstance(y, str)):
        raise InvalidInputError(f"y is {y!r}; pass the name of an array or column")


def _batch_size(source: Source, wanted: int | None, most: int) -> int:
    """Return the most rows of a batch that the memory allows."""
    memory = source.memory
    if memory.held + memory.per_row > most:
        raise InvalidInputError(
            f"memory_limit is {most} bytes, and reading {str(source.path)!r} takes at least "
            f"{memory.held + memory.per_row} at once; raise memory_limit, or write the file by "
            "rows, in smaller chunks or row groups, or with the latents in one column"
        )
    allowed = max(1, (most - memory.held) // _SHARE // memory.per_row)
    if wanted is not None:
        return min(wanted, allowed)
    return min(allowed, max(1, _LARGEST_BATCH // memory.per_row))
