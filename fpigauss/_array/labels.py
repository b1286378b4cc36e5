"""Class labels: on the host, as integers or strings, and as codes 0..K-1."""

from typing import Any

import numpy as np

from fpigauss._array.namespaces import is_array, to_numpy
from fpigauss._array.typing import Labels
from fpigauss.errors import InvalidInputError

__all__ = ["as_classes", "as_labels", "codes_of", "grouped", "listed", "union"]


def as_labels(y: object, name: str = "y") -> Labels:
    """Convert ``y`` (N,) to integers or strings on the host."""
    labels = _read(y, name)
    if labels.dtype.kind in "OT":  # T: strings of variable width, as zarr gives them
        labels = _of_objects(labels.astype(object), name)
    if labels.dtype.kind == "U":
        return labels
    if labels.dtype.kind == "f":
        fractional = ~(np.isfinite(labels) & (labels == np.round(labels)))
        if fractional.any():
            row = int(np.argmax(fractional))
            raise InvalidInputError(
                f"{name} is {labels[row]} in row {row}, not an integral label; "
                "drop the row or encode the labels as integers or strings"
            )
    elif labels.dtype.kind not in "bui":
        raise InvalidInputError(
            f"{name} has dtype {labels.dtype}; "
            "convert the labels to integers, strings or integral floats"
        )
    return _as_int64(labels, name)


def _read(y: object, name: str) -> Labels:
    """Read ``y`` as an array (N,) of whatever it contains."""
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
    if labels.ndim == 0:
        raise InvalidInputError(
            f"{name} is {labels.item()!r}; pass a sequence of labels, one per sample"
        )
    if labels.ndim != 1:
        raise InvalidInputError(
            f"{name} has shape {labels.shape}, one label per sample is needed; "
            f"pass a 1-D array ({name}.argmax(1) of one-hot rows, {name}.ravel() of a column)"
        )
    return labels


def _as_int64(labels: Labels, name: str) -> Labels:
    beyond = (labels < -(2.0**63)) | (labels >= 2.0**63)
    if beyond.any():
        row = int(np.argmax(beyond))
        raise InvalidInputError(
            f"{name} is {labels[row]} in row {row}, too large for a 64-bit integer; "
            "encode the labels"
        )
    return labels.astype(np.int64)


def _of_objects(labels: Labels, name: str) -> Labels:
    """Convert an object array to strings, integers or floats; refuse anything else."""
    if labels.shape[0] == 0:
        return labels.astype(np.int64)
    numbers = (int, float, np.integer, np.floating, np.bool_)
    kind: Any = str if isinstance(labels[0], str) else numbers
    for row, label in enumerate(labels):
        if not isinstance(label, kind):
            raise InvalidInputError(
                f"{name} is {label!r} in row {row} and {labels[0]!r} in row 0; make all labels "
                "strings, or all of them integers, and drop rows without a label"
            )
    if kind is str:
        return labels.astype(np.str_)
    if all(isinstance(label, int | np.integer) for label in labels):
        if any(abs(int(label)) >= 2**63 for label in labels):
            return _as_int64(labels.astype(np.float64), name)
        return labels.astype(np.int64)
    return labels.astype(np.float64)


def as_classes(classes: object) -> Labels:
    """Convert ``classes`` (K,) to labels on the host, sorted; refuse duplicates."""
    labels = as_labels(classes, "classes")
    if labels.shape[0] == 0:
        raise InvalidInputError("classes is empty; name at least one class")
    unique, counts = np.unique(labels, return_counts=True)
    if unique.shape[0] != labels.shape[0]:
        label = unique[np.argmax(counts)].item()
        raise InvalidInputError(f"classes names {label!r} more than once; name each class once")
    return unique


def codes_of(labels: Labels, classes: Labels, name: str = "y") -> np.ndarray[Any, Any]:
    """Return the positions (N,) of ``labels`` in ``classes``; refuse unknown labels."""
    if labels.shape[0] == 0:
        return np.zeros(0, dtype=np.int64)
    if labels.dtype.kind != classes.dtype.kind:
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
    if a.dtype.kind != b.dtype.kind:
        raise InvalidInputError(
            f"y contains {_kind(b)}, but earlier labels were {_kind(a)}; convert y to one type"
        )
    return np.unique(np.concatenate([a, b]))


def grouped(codes: np.ndarray[Any, Any]) -> list[tuple[int, np.ndarray[Any, Any]]]:
    """List each code that occurs, with the rows where it occurs."""
    if codes.shape[0] == 0:
        return []
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    return list(zip(present.tolist(), np.split(order, starts[1:]), strict=True))


def listed(classes: Labels) -> str:
    """Write out the first few classes, for a message."""
    names = [repr(label.item()) for label in classes[:6]]
    return ", ".join(names) + (", ..." if len(classes) > 6 else "")


def _kind(labels: Labels) -> str:
    return "strings" if labels.dtype.kind == "U" else "integers"
