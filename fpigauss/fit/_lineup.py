"""The classes of a fit, those of the data and those that are held, and where each starts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fpigauss._array.labels import union
from fpigauss._array.linalg import per_class
from fpigauss._array.namespaces import cast_like, detached, device_of, namespace, to_numpy
from fpigauss._array.typing import Array, Labels, Mask
from fpigauss.covariance import CovarianceFamily, shrunk
from fpigauss.divergence import PairTerms
from fpigauss.equations import Held
from fpigauss.errors import InvalidInputError
from fpigauss.fit._checks import (
    check_class_counts,
    check_kind,
    check_scatter,
    check_unbiased,
    check_warm_start,
    data_values,
)
from fpigauss.fit._options import Options
from fpigauss.gaussians import ClassGaussians
from fpigauss.statistics import ClassStatistics, spread_over, taken

__all__ = ["Lineup", "grouped", "with_frozen"]


@dataclass(frozen=True)
class Lineup:
    """All classes of a fit, and which of them are fitted.

    Masks (K,) are None where they would be true of every class.
    """

    options: Options
    #: Of all classes: zeros where a held class has no samples.
    statistics: ClassStatistics
    #: Projections of the class covariances (K, ...), shrunk.
    own: Array
    #: The classes that are fitted.
    free: Mask | None = None
    #: The classes whose likelihood depends on what is fitted.
    weighed: Mask | None = None
    #: The classes that are in ``init``, where that is a ClassGaussians.
    given: Mask | None = None

    @classmethod
    def of(cls, statistics: ClassStatistics, options: Options, source: str) -> Self:
        """Line up the classes of the statistics from ``source``, and the frozen ones."""
        family, init = options.strategies.family, options.init
        free = weighed = given = None
        if options.frozen:
            statistics, free = _with_frozen(statistics, np.asarray(options.frozen), source)
        check_kind(family, statistics, source)
        if isinstance(init, ClassGaussians):
            check_warm_start(init, family, statistics, free)
            known = np.isin(statistics.classes, init.classes)
            given = None if known.all() else known
        check_class_counts(statistics, free, source)
        if free is not None:
            # a shared covariance is that of held classes too, if they have samples
            pooled = family.tied and options.updates_covariances
            weighed = free | (to_numpy(statistics.counts) > 0.0) if pooled else free
        own = shrunk(statistics.covariances, statistics.counts, options.shrinkage)
        return cls(options, statistics, family.projections(own), free, weighed, given)

    @property
    def starts_anew(self) -> bool:
        """Whether some class starts from the data, or from its mean and the identity."""
        return self.given is not None or not isinstance(self.options.init, ClassGaussians)

    def check_data(self, source: str) -> None:
        """Raise for data from which the free classes cannot be fitted."""
        options, family = self.options, self.options.strategies.family
        equations = options.strategies.equations
        if options.updates_covariances or options.init == "data":
            check_scatter(family, *self._among(self.weighed), source, equations)
        elif self.given is not None and not family.tied:
            check_scatter(family, *self._among(~self.given), source, equations)
        if equations.unbiased:
            check_unbiased(self._among(self.free)[1], source)

    def initial(self) -> tuple[Array, Array]:
        """Return the initial means (K, d) and covariance values."""
        family, init = self.options.strategies.family, self.options.init
        means = self.statistics.means
        if not isinstance(init, ClassGaussians):
            return means, self._of_data() if init == "data" else self._identity()
        values = family.unpack(cast_like(detached(init.covariances), means))
        given = cast_like(detached(init.means), means)
        if self.given is not None:
            given = self._given(init, given, means)
            values = values if family.tied else self._given(init, values, self._of_data())
        return given, values

    def data(self, family: CovarianceFamily, means: Array, values: Array) -> tuple[Array, Array]:
        """Return the means (K, d) and pooled projections that pull in the ``family`` at work.

        Held classes that are not in the likelihood are where they are pulled to: at the initial
        ``means`` and covariance ``values``; they have no part in a pooled covariance.
        """
        statistics, own = self.statistics, self.own
        if self.weighed is None:
            return statistics.means, family.pooled(own)
        xp, weighed = namespace(own), self._like(self.weighed)
        held = xp.zeros_like(own)
        if not family.tied:
            held = held + family.values_projections(values, statistics.dim)
        own = xp.where(per_class(weighed, own), own, held)
        return xp.where(weighed[:, None], statistics.means, means), family.pooled(own)

    def held(self, like: Array | None = None) -> Held | None:
        """Describe to the equations what is held: all KLDs between held classes, to begin with.

        In arrays like ``like``; like the statistics by default.
        """
        if self.free is None:
            return None
        group = np.where(self.free, np.arange(self.free.shape[0]), -1)
        return Held(*(self._like(part, like) for part in (self.free, self.weighed, group)))

    # -- inside ----------------------------------------------------------------------------

    def _of_data(self) -> Array:
        """Compute the covariance values of the data."""
        family, statistics = self.options.strategies.family, self.statistics
        if self.options.strategies.equations.unbiased:
            counts = statistics.counts[:, None]
            return self.own * (counts / (counts - 1.0))
        return data_values(family, family.pooled(self.own), statistics.n_classes, statistics.dim)

    def _identity(self) -> Array:
        family, dim = self.options.strategies.family, self.statistics.dim
        one = family.average(family.unit(dim, self.statistics.means), dim)
        shape = family.average(family.pooled(self.own), dim)
        return namespace(shape).zeros_like(shape) + one

    def _given(self, init: ClassGaussians, values: Array, otherwise: Array) -> Array:
        """Return ``values`` of the classes of ``init`` where there are any, else ``otherwise``."""
        assert self.given is not None
        xp, classes = namespace(values), self.statistics.classes
        position = np.searchsorted(init.classes, classes)
        index = self._like(np.minimum(position, init.n_classes - 1))
        spread = xp.take(values, index, axis=0)
        return xp.where(per_class(self._like(self.given), spread), spread, otherwise)

    def _among(self, mask: Mask | None) -> tuple[Array, ClassStatistics]:
        """Return the projections and the statistics of the classes of ``mask``."""
        if mask is None:
            return self.own, self.statistics
        index = self._like(np.flatnonzero(mask))
        return namespace(self.own).take(self.own, index, axis=0), taken(self.statistics, mask)

    def _like(self, values: Any, like: Array | None = None) -> Array:
        like = self.statistics.means if like is None else like
        return namespace(like).asarray(values, device=device_of(like))


def _with_frozen(
    statistics: ClassStatistics, frozen: Labels, source: str
) -> tuple[ClassStatistics, Mask]:
    """Return statistics of the ``frozen`` classes too, and a mask of the others."""
    statistics = spread_over(statistics, with_frozen(statistics.classes, frozen))
    free = ~np.isin(statistics.classes, frozen)
    if not free.any():
        raise InvalidInputError(
            f"frozen has all classes, so nothing is left to fit; leave one out of it, or add "
            f"samples of another class to {source}"
        )
    return statistics, free


def with_frozen(classes: Labels, frozen: Sequence[int | str] | Labels) -> Labels:
    """Return the ``classes`` of the data and the ``frozen`` ones, sorted."""
    if len(frozen) == 0:
        return classes
    frozen = np.asarray(frozen)
    if (frozen.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise InvalidInputError(
            f"frozen has the class {frozen[0].item()!r}, but the data have classes such as "
            f"{classes[0].item()!r}; make all labels strings, or all of them integers"
        )
    return union(classes, frozen)


def grouped(held: Held, terms: PairTerms, noise: Array) -> Held:
    """Group held classes for a shared covariance that is updated: only those with equal means.

    The KLDs between others change with the covariance. ``noise`` (K,) bounds the divergence from
    each class that rounding alone leaves.
    """
    xp = namespace(terms.means)
    firsts = []
    for block in terms.blocks():
        equal = (terms.divergences(block) <= noise[None, :]) & held.both(block)
        first = xp.argmax(xp.astype(equal, xp.int64), axis=1)
        firsts.append(xp.where(held.free[block], held.group[block], first))
    return replace(held, group=xp.concat(firsts))
