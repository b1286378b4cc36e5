"""Statistics of more classes, or of fewer."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fpigauss._array.namespaces import device_of, namespace
from fpigauss._array.typing import Labels
from fpigauss.statistics._moments import ClassMoments

if TYPE_CHECKING:
    from fpigauss.statistics._class_statistics import ClassStatistics

__all__ = ["over", "spread_over", "taken"]


def over(moments: ClassMoments, known: Labels, classes: Labels) -> ClassMoments:
    """Spread moments of the classes ``known`` over ``classes``, with zeros for the others."""
    if np.array_equal(classes, known):
        return moments
    xp = namespace(moments.mean)
    position = np.searchsorted(known, classes)
    found = known[np.minimum(position, known.shape[0] - 1)] == classes
    index = np.where(found, position, known.shape[0])
    padded = ClassMoments(*(xp.concat([x, xp.zeros_like(x[:1, ...])]) for x in moments))
    return _at(padded, index)


def spread_over(statistics: "ClassStatistics", classes: Labels) -> "ClassStatistics":
    """Return statistics over ``classes``, a superset of theirs, with zeros for the others."""
    return _made(statistics, over(_moments_of(statistics), statistics.classes, classes), classes)


def taken(statistics: "ClassStatistics", mask: np.ndarray[Any, Any]) -> "ClassStatistics":
    """Return the statistics of the classes that ``mask`` (K,) marks."""
    part = _at(_moments_of(statistics), np.flatnonzero(mask))
    return _made(statistics, part, statistics.classes[mask])


def _moments_of(statistics: "ClassStatistics") -> ClassMoments:
    return ClassMoments(statistics.counts, statistics.means, statistics.covariances)


def _made(
    statistics: "ClassStatistics", moments: ClassMoments, classes: Labels
) -> "ClassStatistics":
    return type(statistics)(*moments, classes, closed=statistics.closed)


def _at(moments: ClassMoments, position: np.ndarray[Any, Any]) -> ClassMoments:
    """Take the moments at positions on the host."""
    xp = namespace(moments.mean)
    index = xp.asarray(position, device=device_of(moments.mean))
    return ClassMoments(*(xp.take(x, index, axis=0) for x in moments))
