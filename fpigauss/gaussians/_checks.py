"""Input checks of class Gaussians: what they are made of, in one namespace and of one family."""

import os
from typing import Any

import numpy as np

from fpigauss._array.checks import check_classes, check_finite, check_matrix
from fpigauss._array.labels import as_labels
from fpigauss._array.namespaces import (
    as_floating,
    cast_like,
    detached,
    device_of,
    first_true,
    is_array,
    namespace,
    precise,
    working_dtype,
)
from fpigauss._array.traced import is_traced
from fpigauss._array.typing import Array, Labels
from fpigauss.covariance import (
    FAMILIES,
    CovarianceFamily,
    distinct_name,
    own_name,
    resolve_family,
)
from fpigauss.errors import InvalidInputError

__all__ = ["saved_family", "unified"]


def unified(
    means: Any, covariances: Any, *, covariance: Any, tied: Any, classes: Any, counts: Any
) -> dict[str, Any]:
    """Check what Gaussians are made of, and return copies of it, as their fields by name.

    Frozen Gaussians share no memory with anyone who might write to it. Copies stay in a gradient's
    history.
    """
    family = resolve_family(covariance, tied)
    means, covariances = _together(means, covariances)
    n_classes, dim = means.shape
    labels = np.arange(n_classes) if classes is None else as_labels(classes, "classes").copy()
    check_classes(labels)
    if labels.shape[0] != n_classes:
        raise InvalidInputError(
            f"classes has {labels.shape[0]} labels for {n_classes} means; pass one per mean"
        )
    needed = family.public_shape(n_classes, dim)
    if tuple(covariances.shape) != needed:
        raise InvalidInputError(
            f"covariances has shape {tuple(covariances.shape)}, {needed} is needed for "
            f'{"tied " if family.tied else ""}"{distinct_name(family)}" covariances of '
            f"{n_classes} classes in {dim} dimensions"
        )
    check_finite(means, "means", labels)
    check_finite(covariances, "covariances", None if family.tied else labels)
    _check_definite(family, covariances, labels)
    known = type(family) in FAMILIES.values()
    return {
        "means": means,
        "covariances": covariances,
        "classes": labels,
        "family": family,
        "covariance": family.name if known else family,
        "tied": family.tied,
        "counts": None if counts is None else _checked_counts(counts, means, labels),
    }


def _checked_counts(counts: Any, means: Array, classes: Labels) -> Array:
    """Return a copy of counts (K,) beside ``means``, in float64 where the device supports it."""
    values = detached(as_floating(counts, "counts"))
    if tuple(values.shape) != classes.shape:
        raise InvalidInputError(
            f"counts has shape {tuple(values.shape)}, {classes.shape} is needed; "
            "pass one count per class"
        )
    xp = namespace(means)
    # half precision would not hold them
    like = xp.zeros((1,), dtype=working_dtype(means), device=device_of(means))
    values = xp.astype(cast_like(values, like), like.dtype, copy=True)
    check_finite(values, "counts", classes)
    negative = first_true(values < 0.0)
    if negative is not None:
        raise InvalidInputError(
            f"counts is negative in class {classes[negative].item()!r}; pass numbers >= 0"
        )
    positive = xp.any(values > 0.0)
    if not is_traced(positive) and not bool(positive):
        raise InvalidInputError("counts are all zero; pass None if they are not known")
    return values


def _together(means: Any, covariances: Any) -> tuple[Array, Array]:
    """Convert means (K, d) and covariances to floating arrays of one namespace and dtype."""
    floating = as_floating(means, "means")
    check_matrix(floating, "means")
    values = as_floating(covariances, "covariances")
    if is_array(covariances) and namespace(values) is not namespace(floating):
        raise InvalidInputError(
            "covariances and means are arrays of different libraries; convert one of them"
        )
    xp = namespace(floating)
    values = cast_like(values, floating)
    return xp.astype(floating, floating.dtype, copy=True), xp.astype(
        values, values.dtype, copy=True
    )


def _check_definite(family: CovarianceFamily, covariances: Array, classes: Labels) -> None:
    """Raise for the first covariance that is not symmetric and positive definite."""

    def where(index: int) -> str:
        return "" if family.tied else f" in class {classes[index].item()!r}"

    values = family.unpack(detached(covariances))
    asymmetric = family.first_asymmetric(values)
    if asymmetric is not None:
        raise InvalidInputError(
            f"covariances is not symmetric{where(asymmetric)}; pass (C + C') / 2"
        )
    values = precise(values)
    values = namespace(values).astype(values, working_dtype(values))
    indefinite = family.first_not_positive(values)
    if indefinite is not None:
        raise InvalidInputError(
            f"covariances is not positive definite{where(indefinite)}; "
            "every variance must be positive, shrink it toward the identity if necessary"
        )


def saved_family(
    path: str | os.PathLike[str], name: str, tied: bool, covariance: CovarianceFamily | None
) -> CovarianceFamily:
    """Return the family that a file names; ``covariance`` if it is that."""
    if covariance is None and name not in FAMILIES:
        raise InvalidInputError(
            f'path {os.fspath(path)!r} has Gaussians of the family "{name}", which is not one of '
            "ours; pass covariance=, an object of that family"
        )
    family = resolve_family(name if covariance is None else covariance, tied)
    own_name(family)  # raises for a family that no file can be of
    if family.name != name:
        raise InvalidInputError(
            f'path {os.fspath(path)!r} has Gaussians of the family "{name}", covariance is '
            f'"{family.name}"; pass the family that was saved'
        )
    return family
