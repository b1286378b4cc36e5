"""Tables with a column of embeddings, or a column per dimension, and one of labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError
from fpigauss.latents._arrow import is_list, is_number, labels_of, rows_of_columns, rows_of_lists
from fpigauss.latents._faults import listed_names, missing_name, reading
from fpigauss.latents._source import Batch, Memory, Wanted

__all__ = ["Table", "TableColumn", "TableSource", "column_of_table", "source_of_table"]

_LATENTS, _LABELS = "embedding", "label"
#: Bytes of a label, about those of a short string.
_LABEL_BYTES = 64
#: Columns that pandas writes for an index without a name, and other programs keep.
_INDEX = "__index_level_"


class Table(Protocol):
    """A file of columns, read as record batches."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def n_rows(self) -> int | None:
        """The number of rows, None if only reading tells."""

    @property
    def types(self) -> dict[str, Any]:
        """The columns and their types."""

    @property
    def index(self) -> frozenset[str]:
        """The columns that are the index of a data frame, no data."""

    def memory_of(self, columns: tuple[str, ...]) -> Memory:
        """Return the memory that reading some columns takes, beside that of their arrays."""

    def record_batches(self, latents: list[str], labels: list[str], step: int) -> Iterator[Any]:
        """Yield record batches of some columns, each of at most ``step`` rows."""


@dataclass(frozen=True)
class TableColumn:
    """A column of labels."""

    table: Table
    name: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.path

    @property
    def n_rows(self) -> int | None:
        """The number of labels, None if only reading tells."""
        return self.table.n_rows

    @property
    def memory(self) -> Memory:
        """The memory that reading takes."""
        return self.table.memory_of((self.name,)) + Memory(_LABEL_BYTES)

    def pieces(self, step: int) -> Iterator[Labels]:
        """Yield the labels, at most ``step`` at a time."""
        first = 0
        with reading(self.path):
            for batch in self.table.record_batches([], [self.name], step):
                if batch.num_rows:
                    yield labels_of(batch.column(self.name), self.path, self.name, first)
                first += batch.num_rows
            _check_all_read(self.table, first)


@dataclass(frozen=True)
class TableSource:
    """Columns of latents, and one of labels or None."""

    table: Table
    columns: tuple[str, ...]
    labels: str | None
    dim: int
    dtype: np.dtype[Any]

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.path

    @property
    def n_rows(self) -> int | None:
        """The number of rows, None if only reading tells."""
        return self.table.n_rows

    @property
    def has_labels(self) -> bool:
        """Whether there are labels."""
        return self.labels is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.table.types)

    @property
    def memory(self) -> Memory:
        """The memory that reading takes: lists have levels beside them, columns are copied."""
        row = 2 * self.dim * self.dtype.itemsize + _LABEL_BYTES
        labels = () if self.labels is None else (self.labels,)
        return self.table.memory_of(self.columns + labels) + Memory(row)

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield latents and labels, at most ``step`` rows at a time."""
        first = 0
        labels = [] if self.labels is None else [self.labels]
        with reading(self.path):
            for batch in self.table.record_batches(list(self.columns), labels, step):
                if batch.num_rows:
                    yield self._converted(batch, first)
                first += batch.num_rows
            _check_all_read(self.table, first)

    def _converted(self, batch: Any, first: int) -> Batch:
        rows = rows_of(batch, self.columns, self.dim, self.path, first)
        if self.labels is None:
            return rows, None
        return rows, labels_of(batch.column(self.labels), self.path, self.labels, first)


def _check_all_read(table: Table, n_read: int) -> None:
    """Check that there were as many rows as a table announced: readers end early without a word."""
    if table.n_rows not in {None, n_read}:
        raise InvalidInputError(
            f"{str(table.path)!r} says that it has {table.n_rows} rows, and {n_read} are there: it "
            "is damaged; write it again"
        )


def rows_of(batch: Any, columns: tuple[str, ...], dim: int | None, path: Path, first: int) -> Any:
    """Return the latents of a record batch; ``dim`` is None where it is to be found out."""
    if is_list(batch.schema.field(columns[0]).type):
        return rows_of_lists(batch.column(columns[0]), dim, path, columns[0], first)
    return rows_of_columns([batch.column(c) for c in columns], list(columns), path, first)


def source_of_table(table: Table, z: Wanted, y: str | None, *, alone: bool) -> TableSource:
    """Return the latents and labels of a table; of lists, the first row tells the dimension."""
    labels = _LABELS if y is None else y
    if y is not None and y not in table.types:
        raise missing_name(table.path, "column", y, table.types, "y")
    columns = _columns(table, z, labels)
    found = labels if not alone and labels in table.types else None
    if found in columns:
        raise InvalidInputError(
            f"{str(table.path)!r}: column {found!r} contains the labels, and z names it among the "
            "latents; leave it out there, or name other labels as y="
        )
    if table.n_rows == 0:
        return TableSource(table, columns, found, 0, np.dtype(np.float32))
    kinds = [table.types[name] for name in columns]
    if not is_list(kinds[0]):
        dtype = np.result_type(*(kind.to_pandas_dtype() for kind in kinds))
        return TableSource(table, columns, found, len(columns), dtype)
    with reading(table.path):
        batches = table.record_batches(list(columns), [], 1)
        batch = next(batch for batch in batches if batch.num_rows)
        row = rows_of(batch.slice(0, 1), columns, None, table.path, 0)
    return TableSource(table, columns, found, row.shape[1], row.dtype)


def column_of_table(table: Table, y: str | None) -> TableColumn:
    """Return the labels of a table, by default those of "label" or of its only column."""
    only = next(iter(table.types)) if len(table.types) == 1 else _LABELS
    name = only if y is None else y
    if name not in table.types:
        raise missing_name(table.path, "column", name, table.types, "y")
    return TableColumn(table, name)


def _columns(table: Table, z: Wanted, labels: str) -> tuple[str, ...]:
    """Return the columns of the latents: one of lists, or all of numbers."""
    types = table.types
    if z is None and _LATENTS not in types:
        numbers = tuple(
            name
            for name, kind in types.items()
            if is_number(kind) and name not in {labels, *table.index} and _INDEX not in name
        )
        if numbers:
            return numbers
    names = (z or _LATENTS,) if z is None or isinstance(z, str) else tuple(z)
    if len(set(names)) < len(names):
        raise InvalidInputError(f"z names a column twice, {listed_names(names)}; name each once")
    for name in names:
        if name not in types:
            raise missing_name(table.path, "column", name, types, "z")
        if not (is_number(types[name]) or (is_list(types[name]) and len(names) == 1)):
            raise InvalidInputError(
                f"{str(table.path)!r}: column {name!r} is of type {types[name]}; latents are a "
                "column of lists of numbers, or columns of numbers"
            )
    return names
