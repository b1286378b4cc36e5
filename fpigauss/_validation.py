"""The border's checks: each raises InvalidInputError before any work, or passes."""

import math
from numbers import Real

import numpy as np

from fpigauss._arrays import as_floating, first_true, namespace, to_numpy
from fpigauss._blocks import blocks
from fpigauss._errors import InvalidInputError
from fpigauss._linalg import first_asymmetric
from fpigauss._typing import Array, Labels

__all__ = [
    "check_choice",
    "check_class_weights",
    "check_classes",
    "check_finite",
    "check_finite_rows",
    "check_finite_sums",
    "check_matrix",
    "check_n_labels",
    "check_nonnegative",
    "check_number",
    "check_positive",
    "check_positive_integer",
    "check_sample_weight",
    "check_samples",
    "check_seed",
    "check_shrinkage",
    "check_statistics_kind",
    "check_statistics_values",
    "check_whole",
    "check_width",
]


# -- numbers -------------------------------------------------------------------------------


def _number(value: object, name: str) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        scalar = getattr(value, "item", None)
        if scalar is None or getattr(value, "ndim", None) != 0:
            raise InvalidInputError(
                f"{name} is of type {type(value).__name__}, not a number; pass a real number"
                if getattr(value, "ndim", 0)
                else f"{name} is {value!r}, not a number; pass a real number"
            )
        return _number(scalar(), name)
    try:
        number = float(value)
    except OverflowError:
        raise InvalidInputError(f"{name} is too large for a float; pass a smaller one") from None
    if math.isnan(number):
        raise InvalidInputError(f"{name} is NaN; pass a real number")
    return number


def check_number(value: object, name: str) -> float:
    """A finite number."""
    number = _number(value, name)
    if math.isinf(number):
        raise InvalidInputError(f"{name} is infinite; pass a finite number")
    return number


def check_nonnegative(value: object, name: str) -> float:
    """A finite number >= 0."""
    number = _number(value, name)
    if not 0.0 <= number < math.inf:
        raise InvalidInputError(f"{name} is {number:g}; pass a finite number >= 0")
    return number


def check_positive(value: object, name: str) -> float:
    """A finite number > 0."""
    number = _number(value, name)
    if not 0.0 < number < math.inf:
        raise InvalidInputError(f"{name} is {number:g}; pass a finite number > 0")
    return number


def check_whole(value: object, name: str) -> int:
    """An integer >= 0."""
    number = _number(value, name)
    if number < 0 or not number.is_integer():
        raise InvalidInputError(f"{name} is {number:g}; pass an integer >= 0")
    return int(number)


def check_positive_integer(value: object, name: str) -> int:
    """An integer >= 1."""
    number = _number(value, name)
    if number < 1 or not number.is_integer():
        raise InvalidInputError(f"{name} is {number:g}; pass an integer >= 1")
    return int(number)


def check_shrinkage(value: object) -> float | str:
    """A number in [0, 1], or "oas"."""
    if isinstance(value, str):
        return check_choice(value, "shrinkage", ("oas",), or_else="a number in [0, 1]")
    number = _number(value, "shrinkage")
    if not 0.0 <= number <= 1.0:
        raise InvalidInputError(f'shrinkage is {number:g}; pass a number in [0, 1], or "oas"')
    return number


def check_choice(value: object, name: str, choices: tuple[str, ...], or_else: str = "") -> str:
    """One of the names ``choices``."""
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(f'"{choice}"' for choice in choices)
        raise InvalidInputError(
            f"{name} is {value!r}; pass {'one of ' if len(choices) > 1 else ''}{known}"
            + (f", or {or_else}" if or_else else "")
        )
    return value


def check_seed(seed: object) -> np.random.Generator:
    """A seed, or a generator, as a generator."""
    try:
        return np.random.default_rng(seed)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"seed is {seed!r} ({error}); pass an int or a numpy Generator"
        ) from None


# -- samples -------------------------------------------------------------------------------


def check_matrix(x: Array, name: str) -> None:
    """A 2-D array that is not empty."""
    if x.ndim != 2:
        raise InvalidInputError(
            f"{name} has shape {tuple(x.shape)}, (N, d) is needed; "
            f"flatten each sample, {name}.reshape(len({name}), -1)"
        )
    if 0 in x.shape:
        raise InvalidInputError(
            f"{name} is empty, of shape {tuple(x.shape)}; give at least one sample and dimension"
        )


def check_samples(z: Array, labels: Labels) -> None:
    """Latents (N, d) and as many labels."""
    check_matrix(z, "z")
    check_n_labels(labels, z.shape[0])


def check_n_labels(labels: Labels, n_rows: int) -> None:
    """As many labels as ``z`` has rows."""
    if labels.shape[0] != n_rows:
        raise InvalidInputError(
            f"z has {n_rows} rows and y {labels.shape[0]} labels; give one label a row"
        )


def check_width(z: Array, dim: int, whose: str = "that the Gaussians live in") -> None:
    """Latents (N, d) of the width ``dim``."""
    if z.ndim != 2 or z.shape[1] != dim:
        raise InvalidInputError(
            f"z has shape {tuple(z.shape)}, (N, {dim}) is needed; pass latents of the space {whose}"
        )


def check_finite(x: Array, name: str, classes: Labels | None = None) -> None:
    """An array without NaN or infinity; its first axis belongs to ``classes``, if given."""
    xp = namespace(x)
    faulty = ~xp.isfinite(x)
    if not bool(xp.any(faulty)):
        return
    where = ""
    if classes is not None:
        first = first_true(xp.any(xp.reshape(faulty, (x.shape[0], -1)), axis=1))
        where = f" in class {classes[first].item()!r}"
    raise InvalidInputError(f"{name} holds NaN or infinity{where}; pass finite numbers")


def check_finite_rows(z: Array, first_row: int = 0) -> None:
    """Latents (N, d) without NaN or infinity; ``first_row`` is where a chunk begins."""
    xp = namespace(z)
    for block in blocks(z.shape[0], z.shape[1], 2**22):
        faulty = ~xp.isfinite(z[block, :])
        row = first_true(xp.any(faulty, axis=1))
        if row is not None:
            raise InvalidInputError(
                f"z holds NaN or infinity in row {first_row + block.start + row}, "
                f"column {first_true(faulty[row, :])}; drop or repair the row"
            )


def check_finite_sums(z: Array, *sums: Array, first_row: int = 0) -> None:
    """Sums over ``z`` that are finite; if not, the row of ``z`` to blame is looked for."""
    if all(bool(namespace(x).all(namespace(x).isfinite(x))) for x in sums):
        return
    check_finite_rows(z, first_row)
    raise InvalidInputError("z (or sample_weight) is too large: its sums overflow; rescale it")


def check_sample_weight(sample_weight: object, n_rows: int) -> Array:
    """Weights (N,) >= 0."""
    weights = as_floating(sample_weight, "sample_weight")
    xp = namespace(weights)
    if tuple(weights.shape) != (n_rows,):
        raise InvalidInputError(
            f"sample_weight has shape {tuple(weights.shape)}, ({n_rows},) is needed; "
            "give one weight a sample"
        )
    faulty = ~(xp.isfinite(weights) & (weights >= 0.0))
    row = first_true(faulty)
    if row is not None:
        raise InvalidInputError(
            f"sample_weight is {float(weights[row])} in row {row}; weights are finite and >= 0"
        )
    return weights


def check_class_weights(weights: Array, labels: Labels) -> None:
    """Weights (N,) that leave every class something."""
    classes, codes = np.unique(labels, return_inverse=True)
    sums = np.bincount(codes, weights=to_numpy(weights))
    if (sums == 0.0).any():
        label = classes[np.argmin(sums)].item()
        raise InvalidInputError(
            f"sample_weight sums to zero in class {label!r}; drop the class or weigh it"
        )


# -- statistics ----------------------------------------------------------------------------


def check_statistics_kind(covariance: object) -> None:
    """The two kinds of statistics."""
    check_choice(covariance, "covariance", ("diagonal", "dense"))


def check_classes(classes: Labels) -> None:
    """Labels that are distinct and ascending."""
    faulty = classes[1:] <= classes[:-1]
    if faulty.any():
        label = classes[1:][np.argmax(faulty)].item()
        raise InvalidInputError(
            f"classes are not distinct and ascending at {label!r}; "
            "sort them, and the rows that belong to them, and name each class once"
        )


def check_statistics_values(
    counts: Array, means: Array, covariances: Array, classes: Labels
) -> None:
    """The fields of ClassStatistics, against each other."""
    check_matrix(means, "means")
    n_classes, dim = means.shape
    for name, shape, allowed in [
        ("counts", tuple(counts.shape), [(n_classes,)]),
        ("covariances", tuple(covariances.shape), [(n_classes, dim), (n_classes, dim, dim)]),
        ("classes", classes.shape, [(n_classes,)]),
    ]:
        if shape not in allowed:
            needed = " or ".join(str(candidate) for candidate in allowed)
            raise InvalidInputError(
                f"{name} has shape {shape}, {needed} is needed beside means of shape "
                f"{tuple(means.shape)}"
            )
    for name, value in [("counts", counts), ("means", means), ("covariances", covariances)]:
        check_finite(value, name, classes)
    xp = namespace(means)
    variances = covariances if covariances.ndim == 2 else xp.linalg.diagonal(covariances)
    for name, faulty in [
        ("counts", counts < 0.0),
        ("covariances", xp.any(variances < 0.0, axis=1)),
    ]:
        first = first_true(faulty)
        if first is not None:
            label = classes[first].item()
            raise InvalidInputError(f"{name} holds a negative number in class {label!r}")
    asymmetric = first_asymmetric(covariances) if covariances.ndim == 3 else None
    if asymmetric is not None:
        raise InvalidInputError(
            f"covariances is not symmetric in class {classes[asymmetric].item()!r}; "
            "pass (C + C') / 2"
        )
