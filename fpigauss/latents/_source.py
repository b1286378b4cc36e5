"""What every format gives: rows with their labels, and labels alone, a piece at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError

__all__ = [
    "Batch",
    "Column",
    "Feed",
    "Memory",
    "Paired",
    "Rows",
    "Source",
    "Wanted",
    "check_lengths",
    "length_error",
]

Rows = np.ndarray[Any, np.dtype[Any]]
Batch = tuple[Rows, Labels | None]

#: The array or the column of the latents that is asked for, or several columns.
Wanted = str | Sequence[str] | None


@dataclass(frozen=True)
class Memory:
    """Bytes that reading takes: for each row of a batch, and held however few these are."""

    per_row: int
    held: int = 0

    def __add__(self, other: "Memory") -> "Memory":
        """Return the memory of two readings at once."""
        return Memory(self.per_row + other.per_row, self.held + other.held)


class Source(Protocol):
    """Latents in a file or a folder, and their labels if these lie in the same place."""

    @property
    def path(self) -> Path:
        """The file or the folder."""

    @property
    def n_rows(self) -> int | None:
        """The number of rows, None if only reading tells."""

    @property
    def dim(self) -> int:
        """The number of dimensions d."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the latents."""

    @property
    def has_labels(self) -> bool:
        """Whether there are labels beside the latents."""

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays or columns that are there."""

    @property
    def memory(self) -> Memory:
        """The memory that reading takes."""

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield (n, d) latents and their (n,) labels or None, with 1 <= n <= ``step``."""


class Column(Protocol):
    """Labels in a file or a folder of their own."""

    @property
    def path(self) -> Path:
        """The file or the folder."""

    @property
    def n_rows(self) -> int | None:
        """The number of labels, None if only reading tells."""

    @property
    def memory(self) -> Memory:
        """The memory that reading takes."""

    def pieces(self, step: int) -> Iterator[Labels]:
        """Yield (n,) labels with 1 <= n <= ``step``."""


@dataclass(frozen=True)
class Paired:
    """Latents and the labels of another file, row by row."""

    latents: Source
    labels: Column
    has_labels = True

    def __post_init__(self) -> None:
        """Compare the lengths, where both are known before anything is read."""
        check_lengths(self.latents, self.labels)

    @property
    def path(self) -> Path:
        """The file of the latents."""
        return self.latents.path

    @property
    def n_rows(self) -> int | None:
        """The number of rows, as either file tells it."""
        return self.labels.n_rows if self.latents.n_rows is None else self.latents.n_rows

    @property
    def dim(self) -> int:
        """The number of dimensions d."""
        return self.latents.dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the latents."""
        return self.latents.dtype

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays or columns beside the latents."""
        return self.latents.names

    @property
    def memory(self) -> Memory:
        """The memory of both; a second piece of labels may wait."""
        labels = self.labels.memory
        return self.latents.memory + labels + Memory(labels.per_row)

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield latents as they come, each with as many labels."""
        feed = Feed(self.labels.pieces(step))
        n_rows = 0
        for z, _ in self.latents.batches(step):
            y = feed.take(len(z))
            if len(y) < len(z):
                raise length_error(self.labels.path, n_rows + len(y), self.path, None)
            n_rows += len(z)
            yield z, y
        if len(feed.take(1)):
            raise length_error(self.labels.path, None, self.path, n_rows)


class Feed:
    """Labels that come in pieces, handed out in pieces of other lengths."""

    def __init__(self, pieces: Iterator[Labels]):
        self._pieces = pieces
        self._waiting: Labels = np.empty(0, dtype=np.int64)

    def take(self, n: int) -> Labels:
        """Return the next ``n`` labels, or as many as there are."""
        found: list[Labels] = []
        while n > 0:
            if not len(self._waiting):
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._waiting = piece
            found.append(self._waiting[:n])
            self._waiting = self._waiting[n:]
            n -= len(found[-1])
        return found[0] if len(found) == 1 else np.concatenate([self._waiting[:0], *found])


def check_lengths(latents: Source, labels: Column) -> None:
    """Check that there are as many labels as rows, if both numbers are known."""
    n_rows, n_labels = latents.n_rows, labels.n_rows
    if n_rows is not None and n_labels is not None and n_rows != n_labels:
        raise length_error(labels.path, n_labels, latents.path, n_rows)


def length_error(
    labels: Path, n_labels: int | None, latents: Path, n_rows: int | None
) -> InvalidInputError:
    """Say that labels and rows differ in number; a number that is None is the larger one."""
    has = f"more than {n_rows}" if n_labels is None else f"{n_labels}"
    needs = f"more than {n_labels}" if n_rows is None else f"{n_rows}"
    return InvalidInputError(
        f"labels {str(labels)!r} has {has} rows and path {str(latents)!r} {needs}; pass the labels "
        "of these latents, one per row and in their order (of a csv file, the first line is a "
        "header)"
    )
