"""Labels in text: each as it is written, whatever numbers it might stand for."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fpigauss.errors import InvalidInputError
from fpigauss.latents._faults import imported

__all__ = ["MISSING", "LabelReader", "are_told_apart", "misfit_error", "present", "replaced"]

#: What stands for a missing entry, unless it is in quotes: the spellings that pyarrow knows.
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
    | {"N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"}
)


@dataclass(frozen=True)
class LabelReader:
    """Convert a column of text to labels of one type, batch by batch."""

    path: Path
    name: str
    kind: Any
    #: How each label is written: a second way would make one class of two.
    _written: dict[Any, str] = field(default_factory=dict, repr=False)

    def read(self, batch: Any, first: int) -> Any:
        """Return the labels of a batch, whose row 0 is row ``first`` of the file."""
        pa = imported("pyarrow", "csv")
        texts = present(batch.column(self.name))
        if self.kind == pa.string():
            return texts
        trimmed = _trimmed(texts)
        if pa.types.is_integer(self.kind):
            integers = _as_integers(trimmed, self.kind)
            if integers is not None:
                return integers
        coded = trimmed.dictionary_encode()
        labels = _values(coded.dictionary, self.kind)
        for code, text in enumerate(coded.dictionary.to_pylist()):
            label = labels[code]
            if label is None or self._written.setdefault(label, text) != text:
                row = coded.indices.index(code).as_py()
                raise misfit_error(self.path, self.name, first + row, texts[row].as_py())
        return pa.array(labels, self.kind).take(coded.indices)


def present(texts: Any) -> Any:
    """Return texts of which the empty ones are missing, in quotes or not."""
    pa, compute = imported("pyarrow", "csv"), imported("pyarrow.compute", "csv")
    return compute.if_else(compute.equal(texts, ""), pa.scalar(None, texts.type), texts)


def are_told_apart(texts: Any, kind: Any) -> bool:
    """Return whether labels of a type are as many as their texts; integers, the same as these."""
    written = _trimmed(texts).drop_null().unique()
    labels = _values(written, kind)
    return None not in labels and len(set(labels)) == len(written)


def _as_integers(texts: Any, kind: Any) -> Any:
    """Return texts as integers, at once; None if some are not, or are written otherwise."""
    pa, compute = imported("pyarrow", "csv"), imported("pyarrow.compute", "csv")
    try:
        values = texts.cast(kind)
    except pa.ArrowInvalid:
        return None
    same = compute.all(compute.equal(values.cast(pa.string()), texts)).as_py()
    return None if same is False else values


def _values(texts: Any, kind: Any) -> list[Any]:
    """Return what texts stand for, None where they are not of the type."""
    pa = imported("pyarrow", "csv")
    try:
        values = texts.cast(kind).to_pylist()
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return [None]
        middle = len(texts) // 2
        return [*_values(texts[:middle], kind), *_values(texts[middle:], kind)]
    if not pa.types.is_integer(kind):
        return [None if _is_nan(value) else value for value in values]  # it is not a label
    pairs = zip(values, texts.to_pylist(), strict=True)
    return [value if str(value) == text else None for value, text in pairs]  # 007 is not 7


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _trimmed(texts: Any) -> Any:
    compute = imported("pyarrow.compute", "csv")
    return compute.utf8_trim_whitespace(texts)


def replaced(batch: Any, name: str, column: Any) -> Any:
    """Return a record batch with another column in place of one."""
    return batch.set_column(batch.schema.names.index(name), name, column)


def misfit_error(path: Path, name: str, row: int, text: str) -> InvalidInputError:
    """Say which entry of a file is not of the type of those before it."""
    shown = text if len(text) <= 40 else text[:37] + "..."
    return InvalidInputError(
        f"{str(path)!r}: column {name!r} has {shown!r} in row {row} (line {row + 2}), which is not "
        "of the type of the rows before; mend it, or leave out the row or the column"
    )
