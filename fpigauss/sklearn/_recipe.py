"""What a classifier fits: the part of its parameters that a fit takes, and what comes of it."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fpigauss._array.flags import unflagged
from fpigauss._array.linalg import eye_like
from fpigauss._array.namespaces import device_of, namespace, to_numpy
from fpigauss._array.typing import Array, Labels
from fpigauss._warnings import warn_user
from fpigauss.covariance import resolve_family
from fpigauss.errors import InvalidInputError
from fpigauss.fit import FixedPoint
from fpigauss.fit._run import solved
from fpigauss.fit._separated import separated
from fpigauss.fit._separation import separation_of
from fpigauss.gaussians._priors import log_priors
from fpigauss.result import FixedPointResult
from fpigauss.statistics import ClassStatistics

__all__ = ["Fitted", "Recipe", "on_host", "taken"]


@dataclass(frozen=True)
class Fitted:
    """A fit of the classes that have rows, which are the ``seen`` ones of all."""

    lam: float
    result: FixedPointResult
    #: Of all classes (K,); None if they are equal.
    log_priors: Array | None
    #: Which of all classes have rows, in numbers from 0.
    seen: Labels
    n_classes: int
    #: Those of all classes that were fitted to; None in older files.
    statistics: ClassStatistics | None = None

    def over_all(self, log_prob: Array) -> Array:
        """Spread the columns of the seen classes over those of all."""
        xp = namespace(log_prob)
        n_seen = len(self.seen)
        if n_seen == self.n_classes:
            return log_prob
        source = np.full(self.n_classes, n_seen)
        source[self.seen] = np.arange(n_seen)
        nothing = xp.full_like(log_prob[:, :1], -math.inf)
        index = xp.asarray(source, device=device_of(log_prob))
        return xp.take(xp.concat([log_prob, nothing], axis=1), index, axis=1)


@dataclass(frozen=True)
class Recipe:
    """Parameters as they were when rows were passed: later ones are of the next fit."""

    fixed_point: FixedPoint
    separation: float | None
    priors: Any
    var_smoothing: float

    @unflagged
    def gathered(
        self,
        X: Array,
        y: Labels,
        sample_weight: Any,
        *,
        classes: Labels,
        before: ClassStatistics | None = None,
    ) -> ClassStatistics:
        """Gather the statistics that the fit needs, of the kind of those ``before``, if any."""
        covariance = "dense" if self.fixed_point.strategies.family.needs_dense else "diagonal"
        if before is not None and before.covariance != covariance:
            if covariance == "dense":
                raise InvalidInputError(
                    "covariance needs dense statistics, but statistics_ contains the variances "
                    "that an earlier one needed; call fit with all rows"
                )
            covariance = before.covariance
        return ClassStatistics.from_samples(
            X, y, covariance=covariance, classes=classes, sample_weight=sample_weight
        )

    @unflagged
    def fitted(self, statistics: ClassStatistics, source: str = "X") -> Fitted:
        """Fit the classes that have rows."""
        priors = log_priors(
            self.priors,
            counts=statistics.counts,
            classes=statistics.classes,
            like=statistics.means,
        )
        seen = np.flatnonzero(to_numpy(statistics.counts) > 0.0)
        if len(seen) < 2:
            raise InvalidInputError(
                f"{len(seen)} of the {statistics.n_classes} classes had rows so far; "
                "at least two are needed"
            )
        own = _of_classes(statistics, seen)
        self._warn_of_flat(own)
        some = _smoothed(own, self.var_smoothing)
        if self.separation is None:
            result = solved(some, self.fixed_point, source=source, like=some.means)
        else:
            target = separation_of({"min_kld": self.separation})
            options = replace(self.fixed_point, lam=None)
            result = separated(some, options, target, source=source).result
        return Fitted(result.lam or 0.0, result, priors, seen, statistics.n_classes, statistics)

    def _warn_of_flat(self, own: ClassStatistics) -> None:
        """Warn of a class whose dense covariance only the smoothing makes definite, all but flat.

        Features that are constant in all classes do not count: smoothing is for them. Nor is there
        a warning where all classes together are flat in another direction.
        """
        options = self.fixed_point
        family = resolve_family(options.covariance, options.tied)
        if family.tied or not family.needs_dense or own.covariance != "dense" or options.shrinkage:
            return
        if self.var_smoothing == 0.0:  # an error of the fit
            return
        covariances = _of_varying(own.covariances)
        if not covariances.shape[-1]:  # every feature is constant in every class
            return
        xp = namespace(covariances)
        none = xp.zeros_like(covariances[:, 0])
        flat = family.first_singular(covariances, none)
        pooled = xp.mean(covariances, axis=0, keepdims=True)
        if flat is None or family.first_singular(pooled, none[:1]) is not None:
            return
        warn_user(
            f"class {own.classes[flat].item()!r} has {float(own.counts[flat]):g} rows in {own.dim} "
            "dimensions and no variance in some direction, except for what var_smoothing adds: new "
            "rows of it that leave this direction will hardly be predicted; pass tied=True, "
            'shrinkage="oas" or more rows',
            UserWarning,
        )


def _of_varying(covariances: Array) -> Array:
    """Take the features that vary in some class: their rows and columns of (K, d, d)."""
    xp = namespace(covariances)
    variances = xp.max(xp.linalg.diagonal(covariances), axis=0)
    varying = xp.asarray(np.flatnonzero(to_numpy(variances) > 0.0), device=device_of(covariances))
    return xp.take(xp.take(covariances, varying, axis=1), varying, axis=2)


def taken(x: Array, rows: Labels) -> Array:
    """Take rows of an array, by their numbers on the host."""
    xp = namespace(x)
    return xp.take(x, xp.asarray(rows, device=device_of(x)), axis=0)


def on_host(statistics: ClassStatistics) -> ClassStatistics:
    """Return statistics of any namespace as numpy's."""
    return replace(
        statistics,
        counts=to_numpy(statistics.counts),
        means=to_numpy(statistics.means),
        covariances=to_numpy(statistics.covariances),
    )


def _of_classes(statistics: ClassStatistics, codes: Labels) -> ClassStatistics:
    """Return the statistics of some of the classes."""
    if len(codes) == statistics.n_classes:
        return statistics
    return ClassStatistics(
        taken(statistics.counts, codes),
        taken(statistics.means, codes),
        taken(statistics.covariances, codes),
        statistics.classes[codes],
    )


def _smoothed(statistics: ClassStatistics, part: float) -> ClassStatistics:
    """Add a part of the largest variance of a feature to the variances of every class."""
    xp = namespace(statistics.means)
    dense = statistics.covariance == "dense"
    variances = xp.linalg.diagonal(statistics.covariances) if dense else statistics.covariances
    weights = (statistics.counts / xp.sum(statistics.counts))[:, None]
    apart = statistics.means - xp.sum(weights * statistics.means, axis=0)
    total = xp.sum(weights * (variances + apart * apart), axis=0)  # law of total variance
    added = part * xp.max(total)
    identity = eye_like(statistics.dim, statistics.means) if dense else 1.0
    return replace(statistics, covariances=statistics.covariances + added * identity)
