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


@dataclass(frozen=True)
class ParquetTable:
    """A parquet file."""

    path: Path
    n_rows: int
    types: dict[str, Any] = field(repr=False)
    page_bytes: int

    @property
    def memory(self) -> Memory:
        """The memory that reading takes: a page per column."""
        return Memory(0, self.page_bytes)

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
    with reading(path, "write it again"), _opened(path) as file:
        schema = file.schema_arrow
        types = dict(zip(schema.names, schema.types, strict=True))
        return ParquetTable(path, file.metadata.num_rows, types, 0)
