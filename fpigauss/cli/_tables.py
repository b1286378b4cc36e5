"""Rows written batch by batch: parquet, csv or npy by the ending of a path, or lines on stdout."""

import csv
import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np

from fpigauss._array.files import replaced
from fpigauss.cli._session import Session, plain
from fpigauss.errors import InvalidInputError
from fpigauss.latents._csv_labels import MISSING

__all__ = ["TABLES", "Columns", "Table", "opened_table", "writing"]

#: Columns (n,) or (n, d) by name.
Columns: TypeAlias = Mapping[str, np.ndarray[Any, Any]]

TABLES = (".parquet", ".csv", ".npy")


class Table(Protocol):
    """What rows are written to."""

    def write(self, columns: Columns) -> None:
        """Write a batch; the first one tells names and types."""

    def close(self) -> None:
        """Write what comes at the end."""

    def let_go(self) -> None:
        """Leave the file alone, also where writing has failed: whoever opened it closes it."""


@contextmanager
def writing(out: str) -> Iterator[None]:
    """Tell which file did not fit on its disk; nothing of it is left."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in (None, errno.EPIPE):
            raise OSError(error.errno, os.strerror(error.errno), out) from error
        raise


@contextmanager
def opened_table(out: str | None, session: Session, *, array: str) -> Iterator[Table]:
    """Open a table that takes the place of ``out`` at the end, or one on stdout without it.

    Of the columns, a file of npy has only the one that is named ``array``.
    """
    if out is None:
        table: Table = _Lines() if session.json else _Csv(sys.stdout)
        yield table
        table.close()
        return
    with writing(out), replaced(out) as file:
        table = _table_of(Path(out).suffix.lower(), file, array)
        try:
            yield table
            table.close()
        finally:
            table.let_go()
    if isinstance(table, _Npy) and table.left_out:
        session.note(
            f"{out} is one array, without {', '.join(table.left_out)}; .csv and .parquet have all"
        )


def _table_of(ending: str, file: BinaryIO, array: str) -> Table:
    if ending == ".parquet":
        return _Parquet(file)
    if ending == ".csv":
        return _Csv(io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True))
    return _Npy(file, array)


def _split(columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
    """Return columns (n,) only: those (n, d) become d of them."""
    parts: dict[str, np.ndarray[Any, Any]] = {}
    for name, values in columns.items():
        if values.ndim == 1:
            parts[name] = values
        else:
            parts |= {f"{name}_{j}": values[:, j] for j in range(values.shape[1])}
    return parts


def _needs_quotes(text: str) -> bool:
    """Say whether a label needs quotes where the writer leaves them out."""
    return text in MISSING or "\r" in text


class _Csv:
    """Lines of comma-separated values, after a header.

    Labels such as "NA" are in quotes, without which they are missing to those who read them, and so
    are labels with a carriage return, without which they are two lines.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._writer: Any = None
        self._quoting = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")

    def write(self, columns: Columns) -> None:
        parts = _split(columns)
        if self._writer is None:
            self._writer = csv.writer(self._stream, lineterminator="\n")
            self._writer.writerow(parts)
        rows = zip(*(part.tolist() for part in parts.values()), strict=True)
        texts = [part for part in parts.values() if part.dtype.kind == "U"]
        quoted = {
            text for part in texts for text in np.unique(part).tolist() if _needs_quotes(text)
        }
        if not quoted:
            self._writer.writerows(rows)
            return
        for row in rows:
            writer = self._writer if quoted.isdisjoint(row) else self._quoting
            writer.writerow(row)

    def close(self) -> None:
        self._stream.flush()

    def let_go(self) -> None:
        self._stream.detach()


class _Lines:
    """An object of JSON per row, on stdout."""

    def write(self, columns: Columns) -> None:
        names = list(columns)
        for row in zip(*(plain(column) for column in columns.values()), strict=True):
            sys.stdout.write(json.dumps(dict(zip(names, row, strict=True))) + "\n")

    def close(self) -> None:
        sys.stdout.flush()

    def let_go(self) -> None:
        pass


class _Npy:
    """An array, whose length is written into its header at the end."""

    def __init__(self, file: BinaryIO, array: str) -> None:
        self._file, self._array = file, array
        self._header: dict[str, Any] = {}
        self._n_rows = 0
        self.left_out: list[str] = []

    def write(self, columns: Columns) -> None:
        values = np.ascontiguousarray(columns[self._array])
        self.left_out = [name for name in columns if name != self._array]
        if not self._header:
            self._header = np.lib.format.header_data_from_array_1_0(values)
            self._start = self._written_header()
        self._file.write(values.tobytes())
        self._n_rows += len(values)

    def close(self) -> None:
        if self._header and self._written_header() != self._start:
            raise AssertionError("the header has grown")  # numpy leaves room for any length
        self._file.seek(0, io.SEEK_END)

    def let_go(self) -> None:
        pass

    def _written_header(self) -> int:
        shape = (self._n_rows, *self._header["shape"][1:])
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, self._header | {"shape": shape})
        return self._file.tell()


class _Parquet:
    """Columns of parquet; those (n, d) are lists of fixed length."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ModuleNotFoundError as error:
            raise InvalidInputError(
                'writing parquet needs pyarrow: pip install "fpigauss[cli]"; or pass an --out that '
                "ends in .csv"
            ) from error
        self._pa, self._file = pyarrow, file
        self._writer: Any = None

    def write(self, columns: Columns) -> None:
        pa = self._pa
        arrays = {name: self._converted(values) for name, values in columns.items()}
        table = pa.table(arrays)
        if self._writer is None:
            self._writer = pa.parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def _converted(self, values: np.ndarray[Any, Any]) -> Any:
        if values.ndim == 1:
            return self._pa.array(values)
        flat = self._pa.array(np.ascontiguousarray(values).reshape(-1))
        return self._pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def let_go(self) -> None:
        if self._writer is not None:
            with suppress(OSError, ValueError):  # the first failure is the one to tell
                self._writer.close()
