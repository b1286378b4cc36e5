"""What packages built on the core import from it in addition to its public names.

Input checks with the messages of this package, resolution of names to strategies, the few array
functions that such packages need, priors and open-set scores of densities that are computed
elsewhere, and warnings: those of a line of the user's, and those of former names. The promise of
the public names covers them too: what moves keeps a deprecated alias for one release.
"""

from fpigauss._array.checks import (
    as_integer,
    check_choice,
    check_draws,
    check_finite_rows,
    check_flag,
    check_nonnegative,
    check_positive,
    check_positive_integer,
    check_takes_one,
    check_whole,
)
from fpigauss._array.labels import as_labels, check_kept_by_numpy
from fpigauss._array.namespaces import check_unmasked
from fpigauss._array.rounding import torch_rounds_products
from fpigauss._deprecated import forward_old_addresses, renamed
from fpigauss._progress import progress_bar
from fpigauss._warnings import warn_user
from fpigauss.covariance import distinct_name, resolve_family, shrunk
from fpigauss.fit import RefitOptions
from fpigauss.fit._adjoint import check_differentiable
from fpigauss.fit._checks import Source, check_scatter
from fpigauss.fit._documented import checked_names, with_options
from fpigauss.fit._options import check_option_names
from fpigauss.fit._separated import separated
from fpigauss.fit._separation import Separation, SmallestKLD, separation_of
from fpigauss.gaussians import balanced_nll, joint, log_priors
from fpigauss.open_set import (
    Evidence,
    Method,
    background_of,
    check_method,
    finished,
    held_out_threshold,
)
from fpigauss.repulsion import resolve_repulsion
from fpigauss.statistics import check_sample_weight, moments_vjp

__all__ = [
    "Evidence",
    "Method",
    "RefitOptions",
    "Separation",
    "SmallestKLD",
    "Source",
    "as_integer",
    "as_labels",
    "background_of",
    "balanced_nll",
    "check_choice",
    "check_differentiable",
    "check_draws",
    "check_finite_rows",
    "check_flag",
    "check_kept_by_numpy",
    "check_method",
    "check_nonnegative",
    "check_option_names",
    "check_positive",
    "check_positive_integer",
    "check_sample_weight",
    "check_scatter",
    "check_takes_one",
    "check_unmasked",
    "check_whole",
    "checked_names",
    "distinct_name",
    "finished",
    "forward_old_addresses",
    "held_out_threshold",
    "joint",
    "log_priors",
    "moments_vjp",
    "progress_bar",
    "renamed",
    "resolve_family",
    "resolve_repulsion",
    "separated",
    "separation_of",
    "shrunk",
    "torch_rounds_products",
    "warn_user",
    "with_options",
]
