"""fpigauss: separated class Gaussians for labeled latent spaces, by fixed-point iteration.

Every class of a labeled latent space gets its own Gaussian, pushed apart from the others by a
Kullback-Leibler repulsion (Enescu & Sahbi, BMVC 2024). The public names are all here; the modules,
read in the order in which the data flow, tell the algorithm:

``statistics``
    counts, means and covariances of the classes, in one pass;
``covariance``
    the families: diagonal, dense, isotropic, each per class or tied;
``latents``
    latents and labels read from files in batches, within a memory limit;
``gaussians``
    one Gaussian per class: densities, prediction, samples;
``open_set``
    scores of rows that belong to no class, and thresholds to reject them;
``divergence``, ``overlap``, ``repulsion``
    how far apart the classes are, and how strongly that makes them repel each other;
``equations``
    the paper's equations, exact, as printed or as released: update and objective at a point;
``solvers``
    picard, guarded, accelerated, and the one loop that drives them;
``result``, ``fit``
    what a fit returns; its options, declared once, and the calls, for a given ``lam``, for a given
    separation, and along a path of ``lam``.

``interface`` holds what packages built on this one import in addition to the public names.
"""

import sys

from fpigauss import _at_start  # noqa: F401 - before what takes long to import
from fpigauss._deprecated import forward_old_addresses
from fpigauss.covariance import CovarianceFamily, Dense, Diagonal, Factor, Isotropic
from fpigauss.divergence import pairwise_kld, smallest_kld
from fpigauss.equations import (
    Equations,
    PrintedEquations,
    ReleasedEquations,
    StationaryEquations,
)
from fpigauss.errors import (
    ConvergenceWarning,
    InvalidInputError,
    NotDifferentiableError,
    NotPositiveDefiniteError,
    PooledCovarianceWarning,
    SaddlePointWarning,
    UnboundedObjectiveWarning,
    UnknownOptionError,
    UnreachableSeparationError,
)
from fpigauss.fit import (
    FixedPoint,
    FixedPointGradient,
    FixedPointOptions,
    LamPath,
    SeparatedResult,
    Trial,
    fit_fixed_point,
    fit_separated,
    lam_path,
    solve_fixed_point,
    solve_separated,
)
from fpigauss.gaussians import ClassGaussians
from fpigauss.geometry import geometric_mean
from fpigauss.latents import Latents, open_latents
from fpigauss.open_set import l2_normalize, open_set_score, open_set_threshold
from fpigauss.overlap import pairwise_overlap
from fpigauss.repulsion import (
    CallableRepulsion,
    ForwardRepulsion,
    FrozenRepulsion,
    InitialRepulsion,
    MeanRepulsion,
    Repulsion,
    critical_lam,
)
from fpigauss.result import FixedPointResult, Status
from fpigauss.solvers import Accelerated, Guarded, Picard, Solver
from fpigauss.statistics import ClassStatistics, RunningStatistics

__all__ = [
    "Accelerated",
    "CallableRepulsion",
    "ClassGaussians",
    "ClassStatistics",
    "ConvergenceWarning",
    "CovarianceFamily",
    "Dense",
    "Diagonal",
    "Equations",
    "Factor",
    "FixedPoint",
    "FixedPointGradient",
    "FixedPointOptions",
    "FixedPointResult",
    "ForwardRepulsion",
    "FrozenRepulsion",
    "Guarded",
    "InitialRepulsion",
    "InvalidInputError",
    "Isotropic",
    "LamPath",
    "Latents",
    "MeanRepulsion",
    "NotDifferentiableError",
    "NotPositiveDefiniteError",
    "Picard",
    "PooledCovarianceWarning",
    "PrintedEquations",
    "ReleasedEquations",
    "Repulsion",
    "RunningStatistics",
    "SaddlePointWarning",
    "SeparatedResult",
    "Solver",
    "StationaryEquations",
    "Status",
    "Trial",
    "UnboundedObjectiveWarning",
    "UnknownOptionError",
    "UnreachableSeparationError",
    "__version__",
    "critical_lam",
    "fit_fixed_point",
    "fit_separated",
    "geometric_mean",
    "l2_normalize",
    "lam_path",
    "open_latents",
    "open_set_score",
    "open_set_threshold",
    "pairwise_kld",
    "pairwise_overlap",
    "smallest_kld",
    "solve_fixed_point",
    "solve_separated",
]

__version__ = "0.1.0"

forward_old_addresses(sys.modules[__name__], {"_errors": "errors"})  # pickled errors refer to it
