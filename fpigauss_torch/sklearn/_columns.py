"""Columns of a table as a flow likes them: without steps, centered, with one scale."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fpigauss import ClassStatistics, InvalidInputError, solve_fixed_point

__all__ = ["Columns", "snapped"]

#: The part of the variance of a column that is added to its variance within the classes.
_RIDGE = 1e-3
#: The smallest spread, and the largest sum, of a column.
_TINIEST, _HUGEST = 1e-300, 1e306
#: Integers up to here are exact in float64.
_EXACT = 2.0**53

Floats = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Columns:
    """An affine map of rows: (x + step / 2 - center) matrix, and what undoes it.

    The rows of a class have about the same variance in every direction afterwards, so that one tied
    isotropic Gaussian per class under an untrained flow is linear discriminant analysis. All rows
    together have at most unit variance in any direction, which keeps them where splines bend:
    those of zuko end at +-5.
    """

    #: (d,) the distance between the values of a column of integers, 0 for other columns.
    steps: Floats
    #: (d,) the smallest and the largest value of each column.
    lowest: Floats
    highest: Floats
    #: (d,) the mean.
    center: Floats
    #: (d, d) from columns to whitened ones, by multiplication from the right.
    matrix: Floats
    #: (d, d) the inverse of ``matrix``.
    inverse: Floats
    #: The standard deviation within the classes, in every direction.
    within: float

    @classmethod
    def of(cls, X: Floats, codes: Floats, weights: Floats) -> "Columns":
        """Find the map from rows (N, d), classes (N,) and weights > 0 (N,)."""
        steps = _steps(X)
        _check_size(X)
        center = np.average(X, axis=0, weights=weights)
        scale = _scale(X - center, steps, weights)
        # rounding leaves a constant column something
        rounding = 10.0 * len(X) * np.finfo(X.dtype).eps * np.abs(center)
        scale = np.where(scale > rounding, scale, 1.0)
        statistics = ClassStatistics.from_samples(
            (X - center) / scale, codes, covariance="dense", sample_weight=weights
        )
        added = np.diag((steps / scale) ** 2 / 12 + _RIDGE)  # uniform noise, and the ridge
        statistics = replace(statistics, covariances=statistics.covariances + added)
        tied = solve_fixed_point(statistics, 0.0, covariance="dense", tied=True, shrinkage="oas")
        values, vectors = np.linalg.eigh(tied.gaussians.covariances)
        whitening = (vectors / np.sqrt(values)) @ vectors.T
        rows = (X - center) / scale @ whitening
        widest = np.linalg.eigvalsh(np.atleast_2d(np.cov(rows.T, aweights=weights)))[-1]
        within = 1.0 / np.sqrt(max(float(widest), 1.0))
        return cls(
            steps=steps,
            lowest=X.min(axis=0),
            highest=X.max(axis=0),
            center=center + steps / 2,
            matrix=within * whitening / scale[:, None],
            inverse=scale / within * ((vectors * np.sqrt(values)) @ vectors.T),
            within=within,
        )

    @property
    def log_det(self) -> float:
        """Return log abs(det matrix), in nats."""
        return float(np.linalg.slogdet(self.matrix)[1])

    def __call__(self, X: Floats) -> Floats:
        """Map rows (N, d); an integer goes to the middle of what its noise covers."""
        rows: Floats = (X + self.steps / 2 - self.center) @ self.matrix
        return rows

    def undo(self, rows: Floats) -> Floats:
        """Map rows back; columns of integers become the integers that were seen."""
        X: Floats = rows @ self.inverse + self.center
        whole = self.steps > 0
        step = np.where(whole, self.steps, 1.0)
        stepped = self.lowest + step * np.floor((X - self.lowest) / step)
        return np.where(whole, np.clip(stepped, self.lowest, self.highest), X)


def snapped(drawn: Floats, X: Floats) -> Floats:
    """Round what was drawn for columns of integers in rows ``X`` to the nearest such integers."""
    steps, lowest, highest = _steps(X), X.min(axis=0), X.max(axis=0)
    whole = steps > 0
    step = np.where(whole, steps, 1.0)
    stepped = lowest + step * np.rint((drawn - lowest) / step)
    return np.where(whole, np.clip(stepped, lowest, highest), drawn)


def _check_size(X: Floats) -> None:
    """Refuse columns whose sums overflow, or whose spread has an inverse that does."""
    largest, spread = np.abs(X).max(axis=0), np.ptp(X / 2, axis=0)
    for column in range(X.shape[1]):
        too_small = 0.0 < spread[column] < _TINIEST
        if too_small or largest[column] > _HUGEST / len(X):
            raise InvalidInputError(
                f"X has values in column {column} that are too {'small' if too_small else 'large'} "
                "for float64; rescale it"
            )


def _scale(apart: Floats, steps: Floats, weights: Floats) -> Floats:
    """Return the standard deviation (d,) of columns, of which no square over- or underflows."""
    largest = np.abs(apart).max(axis=0)
    largest = np.where(largest > 0.0, largest, 1.0)
    mean_square = np.average((apart / largest) ** 2, axis=0, weights=weights)
    scale: Floats = largest * np.sqrt(mean_square + (steps / largest) ** 2 / 12)
    return scale


def _steps(X: Floats) -> Floats:
    """Return the common step (d,) of the values of each column of integers, 0 for other columns."""
    steps = np.zeros(X.shape[1])
    whole = np.all((np.rint(X) == X) & (np.abs(X) < _EXACT), axis=0)
    for column in np.flatnonzero(whole):
        values = np.unique(X[:, column]).astype(np.int64)
        steps[column] = max(int(np.gcd.reduce(np.diff(values))), 1) if len(values) > 1 else 1
    return steps
