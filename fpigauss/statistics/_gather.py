"""The moments of the classes of one array of latents, read chunk by chunk."""

from typing import Any

import numpy as np

from fpigauss._array.labels import as_classes, as_labels, codes_of
from fpigauss._array.namespaces import cast_like, namespace, to_numpy, working_dtype
from fpigauss._array.typing import Array, Labels
from fpigauss.statistics._checks import (
    check_class_weights,
    check_finite_sums,
    check_finite_totals,
    check_sample_weight,
    check_samples,
    check_statistics_kind,
)
from fpigauss.statistics._moments import ClassMoments, class_moments, merged
from fpigauss.statistics._rows import as_rows, prototype_of, row_chunks, seen_by_numpy

__all__ = ["gathered"]


def gathered(
    z: Any, y: Any, sample_weight: Any, *, covariance: str, classes: Any, in_parts: bool
) -> tuple[Labels, ClassMoments]:
    """Gather the classes and their moments; ``in_parts`` if others will be merged with them.

    Labels and weights are checked whole before the first latent is read.
    """
    check_statistics_kind(covariance)
    given = as_rows(z)
    rows = seen_by_numpy(given)
    labels = as_labels(y)
    check_samples(rows, labels)
    known = np.unique(labels) if classes is None else as_classes(classes)
    codes = codes_of(labels, known)
    weights: Array | None = None
    exponents = np.zeros(known.shape, dtype=np.int64)
    if sample_weight is not None:
        weights = check_sample_weight(sample_weight, labels.shape[0])
        if not in_parts:
            check_class_weights(weights, labels)
        scaled, exponents = _scaled(to_numpy(weights), codes, known.shape[0])
        kind = prototype_of(rows)
        weights = cast_like(scaled, namespace(kind).astype(kind[:, 0], working_dtype(kind)))
    total: ClassMoments | None = None
    n_parts = 0
    for place, chunk in row_chunks(rows):
        weight = None if weights is None else weights[place]
        moments = class_moments(
            chunk, codes[place], weight, known.shape[0], dense=covariance == "dense"
        )
        check_finite_sums(chunk, moments.mean, moments.covariance, first_row=place.start)
        total = moments if total is None else merged(total, moments)
        n_parts += 1
    assert total is not None  # check_samples makes sure of a row
    if exponents.any():
        count = np.ldexp(to_numpy(total.count), exponents)
        total = total._replace(count=cast_like(count, total.count))
    if n_parts > 1 or exponents.any():  # else each sum has been looked at
        check_finite_totals(*total, classes=known)
    if rows is given:
        return known, total
    kind = prototype_of(given)
    kind = namespace(kind).astype(kind, working_dtype(kind))
    return known, ClassMoments(*(cast_like(x, kind) for x in total))


def _scaled(
    weights: np.ndarray[Any, Any], codes: np.ndarray[Any, Any], n_classes: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Divide the weights of each class by a power of two, so that products do not underflow.

    The exponents (K,) are also returned. Only ratios of weights matter to moments, and powers of
    two round nothing.
    """
    largest = np.zeros(n_classes)
    np.maximum.at(largest, codes, weights)
    exponents = np.frexp(largest)[1].astype(np.int64)
    return np.ldexp(weights.astype(np.float64), -exponents[codes]), exponents
