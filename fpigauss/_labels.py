"""Class labels: on the host, as integers or strings, and as codes 0..K-1."""

from typing import Any

import numpy as np

from fpigauss._arrays import is_array, to_numpy
from fpigauss._errors import InvalidInputError
from fpigauss._typing import Labels

__all__ = ["as_classes", "as_labels", "codes_of", "grouped", "union"]


def as_labels(y: object, name: str = "y") -> Labels:
    """``y`` (N,) as host integers or strings."""
    try:
        labels = to_numpy(y) if is_array(y) else np.asarray(y)
    except ValueError as error:
        raise InvalidInputError(f"{name} is not an array of labels ({error})") from None
    if labels.ndim != 1:
        raise InvalidInputError(
            f"{name} has shape {labels.shape}, one label a sample is needed; "
            f"pass a 1-D array ({name}.argmax(1) of one-hot rows, {name}.ravel() of a column)"
        )
    if labels.dtype.kind in "OT":  # T: strings of variable width, as zarr gives them
        labels = _of_objects(labels.astype(object), name)
    if labels.dtype.kind in "U":
        return labels
    if labels.dtype.kind in "bui":
        return labels.astype(np.int64)
    if labels.dtype.kind == "f":
        fractional = ~(np.isfinite(labels) & (labels == np.round(labels)))
        if fractional.any():
            row = int(np.argmax(fractional))
            raise InvalidInputError(
                f"{name} is {labels[row]} in row {row}, not an integral label; "
                "drop the row or encode the labels as integers or strings"
            )
        return labels.astype(np.int64)
    raise InvalidInputError(
        f"{name} has dtype {labels.dtype}; labels are integers, strings or integral floats"
    )


def _of_objects(labels: Labels, name: str) -> Labels:
    """An object array as one of strings, integers or floats; anything else is refused."""
    kinds = (str, (int, np.integer), (int, float, np.integer, np.floating))
    dtypes: tuple[type[Any], ...] = (np.str_, np.int64, np.float64)
    for kind, dtype in zip(kinds, dtypes, strict=True):
        if all(isinstance(label, kind) for label in labels):  # type: ignore[arg-type]
            return labels.astype(dtype)
    row = next(i for i, label in enumerate(labels) if not isinstance(label, str))
    raise InvalidInputError(
        f"{name} mixes types: {labels[row]!r} in row {row}; "
        "make all labels strings or all of them integers"
    )


def as_classes(classes: object) -> Labels:
    """``classes`` (K,) as host labels without duplicates, in ascending order."""
    labels = as_labels(classes, "classes")
    unique, counts = np.unique(labels, return_counts=True)
    if unique.shape[0] != labels.shape[0]:
        raise InvalidInputError(
            f"classes names {unique[np.argmax(counts)]!r} more than once; name each class once"
        )
    return unique


def codes_of(labels: Labels, classes: Labels, name: str = "y") -> np.ndarray[Any, Any]:
    """The positions (N,) of ``labels`` in ``classes``; an unknown label is an error."""
    if labels.dtype.kind != classes.dtype.kind:
        raise InvalidInputError(
            f"{name} holds {_kind(labels)} but the classes are {_kind(classes)}; "
            f"convert {name} to the classes' type"
        )
    codes: np.ndarray[Any, Any] = np.searchsorted(classes, labels)
    codes = np.minimum(codes, classes.shape[0] - 1)
    unknown = classes[codes] != labels
    if unknown.any():
        row = int(np.argmax(unknown))
        raise InvalidInputError(
            f"{name} holds the label {labels[row].item()!r} in row {row}, which is not among the "
            "classes; drop those rows or add it to classes"
        )
    return codes


def union(a: Labels, b: Labels) -> Labels:
    """The sorted union of two sets of classes."""
    if a.dtype.kind != b.dtype.kind:
        raise InvalidInputError(
            f"y holds {_kind(b)} but earlier labels were {_kind(a)}; convert y to one type"
        )
    return np.unique(np.concatenate([a, b]))


def grouped(codes: np.ndarray[Any, Any]) -> list[tuple[int, np.ndarray[Any, Any]]]:
    """Each code that occurs, with the rows that it occurs in."""
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    return list(zip(present.tolist(), np.split(order, starts[1:]), strict=True))


def _kind(labels: Labels) -> str:
    return "strings" if labels.dtype.kind == "U" else "integers"
