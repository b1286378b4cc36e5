"""Parquet files, read page by page, whatever the size of their row groups."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fpigauss.errors import InvalidInputError
from fpigauss.latents._faults import imported, reading
from fpigauss.latents._source import Memory

__all__ = ["ParquetTable", "parquet_table"]

#: Bytes of a page, as most writers make them, and of a dictionary, decoded.
_PAGES = 2 * 2**20
#: Row groups whose sizes are looked at.
_LOOK_GROUPS = 4


@dataclass(frozen=True)
class ParquetTable:
    """A parquet file."""

    path: Path
    n_rows: int
    types: dict[str, Any] = field(repr=False)
    #: Columns that are the index of a data frame.
    index: frozenset[str] = field(repr=False)
    #: Bytes of the largest row group, decompressed, of those that are looked at.
    group_bytes: int

    def memory_of(self, columns: tuple[str, ...]) -> Memory:
        """Return the memory that reading takes: a buffer and a page per column."""
        buffers = len(columns) * _buffer_bytes(len(columns))
        return Memory(0, buffers + min(len(columns) * _PAGES, 3 * self.group_bytes // 2))

    def record_batches(self, latents: list[str], labels: list[str], step: int) -> Iterator[Any]:
        """Yield record batches of some columns, each of at most ``step`` rows."""
        columns = [*latents, *labels]
        with _opened(self.path, _buffer_bytes(len(columns))) as file:
            yield from file.iter_batches(batch_size=step, columns=columns, use_threads=False)


def _buffer_bytes(n_columns: int) -> int:
    """Return the bytes of each column that are read ahead; else a whole row group is."""
    return max(2**14, min(2**18, 2**23 // n_columns))


def _opened(path: Path, buffer_bytes: int = 2**16) -> Any:
    parquet = imported("pyarrow.parquet", "parquet")
    # without pre_buffer, which keeps the pages of a row group that have been read
    return parquet.ParquetFile(path, buffer_size=buffer_bytes, pre_buffer=False)


def parquet_table(path: Path) -> ParquetTable:
    """Return the table of a parquet file."""
    with reading(path), _opened(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        types = dict(zip(schema.names, schema.types, strict=True))
        if len(types) < len(schema.names):
            raise InvalidInputError(
                f"{str(path)!r} has several columns of one name; give each a name of its own"
            )
        if metadata.num_rows < 0:
            raise ValueError(f"its metadata say {metadata.num_rows} rows")
        # of row groups only: pyarrow ends the process where the metadata of a column are damaged
        groups = range(min(metadata.num_row_groups, _LOOK_GROUPS))
        sizes = [metadata.row_group(i).total_byte_size for i in groups]
        index = _index_of(schema.metadata or {})
        return ParquetTable(path, metadata.num_rows, types, index, max([0, *sizes]))


def _index_of(metadata: Mapping[bytes, bytes]) -> frozenset[str]:
    """Return the columns that pandas has written for an index with names, which may be any."""
    try:
        found = json.loads(metadata.get(b"pandas", b"{}"))["index_columns"]
        return frozenset(name for name in found if isinstance(name, str))
    except (ValueError, KeyError, TypeError):  # of another program, or damaged
        return frozenset()
