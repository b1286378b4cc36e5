"""What files of statistics contain."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fpigauss._array.files import FLAG, FLOATS, LABELS
from fpigauss._array.namespaces import to_numpy

if TYPE_CHECKING:
    from fpigauss.statistics._class_statistics import ClassStatistics

__all__ = ["FIELDS", "arrays_of"]

#: The fields of statistics in a file, and what each may contain.
FIELDS = {
    **dict.fromkeys(("counts", "means", "covariances"), FLOATS),
    "classes": LABELS,
    "closed": FLAG,
}


def arrays_of(statistics: "ClassStatistics") -> dict[str, Any]:
    """Return the fields of statistics as numpy arrays, for a file."""
    return {
        "counts": to_numpy(statistics.counts),
        "means": to_numpy(statistics.means),
        "covariances": to_numpy(statistics.covariances),
        "classes": statistics.classes,
        "closed": np.asarray(statistics.closed),
    }
