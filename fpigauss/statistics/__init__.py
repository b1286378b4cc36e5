"""Counts, means and covariances of the classes, gathered in one pass and merged in any order."""

from fpigauss.statistics._checks import check_sample_weight
from fpigauss.statistics._class_statistics import ClassStatistics
from fpigauss.statistics._rows import as_rows, prototype_of
from fpigauss.statistics._selection import spread_over, taken

__all__ = [
    "ClassStatistics",
    "as_rows",
    "check_sample_weight",
    "prototype_of",
    "spread_over",
    "taken",
]
