"""Counts, means and covariances of the classes, gathered in one pass and merged in any order."""

from fpigauss.statistics._checks import check_n_labels, check_sample_weight
from fpigauss.statistics._class_statistics import ClassStatistics
from fpigauss.statistics._gradient import moments_vjp
from fpigauss.statistics._rows import as_rows, results_like
from fpigauss.statistics._running import RunningStatistics
from fpigauss.statistics._selection import spread_over, taken

__all__ = [
    "ClassStatistics",
    "RunningStatistics",
    "as_rows",
    "check_n_labels",
    "check_sample_weight",
    "moments_vjp",
    "results_like",
    "spread_over",
    "taken",
]
