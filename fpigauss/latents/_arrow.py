"""Columns of record batches as arrays: latents without a copy, labels as integers or strings."""

from pathlib import Path
from typing import Any

import numpy as np

from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError
from fpigauss.latents._faults import imported
from fpigauss.latents._source import Rows

__all__ = [
    "is_list",
    "is_number",
    "labels_of",
    "missing_error",
    "rows_of_columns",
    "rows_of_lists",
    "stored",
]


def stored(column: Any) -> Any:
    """Return a column without its extension type, such as that of tensors of one shape."""
    pa = imported("pyarrow", "tables")
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def is_list(kind: Any) -> bool:
    """Say whether a type is that of lists of numbers."""
    pa = imported("pyarrow", "tables")
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in lists) and is_number(kind.value_type)


def is_number(kind: Any) -> bool:
    """Say whether a type is that of numbers."""
    types = imported("pyarrow", "tables").types
    return bool(types.is_integer(kind) or types.is_floating(kind))


def rows_of_lists(column: Any, dim: int | None, path: Path, name: str, first: int) -> Rows:
    """Return a column of lists, (n,), as an array (n, dim) over the same memory.

    ``dim`` is None at the first rows, which then tell it; ``first`` is the place of row 0.
    """
    column = stored(column)
    _refuse_nulls(column, path, name, first)
    types = imported("pyarrow", "tables").types
    if types.is_fixed_size_list(column.type):
        width = column.type.list_size
        lengths = None
    else:
        lengths = np.diff(column.offsets.to_numpy())
        width = int(lengths[0]) if dim is None else dim
        ragged = np.flatnonzero(lengths != width)
        if len(ragged):
            row = int(ragged[0])
            raise InvalidInputError(
                f"{str(path)!r}: column {name!r} has {lengths[row]} numbers in row {first + row}, "
                f"and {width} in the rows before; drop or mend the row: all need the same length"
            )
    if width == 0:
        raise InvalidInputError(
            f"{str(path)!r}: column {name!r} has an empty list in row {first}; pass a column of "
            "lists of numbers"
        )
    values = column.flatten()
    if values.null_count:
        place = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise missing_error(path, name, first + place // width)
    rows: Rows = values.to_numpy(zero_copy_only=True).reshape(-1, width)
    return rows


def rows_of_columns(columns: list[Any], names: list[str], path: Path, first: int) -> Rows:
    """Return columns of numbers, each (n,), side by side as an array (n, d)."""
    for name, column in zip(names, columns, strict=True):
        _refuse_nulls(column, path, name, first)
    arrays = [column.to_numpy(zero_copy_only=False) for column in columns]
    rows: Rows = np.empty((len(arrays[0]), len(arrays)), np.result_type(*arrays))
    for j, array in enumerate(arrays):
        rows[:, j] = array
    return rows


def labels_of(column: Any, path: Path, name: str, first: int) -> Labels:
    """Return labels as an array of integers, booleans, floats or strings."""
    pa = imported("pyarrow", "tables")
    column = stored(column)
    _refuse_nulls(column, path, name, first)
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        _refuse_nulls(column, path, name, first)
        kind = column.type
    if is_number(kind) or pa.types.is_boolean(kind):
        numbers: Labels = column.to_numpy(zero_copy_only=False)
        return numbers
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not any(check(kind) for check in texts):
        raise InvalidInputError(
            f"{str(path)!r}: column {name!r} is of type {kind}; labels are integers, strings or "
            "booleans: convert the column"
        )
    coded = column.dictionary_encode()  # a string per class is made, not one per row
    strings = np.asarray(coded.dictionary.to_pylist(), dtype=np.str_)
    chosen: Labels = strings[coded.indices.to_numpy()]
    return chosen


def _refuse_nulls(column: Any, path: Path, name: str, first: int) -> None:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise missing_error(path, name, first + row)


def missing_error(path: Path, name: str, row: int) -> InvalidInputError:
    """Say which entry of a column is missing."""
    return InvalidInputError(
        f"{str(path)!r}: column {name!r} has a missing entry in row {row}; drop such rows, or fill "
        "the entries"
    )
