"""What packages built on the core import from it in addition to its public names.

Input checks with the messages of this package, resolution of names to strategies, and the few
array functions that such packages need. The promise of the public names covers them too: what
moves keeps a deprecated alias for one release.
"""

from fpigauss._array.checks import (
    check_choice,
    check_flag,
    check_nonnegative,
    check_positive,
    check_positive_integer,
    check_whole,
)
from fpigauss._progress import progress_bar
from fpigauss.covariance import resolve_family, shrunk
from fpigauss.fit import RefitOptions
from fpigauss.fit._documented import with_options
from fpigauss.repulsion import resolve_repulsion
from fpigauss.statistics import check_sample_weight

__all__ = [
    "RefitOptions",
    "check_choice",
    "check_flag",
    "check_nonnegative",
    "check_positive",
    "check_positive_integer",
    "check_sample_weight",
    "check_whole",
    "progress_bar",
    "resolve_family",
    "resolve_repulsion",
    "shrunk",
    "with_options",
]
