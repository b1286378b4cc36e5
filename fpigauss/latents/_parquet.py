"""Parquet files, read page by page, whatever the size of their row groups."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fpigauss.latents._faults import imported, reading
from fpigauss.latents._source import Memory

__all__ = ["ParquetTable", "parquet_table"]

#: Bytes of a column's pages that are read at a time; else a whole row group is.
_BUFFER_BYTES = 2**20
#: Row groups whose sizes are looked at.
_LOOK_GROUPS = 4


@dataclass(frozen=True)
class ParquetTable:
    """A parquet file."""

    path: Path
    n_rows: int
    types: dict[str, Any] = field(repr=False)
    #: Bytes of the largest chunk of each column.
    chunk_bytes: dict[str, int] = field(repr=False)

    def memory_of(self, columns: tuple[str, ...]) -> Memory:
        """Return the memory that reading takes: a buffer and a page per column."""
        return Memory(0, sum(min(2 * _BUFFER_BYTES, self.chunk_bytes[c]) for c in columns))

    def record_batches(self, latents: list[str], labels: list[str], step: int) -> Iterator[Any]:
        """Yield record batches of some columns, each of at most ``step`` rows."""
        columns = [*latents, *labels]
        with _opened(self.path) as file:
            yield from file.iter_batches(batch_size=step, columns=columns, use_threads=False)


def _opened(path: Path) -> Any:
    parquet = imported("pyarrow.parquet", "parquet")
    # without pre_buffer, which keeps the pages of a row group that have been read
    return parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)


def parquet_table(path: Path) -> ParquetTable:
    """Return the table of a parquet file."""
    with reading(path), _opened(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        types = dict(zip(schema.names, schema.types, strict=True))
        chunk_bytes = dict.fromkeys(types, 0)
        for i in range(min(metadata.num_row_groups, _LOOK_GROUPS)):
            group = metadata.row_group(i)
            for j in range(group.num_columns):
                chunk = group.column(j)
                name = chunk.path_in_schema
                name = name if name in types else name.partition(".")[0]
                if name in types:
                    size = chunk.total_uncompressed_size
                    chunk_bytes[name] = max(chunk_bytes[name], size)
        return ParquetTable(path, metadata.num_rows, types, chunk_bytes)
