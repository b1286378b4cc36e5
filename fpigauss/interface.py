"""What packages built on the core import from it, beside its public names."""

from fpigauss._blocks import MEMORY_LIMIT
from fpigauss._progress import progress_bar
from fpigauss._validation import (
    check_choice,
    check_nonnegative,
    check_positive,
    check_positive_integer,
    check_sample_weight,
    check_whole,
)
from fpigauss.covariance import FAMILIES, CovarianceFamily, Diagonal, resolve_family, shrunk
from fpigauss.repulsion import check_pi, resolve_repulsion

__all__ = [
    "FAMILIES",
    "MEMORY_LIMIT",
    "CovarianceFamily",
    "Diagonal",
    "check_choice",
    "check_nonnegative",
    "check_pi",
    "check_positive",
    "check_positive_integer",
    "check_sample_weight",
    "check_whole",
    "progress_bar",
    "resolve_family",
    "resolve_repulsion",
    "shrunk",
]
