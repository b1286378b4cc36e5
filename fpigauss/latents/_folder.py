"""Folders of parts, one after the other in the order of their names."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError
from fpigauss.latents._source import Batch, Column, Memory, Source
from fpigauss.latents._tables import TableSource

__all__ = ["PartsColumn", "PartsSource", "by_name", "in_one_order"]


def by_name(path: Path) -> list[tuple[int, int | str]]:
    """Return the key by which parts are sorted: part_2 comes before part_10."""
    pieces = re.split(r"(\d+)", path.name)
    return [(i % 2, int(piece) if i % 2 else piece) for i, piece in enumerate(pieces)]


def _total(numbers: list[int | None]) -> int | None:
    known = [n for n in numbers if n is not None]
    return sum(known) if len(known) == len(numbers) else None


def _at_once(memories: list[Memory]) -> Memory:
    """Return the memory of the part that takes most; one is read at a time."""
    return Memory(max(m.per_row for m in memories), max(m.held for m in memories))


def in_one_order(folder: Path, parts: Sequence[Source]) -> tuple[Source, ...]:
    """Return parts whose latents are the same columns, in the order of the first part's."""
    tables = [part for part in parts if isinstance(part, TableSource)]
    if not tables:
        return tuple(parts)
    first = tables[0]
    for part in tables:
        ours, theirs = set(part.columns), set(first.columns)
        for name, there, missed in [
            *((name, first, part) for name in first.columns if name not in ours),
            *((name, part, first) for name in part.columns if name not in theirs),
        ]:
            raise InvalidInputError(
                f"{str(folder)!r}: the parts differ in their columns: {name!r} is among the "
                f"latents of {there.path.name!r}, but not of {missed.path.name!r}; put latents of "
                "one kind in a folder, or name the columns that all have as z="
            )
    return tuple(replace(part, columns=first.columns) for part in tables)


@dataclass(frozen=True)
class PartsColumn:
    """The labels of a folder of parts."""

    path: Path
    parts: tuple[Column, ...]

    @property
    def n_rows(self) -> int | None:
        """The number of labels, None if only reading tells."""
        return _total([part.n_rows for part in self.parts])

    @property
    def memory(self) -> Memory:
        """The memory that reading takes."""
        return _at_once([part.memory for part in self.parts])

    def pieces(self, step: int) -> Iterator[Labels]:
        """Yield the labels, at most ``step`` at a time."""
        for part in self.parts:
            yield from part.pieces(step)


@dataclass(frozen=True)
class PartsSource:
    """The latents of a folder of parts, which agree in what they are."""

    path: Path
    parts: tuple[Source, ...]

    def __post_init__(self) -> None:
        """Compare the parts with the first."""
        first = self.parts[0]
        for part in self.parts:
            for what, ours, theirs in [
                ("dimensions", part.dim, first.dim),
                ("dtype", part.dtype, first.dtype),
                ("labels", part.has_labels, first.has_labels),
            ]:
                if ours != theirs:
                    raise InvalidInputError(
                        f"{str(self.path)!r}: the parts differ in their {what}: {ours} in "
                        f"{part.path.name!r}, {theirs} in {first.path.name!r}; put latents of one "
                        "kind in a folder"
                    )

    @property
    def n_rows(self) -> int | None:
        """The number of rows, None if only reading tells."""
        return _total([part.n_rows for part in self.parts])

    @property
    def dim(self) -> int:
        """The number of dimensions d."""
        return self.parts[0].dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the latents."""
        return self.parts[0].dtype

    @property
    def has_labels(self) -> bool:
        """Whether there are labels."""
        return self.parts[0].has_labels

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays or columns of the first part."""
        return self.parts[0].names

    @property
    def memory(self) -> Memory:
        """The memory that reading takes."""
        return _at_once([part.memory for part in self.parts])

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield latents and labels, at most ``step`` rows at a time."""
        for part in self.parts:
            yield from part.batches(step)
