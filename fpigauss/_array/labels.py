"""Class labels: on the host, as integers or strings, and as codes 0..K-1."""

import math
import reprlib
from contextlib import suppress
from typing import Any

import numpy as np

from fpigauss._array.namespaces import check_dense, is_array, to_numpy
from fpigauss._array.traced import check_concrete
from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError

__all__ = [
    "as_classes",
    "as_labels",
    "check_kept_by_numpy",
    "codes_of",
    "grouped",
    "listed",
    "union",
]


#: What may be a label: strings, or integers, integral floats and booleans, which count as 0 and 1.
_NUMBERS = (int, float, np.integer, np.floating, np.bool_)


def as_labels(y: object, name: str = "y") -> Labels:
    """Convert ``y`` (N,) to integers, booleans or strings on the host, each as it is or not at all.

    Booleans among integers are integers.
    """
    labels = _decoded(_read(y, name))
    if labels.dtype.kind in "OT":  # T: strings of variable width, as zarr gives them
        return _of_objects(labels.astype(object), name)
    if labels.dtype.kind in "Ub":
        return labels
    if labels.dtype.kind == "S":
        raise InvalidInputError(
            f"{name} contains bytes, not strings; decode them: numpy.char.decode({name})"
        )
    if labels.dtype.kind not in "uif":
        raise InvalidInputError(
            f"{name} has dtype {labels.dtype}; "
            "convert the labels to integers, strings or integral floats"
        )
    return _as_int64(labels, name)


def check_kept_by_numpy(y: object, name: str = "y") -> None:
    """Refuse a list of enumerated strings, before scikit-learn has numpy make an array of it.

    numpy takes as many characters of what they print as their values have, so that labels merge.
    """
    if not isinstance(y, list | tuple):
        return
    for label in y:
        if isinstance(label, str) and str(label) != str.__str__(label):
            raise InvalidInputError(
                f"{name} is a list of {type(label).__name__}, which numpy would cut; pass their "
                f"values, [label.value for label in {name}]"
            )


def _read(y: object, name: str) -> Labels:
    """Read ``y`` as an array (N,) of whatever it contains."""
    check_dense(y, name)
    check_concrete(y, name)
    if isinstance(y, np.ma.MaskedArray):
        raise InvalidInputError(
            f"{name} is a masked array; drop the rows without a label: "
            f"z[~numpy.ma.getmaskarray({name})], {name}.compressed()"
        )
    try:
        if is_array(y):
            labels = to_numpy(y)
        elif isinstance(y, list | tuple):  # numpy would turn [1, "a"] and NaN into strings
            labels = np.asarray(y, dtype=object)
        else:
            labels = np.asarray(y)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{name} is not an array of labels ({error}); pass integers or strings"
        ) from None
    if y is None:
        raise InvalidInputError(f"{name} is None; pass the labels, one per sample")
    if labels.ndim == 0 and not isinstance(labels.item(), (str, bytes, *_NUMBERS)):
        raise InvalidInputError(
            f"{name} is {reprlib.repr(labels.item())}; pass a sequence of labels, one per sample"
        )
    if labels.ndim == 0:
        raise InvalidInputError(
            f"{name} is {labels.item()!r}; pass a sequence of labels, one per sample, "
            f"[{labels.item()!r}] if there is one"
        )
    if labels.ndim != 1:
        column = labels.size == max(labels.shape)  # or a row, which numpy makes of a matrix
        remedy = _called("ravel", y, name) if column else _called("argmax", y, name, "1")
        remedy += "" if column else ", if its rows are one-hot"
        raise InvalidInputError(
            f"{name} has shape {labels.shape}, one label per sample is needed; "
            f"pass a 1-D array: {remedy}"
        )
    return labels


def _called(method: str, x: object, name: str, *arguments: str) -> str:
    """Write out the call of a method of arrays, which ``x`` may have to become first."""
    if not hasattr(x, method) or isinstance(x, np.matrix):  # whose results are matrices again
        name = f"numpy.asarray({name})"
    return f"{name}.{method}({', '.join(arguments)})"


def _decoded(labels: Labels) -> Labels:
    """Decode strings of a file that says that they are strings, as h5py does in the dtype."""
    metadata: Any = labels.dtype.metadata or {}
    if metadata.get("vlen") is str or "h5py_encoding" in metadata:
        decoded = [label.decode() if isinstance(label, bytes) else label for label in labels]
        return np.asarray(decoded, dtype=object)
    return labels


def _as_int64(labels: Labels, name: str) -> Labels:
    """Convert an array of numbers to integers, each as it is or not at all."""
    fine = np.ones(labels.shape, bool)
    if labels.dtype.kind == "f":
        fine = np.isfinite(labels) & (labels == np.round(labels))
        fine &= np.abs(labels) < min(_exact_below(labels.dtype), 2.0**63)
    elif labels.dtype.kind == "u":
        fine = labels <= np.iinfo(np.int64).max
    for row in np.flatnonzero(~fine):
        _integer(labels[row], int(row), name)  # raises
    return labels.astype(np.int64)


def _integer(label: Any, row: int, name: str) -> int:
    """Convert the number in ``row`` to an integer, if it is one that nothing can be taken for."""
    is_float = isinstance(label, float | np.floating)
    if is_float and not (math.isfinite(label) and label == round(label)):
        raise InvalidInputError(
            f"{name} is {label} in row {row}, not an integral label; "
            "drop the row or encode the labels as integers or strings"
        )
    if not -(2**63) <= int(label) < 2**63:
        raise InvalidInputError(
            f"{name} is {label} in row {row}, too large for a 64-bit integer; encode the labels"
        )
    if is_float and abs(label) >= _exact_below(type(label)):
        raise InvalidInputError(
            f"{name} is {label} in row {row}: floats of that size do not tell all integers apart; "
            "pass integers or strings"
        )
    return int(label)


def _exact_below(dtype: Any) -> float:
    """Return the number from which on a floating type rounds integers to one another."""
    return 2.0 / float(np.finfo(dtype).eps)


def _of_objects(labels: Labels, name: str) -> Labels:
    """Convert an object array to strings, booleans or integers; refuse anything else."""
    types = set(map(type, labels))
    if types and all(issubclass(kind, bool | np.bool_) for kind in types):
        return labels.astype(np.bool_)
    if types and all(issubclass(kind, str) for kind in types):
        return _strings(labels, name)
    if not all(map(_is_number, types)):
        _refuse_types(labels, name)
    if not any(issubclass(kind, float | np.floating) for kind in types):
        with suppress(OverflowError):
            return labels.astype(np.int64)
    # one by one: in an array, a float among them would round the others
    integers = [_integer(label, row, name) for row, label in enumerate(labels)]
    return np.asarray(integers, dtype=np.int64)


def _is_number(kind: type) -> bool:
    """Return whether labels of a type are numbers; numpy's durations derive from its integers."""
    return issubclass(kind, _NUMBERS) and not issubclass(kind, np.timedelta64)


def _refuse_types(labels: Labels, name: str) -> None:
    """Raise for the first label that is neither a string nor a number, or not what row 0 is."""
    strings = isinstance(labels[0], str)
    for row, label in enumerate(labels):
        if isinstance(label, bytes):
            raise InvalidInputError(
                f"{name} is {label!r} in row {row}, bytes instead of a string; decode the labels: "
                f"[label.decode() for label in {name}]"
            )
        if not (isinstance(label, str) or _is_number(type(label))):
            raise InvalidInputError(
                f"{name} is {label!r} in row {row}, neither a string nor an integer; "
                "drop rows without a label, and make all labels strings or all of them integers"
            )
        if isinstance(label, str) != strings:
            raise InvalidInputError(
                f"{name} is {label!r} in row {row} and {labels[0]!r} in row 0; make all labels "
                "strings, or all of them integers, and drop rows without a label"
            )


def _strings(labels: Labels, name: str) -> Labels:
    faulty = [label[-1:] == "\0" for label in labels]  # numpy's strings are padded with it
    if True in faulty:
        row = faulty.index(True)
        raise InvalidInputError(
            f"{name} is {labels[row]!r} in row {row}, which ends in a NUL character; strip it from "
            "the labels, or replace it where labels differ by it"
        )
    # by their values: numpy takes as many characters of what an enumeration prints
    return np.asarray([str.__str__(label) for label in labels], dtype=np.str_)


def as_classes(classes: object, name: str = "classes") -> Labels:
    """Convert ``classes`` (K,) to labels on the host, sorted; refuse duplicates."""
    labels = as_labels(classes, name)
    if labels.shape[0] == 0:
        raise InvalidInputError(f"{name} is empty; name at least one class")
    unique, counts = np.unique(labels, return_counts=True)
    if unique.shape[0] != labels.shape[0]:
        label = unique[np.argmax(counts)].item()
        raise InvalidInputError(f"{name} names {label!r} more than once; name each class once")
    return unique


def codes_of(labels: Labels, classes: Labels, name: str = "y") -> np.ndarray[Any, Any]:
    """Return the positions (N,) of ``labels`` in ``classes``; refuse unknown labels."""
    if labels.shape[0] == 0:
        return np.zeros(0, dtype=np.int64)
    if _kind(labels) != _kind(classes):
        raise InvalidInputError(
            f"{name} contains {_kind(labels)}, but the classes are {_kind(classes)}; "
            f"convert {name} to the classes' type"
        )
    codes: np.ndarray[Any, Any] = np.searchsorted(classes, labels)
    codes = np.minimum(codes, classes.shape[0] - 1)
    unknown = classes[codes] != labels
    if unknown.any():
        row = int(np.argmax(unknown))
        raise InvalidInputError(
            f"{name} has the label {labels[row].item()!r} in row {row}, which is not among the "
            f"classes {listed(classes)}; drop such rows or add the class"
        )
    return codes


def union(a: Labels, b: Labels) -> Labels:
    """Return the sorted union of two sets of classes."""
    if _kind(a) != _kind(b):
        raise InvalidInputError(
            f"y contains {_kind(b)}, but earlier labels were {_kind(a)}; convert y to one type"
        )
    return np.unique(np.concatenate([a, b]))


def grouped(codes: np.ndarray[Any, Any]) -> list[tuple[int, np.ndarray[Any, Any]]]:
    """List each code that occurs, with the rows where it occurs."""
    counts = np.bincount(codes)
    present = np.flatnonzero(counts)
    short = codes.astype(np.int16) if counts.shape[0] <= 2**15 else codes  # sorted by radix
    order = np.argsort(short, kind="stable")
    ends = np.cumsum(counts[present]).tolist()
    starts = [0, *ends[:-1]]
    return [
        (code, order[start:end])
        for code, start, end in zip(present.tolist(), starts, ends, strict=False)
    ]


def listed(classes: Labels) -> str:
    """Write out the first few classes, for a message."""
    names = [repr(label.item()) for label in classes[:6]]
    return ", ".join(names) + (", ..." if len(classes) > 6 else "")


def _kind(labels: Labels) -> str:
    """Say what labels are; booleans compare with integers."""
    return "strings" if labels.dtype.kind == "U" else "integers"
