"""Text with commas or tabs, whose first line names the columns."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fpigauss.errors import InvalidInputError
from fpigauss.latents._arrow import is_number, missing_error
from fpigauss.latents._csv_labels import (
    MISSING,
    LabelReader,
    are_told_apart,
    misfit_error,
    present,
    replaced,
)
from fpigauss.latents._faults import imported, listed_names, reading
from fpigauss.latents._source import Memory

__all__ = ["CsvTable", "csv_table"]

#: Bytes of text from which the types of the columns are told.
_LOOK_BYTES = 2**20
#: Rows whose text is looked at.
_LOOK_ROWS = 1000
#: The smallest and the largest block of text, in bytes; a larger one is not read faster.
_BLOCKS = (2**12, 2**20)
#: Blocks that pyarrow reads ahead.
_AHEAD = 32
#: A block is this part of a batch.
_PART = 16
_GZIP = ".gz"
_REMEDY = (
    "write it again in UTF-8, with as many entries in each line as in the first, the names, and "
    "with commas between them, or tabs in .tsv"
)


@dataclass(frozen=True)
class CsvTable:
    """A file of text."""

    path: Path
    #: Types as latents: numbers are float64, since later rows may have fractions.
    types: dict[str, Any] = field(repr=False)
    #: None: the row names of a data frame are a column without a name, which is left out.
    index: frozenset[str] = field(default=frozenset(), init=False, repr=False)
    #: What the first entries are, if they are labels: numbers, booleans or strings.
    label_types: dict[str, Any] = field(repr=False)
    #: Bytes of a row, about.
    row_bytes: int
    #: Only reading tells the number, unless there are none.
    n_rows: int | None

    def memory_of(self, columns: tuple[str, ...]) -> Memory:
        """Return the memory that reading takes: blocks of text and of what they say, joined."""
        return Memory((2 + 2 * _AHEAD // _PART) * self.row_bytes, 2 * _AHEAD * self._block(1))

    def record_batches(self, latents: list[str], labels: list[str], step: int) -> Iterator[Any]:
        """Yield record batches of some columns, each of at most ``step`` rows."""
        pa = imported("pyarrow", "csv")
        lists = [name for name in latents if pa.types.is_list(self.types[name])]
        numbers = [name for name in latents if name not in lists]
        types = dict.fromkeys(lists, pa.string()) | dict.fromkeys(numbers, pa.float64())
        types |= dict.fromkeys(labels, pa.string())
        readers = [LabelReader(self.path, name, self._label_type(name)) for name in labels]
        first = 0
        try:
            with _opened(self.path, self._block(step), types) as stream:
                for batch in _joined(stream, step):
                    for name in lists:
                        batch = _with_lists(batch, name, self.path, first)
                    for reader in readers:
                        batch = replaced(batch, reader.name, reader.read(batch, first))
                    yield batch
                    first += batch.num_rows
        except pa.ArrowInvalid as error:
            fault = _misfit(self.path, self._block(step), types)
            if fault is None:
                raise
            raise fault from error

    def _label_type(self, name: str) -> Any:
        """Return the type by which a column is read as labels: strings, unless nothing is lost."""
        kind, string = self.label_types[name], imported("pyarrow", "csv").string()
        if kind == string or self.n_rows == 0:
            return string
        with _opened(self.path, _LOOK_BYTES, {name: string}) as stream:
            texts = present(next(batch for batch in stream if batch.num_rows).column(name))
        return kind if are_told_apart(texts, kind) else string

    def _block(self, step: int) -> int:
        return max(_BLOCKS[0], 4 * self.row_bytes, min(_BLOCKS[1], step * self.row_bytes // _PART))


def csv_table(path: Path) -> CsvTable:
    """Return the table of a csv or tsv file; the first rows tell the types of its columns."""
    pa = imported("pyarrow", "csv")
    if path.stat().st_size == 0:
        raise InvalidInputError(f"{str(path)!r} is empty; pass a file with data")
    with reading(path, _REMEDY), _opened(path, _LOOK_BYTES, {}) as stream:
        names = stream.schema.names
        _check_names(path, names)
        look = next((batch for batch in stream if batch.num_rows), None)
    if look is None:
        types, row_bytes = dict.fromkeys(names, pa.float64()), 0
        label_types = dict.fromkeys(names, pa.string())
    else:
        columns = dict(zip(names, look.columns, strict=True))
        types = {name: _type_as_latents(column) for name, column in columns.items()}
        label_types = {name: _type_as_labels(column) for name, column in columns.items()}
        row_bytes = max(16, 2 * look.nbytes // look.num_rows)
    if names[0] == "":  # the row names of pandas and R
        del types[""], label_types[""]
    return CsvTable(path, types, label_types, row_bytes, 0 if look is None else None)


def _check_names(path: Path, names: list[str]) -> None:
    """Check that the first line is one of names, each once."""
    others = [mark for mark in ",;\t" if mark in names[0] and mark != _mark_of(path)]
    if len(names) == 1 and others:
        raise InvalidInputError(
            f"{str(path)!r} has {others[0]!r} between the names in its first line; {_REMEDY}"
        )
    if any(_is_number(name) and not name.isdigit() for name in names) or _are_rows(names):
        raise InvalidInputError(
            f"{str(path)!r} has numbers in its first line, {listed_names(names)}; write the names "
            "of the columns there"
        )
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InvalidInputError(
                f"{str(path)!r} names two columns {name!r} in its first line; give each a name of "
                "its own"
            )
        if name != name.strip():
            raise InvalidInputError(
                f"{str(path)!r} names a column {name!r} in its first line; write the name without "
                "spaces around it"
            )


def _are_rows(names: list[str]) -> bool:
    """Whether integers are entries, not names: columns are numbered upwards."""
    numbers = [int(name) for name in names if name.isdecimal()]
    return len(numbers) == len(names) and numbers != sorted(set(numbers))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _type_as_latents(column: Any) -> Any:
    """Return the type by which a column is read as latents."""
    pa = imported("pyarrow", "csv")
    if is_number(column.type) or pa.types.is_null(column.type):
        return pa.float64()  # an empty column too: later rows may have numbers, or its gaps matter
    if not pa.types.is_string(column.type):
        return column.type
    if MISSING.issuperset(column.drop_null().unique().to_pylist()):
        return pa.float64()  # an empty column, in quotes
    first = column.slice(0, _LOOK_ROWS).drop_null().to_pylist()
    texts = [text for text in first if text not in MISSING]
    if texts and all(text.lstrip()[:1] == "[" for text in texts):
        return pa.list_(pa.float64())
    # numbers with some text among them are numbers, and the text is a fault
    return pa.float64() if 2 * sum(map(_is_number, texts)) > len(texts) else column.type


def _type_as_labels(column: Any) -> Any:
    """Return the type by which a column is read as labels."""
    pa = imported("pyarrow", "csv")
    kept = is_number(column.type) or pa.types.is_boolean(column.type)
    return column.type if kept else pa.string()


def _mark_of(path: Path) -> str:
    """Return what stands between entries."""
    return "\t" if path.name.lower().removesuffix(_GZIP).endswith(".tsv") else ","


def _opened(path: Path, block: int, types: dict[str, Any]) -> Any:
    csv = imported("pyarrow.csv", "csv")
    # pyarrow would tell it by small letters
    compression = "gzip" if path.name.lower().endswith(_GZIP) else None
    return csv.open_csv(
        imported("pyarrow", "csv").input_stream(path, compression=compression),
        read_options=csv.ReadOptions(block_size=block, use_threads=False),
        parse_options=csv.ParseOptions(delimiter=_mark_of(path), newlines_in_values=True),
        # an empty label is missing, and so are NA, nan and null, as among numbers; in quotes they
        # are labels, as our own tables have them
        convert_options=csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=sorted(MISSING),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _joined(batches: Iterable[Any], step: int) -> Iterator[Any]:
    """Yield record batches of ``step`` rows each, the last one of those that are left."""
    waiting: list[Any] = []
    n_waiting = 0
    for batch in batches:
        while batch.num_rows:
            waiting.append(batch.slice(0, step - n_waiting))
            batch = batch.slice(step - n_waiting)
            n_waiting += waiting[-1].num_rows
            if n_waiting == step:
                yield _one(waiting)
                waiting, n_waiting = [], 0
    if waiting:
        yield _one(waiting)


def _one(batches: list[Any]) -> Any:
    pa = imported("pyarrow", "csv")
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _with_lists(batch: Any, name: str, path: Path, first: int) -> Any:
    """Replace a column of text, "[0.1, 0.2]" or "[0.1 0.2]", by one of lists of numbers."""
    pa = imported("pyarrow", "csv")
    compute = imported("pyarrow.compute", "csv")
    texts = compute.utf8_trim(batch.column(name), characters="[] \t\r\n")
    entries = compute.split_pattern_regex(texts, pattern=r"\s*[,\s]\s*")
    values = entries.flatten()
    if not _converts(values, pa.float64()):
        place = _first_misfit(values, pa.float64())
        row = int(np.searchsorted(entries.offsets.to_numpy(), place, "right")) - 1
        raise misfit_error(path, name, first + row, batch.column(name)[row].as_py())
    lists = entries.cast(pa.list_(pa.float64()))
    return replaced(batch, name, lists)


def _misfit(path: Path, block: int, types: dict[str, Any]) -> InvalidInputError | None:
    """Find the first entry that is not of its column's type, by reading all as text."""
    pa = imported("pyarrow", "csv")
    with _opened(path, block, dict.fromkeys(types, pa.string())) as stream:
        return _first_fault(path, stream, types)


def _first_fault(
    path: Path, batches: Iterable[Any], types: dict[str, Any]
) -> InvalidInputError | None:
    compute = imported("pyarrow.compute", "csv")
    first = 0
    for batch in batches:
        found = []
        for name, kind in types.items():
            texts = compute.utf8_trim_whitespace(batch.column(name))
            if not _converts(texts, kind):
                found.append((_first_misfit(texts, kind), name))
        if found:
            row, name = min(found)
            if batch.column(name)[row].as_py() in MISSING:  # in quotes
                return missing_error(path, name, first + row)
            return misfit_error(path, name, first + row, batch.column(name)[row].as_py())
        first += batch.num_rows
    return None


def _first_misfit(texts: Any, kind: Any) -> int:
    """Return the first row that cannot be converted, by halving; there is one."""
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        if _converts(texts.slice(low, middle - low), kind):
            low = middle
        else:
            high = middle
    return low


def _converts(texts: Any, kind: Any) -> bool:
    pa = imported("pyarrow", "csv")
    try:
        texts.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True
