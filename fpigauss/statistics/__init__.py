"""Counts, means and covariances of the classes, gathered in one pass and merged in any order."""

from fpigauss.statistics._checks import check_sample_weight
from fpigauss.statistics._class_statistics import ClassStatistics
from fpigauss.statistics._rows import as_rows, results_like
from fpigauss.statistics._selection import spread_over, taken

__all__ = [
    "ClassStatistics",
    "as_rows",
    "check_sample_weight",
    "results_like",
    "spread_over",
    "taken",
]
