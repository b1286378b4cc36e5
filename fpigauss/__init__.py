"""fpigauss: separated class Gaussians for labelled latent spaces, by fixed-point iteration.

Every class of a labelled latent space gets its own Gaussian, pushed apart from the others by a
Kullback-Leibler repulsion (Enescu & Sahbi, BMVC 2024). The modules, read in the order in which
the data flow, tell the algorithm:

``statistics``
    counts, means and covariances of the classes, in one pass;
``covariance``
    the families: diagonal, dense, isotropic, each a class or tied;
``gaussians``
    one Gaussian a class: densities, prediction, samples;
``divergence``, ``repulsion``
    the pairwise KLD, and how hard it makes the classes repel;
``equations``
    three readings of the paper's equations: update and objective at a point;
``solvers``
    picard, guarded, accelerated, and the one loop that drives them;
``result``, ``fit``
    what comes back, and the two calls.
"""

from fpigauss._errors import (
    ConvergenceWarning,
    InvalidInputError,
    NotPositiveDefiniteError,
    UnboundedObjectiveWarning,
)
from fpigauss.divergence import pairwise_kld
from fpigauss.equations import ReleasedEquations
from fpigauss.fit import fit_fixed_point, solve_fixed_point
from fpigauss.gaussians import ClassGaussians
from fpigauss.geometry import geometric_mean
from fpigauss.repulsion import critical_lam
from fpigauss.result import FixedPointResult, Status
from fpigauss.statistics import ClassStatistics

__all__ = [
    "ClassGaussians",
    "ClassStatistics",
    "ConvergenceWarning",
    "FixedPointResult",
    "InvalidInputError",
    "NotPositiveDefiniteError",
    "ReleasedEquations",
    "Status",
    "UnboundedObjectiveWarning",
    "__version__",
    "critical_lam",
    "fit_fixed_point",
    "geometric_mean",
    "pairwise_kld",
    "solve_fixed_point",
]

__version__ = "0.1.0"
