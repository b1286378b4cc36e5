"""Input checks of class statistics, and of the samples from which they are gathered."""

import numpy as np

from fpigauss._array.checks import check_choice, check_finite, check_finite_rows, check_matrix
from fpigauss._array.linalg import eye_like, first_asymmetric, first_not_positive_definite
from fpigauss._array.namespaces import as_floating, first_true, namespace, to_numpy
from fpigauss._array.typing import Array, Labels
from fpigauss.errors import InvalidInputError

__all__ = [
    "check_class_weights",
    "check_finite_sums",
    "check_finite_totals",
    "check_n_labels",
    "check_sample_weight",
    "check_samples",
    "check_statistics_kind",
    "check_statistics_values",
]

#: What entries of a matrix may be off by, in roundings,
_FEW = 8.0
#: of numbers of single precision.
_SINGLE_PRECISION = 2.0**-23


def check_statistics_kind(covariance: object) -> None:
    """Check that ``covariance`` names one of the two kinds of statistics."""
    check_choice(covariance, "covariance", ("diagonal", "dense"))


def check_samples(z: Array, labels: Labels) -> None:
    """Check that there are latents (N, d) and as many labels."""
    check_matrix(z, "z")
    check_n_labels(labels, z.shape[0])


def check_n_labels(labels: Labels, n_rows: int) -> None:
    """Check that there are as many labels as ``z`` has rows."""
    if labels.shape[0] != n_rows:
        raise InvalidInputError(
            f"z has {n_rows} rows and y has {labels.shape[0]} labels; pass one label per row"
        )


def check_finite_sums(z: Array, *sums: Array, first_row: int = 0) -> None:
    """Check that sums over ``z`` are finite; if not, look for the row of ``z`` to blame."""
    if all(bool(namespace(x).all(namespace(x).isfinite(x))) for x in sums):
        return
    check_finite_rows(z, first_row)
    raise InvalidInputError("z (or sample_weight) is too large: its sums overflow; rescale it")


def check_finite_totals(
    *sums: Array, classes: Labels, source: str = "z (or sample_weight)"
) -> None:
    """Check that sums (K, ...) over finite parts are finite; if not, name a class."""
    for x in sums:
        xp = namespace(x)
        if not bool(xp.all(xp.isfinite(x))):
            faulty = xp.any(xp.reshape(~xp.isfinite(x), (x.shape[0], -1)), axis=1)
            raise InvalidInputError(
                f"{source} is too large: the sums of class {classes[first_true(faulty)].item()!r} "
                "overflow; rescale the latents, of all parts alike"
            )


def check_sample_weight(sample_weight: object, n_rows: int) -> Array:
    """Check that weights are (N,), finite and >= 0."""
    weights = as_floating(sample_weight, "sample_weight")
    xp = namespace(weights)
    if tuple(weights.shape) != (n_rows,):
        column = tuple(weights.shape) == (n_rows, 1)
        raise InvalidInputError(
            f"sample_weight has shape {tuple(weights.shape)}, ({n_rows},) is needed; "
            f"pass {'sample_weight.ravel()' if column else 'one weight per sample'}"
        )
    faulty = ~(xp.isfinite(weights) & (weights >= 0.0))
    row = first_true(faulty)
    if row is not None:
        raise InvalidInputError(
            f"sample_weight is {float(weights[row])} in row {row}; pass finite weights >= 0"
        )
    return weights


def check_class_weights(weights: Array, labels: Labels) -> None:
    """Check that there is no class whose weights sum to zero."""
    classes, codes = np.unique(labels, return_inverse=True)
    sums = np.bincount(codes, weights=to_numpy(weights).astype(np.float64))
    if (sums == 0.0).any():
        label = classes[np.argmin(sums)].item()
        raise InvalidInputError(
            f"sample_weight sums to zero in class {label!r}; drop the class or give it weight"
        )


def check_statistics_values(
    counts: Array, means: Array, covariances: Array, classes: Labels, *, eps: float
) -> None:
    """Check the fields of ClassStatistics against each other.

    ``eps`` is the rounding of the dtype that the covariances were given in.
    """
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
                f"{name} has shape {shape}, {needed} is needed with means of shape "
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
            raise InvalidInputError(f"{name} contains a negative number in class {label!r}")
    asymmetric = first_asymmetric(covariances) if covariances.ndim == 3 else None
    if asymmetric is not None:
        raise InvalidInputError(
            f"covariances is not symmetric in class {classes[asymmetric].item()!r}; "
            "pass (C + C') / 2"
        )
    if covariances.ndim == 3:
        _check_semidefinite(means, covariances, classes, eps)


def _check_semidefinite(means: Array, covariances: Array, classes: Labels, eps: float) -> None:
    """Check that no covariance matrix (K, d, d) has an eigenvalue below zero, but for rounding.

    Covariances of few samples are singular. In units of its standard deviations, entries of a
    matrix are good to a few roundings, those of single precision at least, where they may have been
    computed; and what the means are rounded by leaves variance of its own.
    """
    xp = namespace(covariances)
    dim = means.shape[1]
    rounding = max(eps, _SINGLE_PRECISION)
    deviations = xp.sqrt(xp.linalg.diagonal(covariances))  # (K, d)
    noise = _FEW * eps * xp.abs(means)
    # an axis without variance must not covary with others by more than their rounding
    units = xp.maximum(deviations, rounding * xp.max(deviations, axis=1, keepdims=True)) + noise
    units = xp.where(units > 0.0, units, xp.ones_like(units))
    tolerated = (noise / units) ** 2 + _FEW * dim * rounding
    scaled = covariances / units[:, :, None] / units[:, None, :]
    index = first_not_positive_definite(scaled + tolerated[:, :, None] * eye_like(dim, means))
    if index is not None:
        least = float(xp.min(xp.linalg.eigvalsh(scaled[index, ...])))
        raise InvalidInputError(
            f"covariances has a negative eigenvalue in class {classes[index].item()!r} "
            f"({least:.2g} in units of standard deviations), more than rounding leaves; pass the "
            "covariance matrix of rows without gaps, or the nearest one that is semidefinite"
        )
