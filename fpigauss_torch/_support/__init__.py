"""What every room of this package uses: input checks, densities, modes, errors."""

from fpigauss_torch._support.arrays import as_samples, as_tensor, deciding_parameters, not_encoded
from fpigauss_torch._support.averaged import warn_of_averaged_integers
from fpigauss_torch._support.backward import check_outside_backward, checked_at_backward
from fpigauss_torch._support.blocks import MEMORY_LIMIT, by_blocks
from fpigauss_torch._support.checks import (
    ON_META,
    as_generator,
    as_integer,
    as_latents,
    check_statistics,
    checked_encoding,
)
from fpigauss_torch._support.compiled import not_compiled, under_compile
from fpigauss_torch._support.density import ClassDensity, mixture, weighted, working_dtype
from fpigauss_torch._support.distances import wide_dtype
from fpigauss_torch._support.errors import RefitRejectedError, RepeatedRepulsionWarning
from fpigauss_torch._support.functional import is_batched, is_dual, is_mapped, is_wrapped
from fpigauss_torch._support.labels import (
    check_integral,
    hard_labels,
    label_tensor,
    labels_to_draw,
    soft_labels,
)
from fpigauss_torch._support.matmul import matmul
from fpigauss_torch._support.modes import evaluating, modes_restored
from fpigauss_torch._support.options import (
    ACCEPTED,
    Refit,
    RefitInit,
    check_accepted,
    check_fit,
    check_lam_once,
    described,
    given,
    lam_apart,
    starts_from_data,
    with_refit_options,
)
from fpigauss_torch._support.priors import joint, log_priors_of, posterior, prior_mixture
from fpigauss_torch._support.samples import (
    finite_rows,
    warn_of_log_determinants,
    warn_of_samples_not_finite,
)
from fpigauss_torch._support.sharded import is_sharded, register_sharded
from fpigauss_torch._support.states import state_said, state_tensor

__all__ = [
    "ACCEPTED",
    "MEMORY_LIMIT",
    "ON_META",
    "ClassDensity",
    "Refit",
    "RefitInit",
    "RefitRejectedError",
    "RepeatedRepulsionWarning",
    "as_generator",
    "as_integer",
    "as_latents",
    "as_samples",
    "as_tensor",
    "by_blocks",
    "check_accepted",
    "check_fit",
    "check_integral",
    "check_lam_once",
    "check_outside_backward",
    "check_statistics",
    "checked_at_backward",
    "checked_encoding",
    "deciding_parameters",
    "described",
    "evaluating",
    "finite_rows",
    "given",
    "hard_labels",
    "is_batched",
    "is_dual",
    "is_mapped",
    "is_sharded",
    "is_wrapped",
    "joint",
    "label_tensor",
    "labels_to_draw",
    "lam_apart",
    "log_priors_of",
    "matmul",
    "mixture",
    "modes_restored",
    "not_compiled",
    "not_encoded",
    "posterior",
    "prior_mixture",
    "register_sharded",
    "soft_labels",
    "starts_from_data",
    "state_said",
    "state_tensor",
    "under_compile",
    "warn_of_averaged_integers",
    "warn_of_log_determinants",
    "warn_of_samples_not_finite",
    "weighted",
    "wide_dtype",
    "with_refit_options",
    "working_dtype",
]
