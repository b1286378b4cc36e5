"""The public call: a file or a folder in, batches of latents and labels out."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fpigauss._array.checks import check_positive_integer
from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError
from fpigauss.latents._faults import checked_path
from fpigauss.latents._formats import column_of, source_of
from fpigauss.latents._source import Paired, Source

__all__ = ["Latents", "open_latents"]

#: A batch takes this part of the memory; what is made of it takes more.
_SHARE = 4
#: Bytes of a batch beyond which none is read faster.
_LARGEST_BATCH = 2**24


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
    z: str | None = None,
    y: str | None = None,
    batch_size: int | None = None,
    memory_limit: int = 2**30,
) -> Latents:
    """Open latents, and their labels, in a file or a folder, to be read in batches."""
    most = check_positive_integer(memory_limit, "memory_limit")
    wanted = None if batch_size is None else check_positive_integer(batch_size, "batch_size")
    place = checked_path(path, "path")
    if labels is None:
        source = source_of(place, z, y)
    else:
        column = column_of(checked_path(labels, "labels"), y)
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


def _batch_size(source: Source, wanted: int | None, most: int) -> int:
    """Return the most rows of a batch that the memory allows."""
    memory = source.memory
    if memory.held + memory.per_row > most:
        raise InvalidInputError(
            f"memory_limit is {most} bytes, and reading {str(source.path)!r} takes at least "
            f"{memory.held + memory.per_row} at once; raise memory_limit, or write the file by "
            "rows and in smaller chunks"
        )
    allowed = max(1, (most - memory.held) // _SHARE // memory.per_row)
    if wanted is not None:
        return min(wanted, allowed)
    return min(allowed, max(1, _LARGEST_BATCH // memory.per_row))
