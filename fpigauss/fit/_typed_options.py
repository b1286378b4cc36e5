"""The options of a fit as keyword arguments, for type checkers and editors.

Written from ``Options`` by ``python -m tools.write_options``: change them there, not here.
"""

from typing import TypedDict

from fpigauss._array.typing import PiFunction
from fpigauss.covariance import CovarianceFamily, FamilyName, ShrinkageName
from fpigauss.equations import Equations, EquationsName
from fpigauss.fit._options import Callback, FrozenLabels, InitName, UpdateName
from fpigauss.gaussians import ClassGaussians
from fpigauss.repulsion import PiName, Repulsion
from fpigauss.solvers import Solver, SolverName

__all__ = ["EstimatorOptions", "FixedPointOptions", "RefitOptions"]


class FixedPointOptions(TypedDict, total=False):
    """Every option of a fit except ``lam``, to annotate functions that pass them on."""

    covariance: FamilyName | CovarianceFamily
    """The covariance family."""

    tied: bool
    """One covariance shared by all classes. Tied families have a minimum for every ``lam``;
    per-class ones with ``pi="forward"`` have one below ``critical_lam``."""

    update: UpdateName
    """What is updated; the rest stays as initialized."""

    init: InitName | ClassGaussians
    """Class means with class covariances, or with identity covariances; or, as a warm start,
    Gaussians of the same family, dimension and classes."""

    pi: PiName | float | PiFunction | Repulsion
    """pi_KLD: each pair's own divergence (Eq. 9), the mean of all (Eq. 10), that mean at the
    initial Gaussians, a positive number, or a function of the (K, K) matrix of divergences that
    returns a positive number or (K, K) matrix."""

    alpha: float
    """The scale of pi, > 0."""

    equations: EquationsName | Equations
    """The paper's equations: exact, as printed, or as in the authors' code."""

    solver: SolverName | Solver
    """"auto" is "accelerated" for the stationary equations and "picard" for the others."""

    max_iter: int
    """The largest number of evaluations (passes over all pairs of classes), not counting the
    one at the start."""

    tol: float
    """The residual to reach (see ``FixedPointResult``); the forces on every covariance must
    also balance, to ``100 tol``. 0 asks for ``max_iter`` evaluations, fewer where no step
    improves beyond rounding."""

    shrinkage: float | ShrinkageName
    """Shrink each class covariance toward its own scaled identity first, by a part in [0,
    1]."""

    frozen: FrozenLabels
    """Labels of classes whose Gaussians, those of ``init``, are kept exactly while the others
    are fitted. They need no samples, and ``init`` may lack the others, which then start from
    the data. A shared covariance is still updated, to that of the samples, except with
    ``update="means"``."""

    n_init: int
    """The number of starts: the first is ``init``, the others have its means permuted or moved
    and its covariances scaled, the same ones in every fit. The result with the smallest
    objective is kept, of those that have converged if there are any. ``max_iter`` holds for
    each start."""

    memory_limit: int
    """The largest number of bytes for the pairwise part, and again for the solver's history."""

    progress: bool
    """Show a progress bar."""

    callback: Callback | None
    """Called with a FixedPointResult of status "running" after every accepted step; stops the
    fit by raising StopIteration."""


class RefitOptions(TypedDict, total=False):
    """Every option of a fit that a refit of Gaussians passes on as it is."""

    update: UpdateName
    """What is updated; the rest stays as initialized."""

    pi: PiName | float | PiFunction | Repulsion
    """pi_KLD: each pair's own divergence (Eq. 9), the mean of all (Eq. 10), that mean at the
    initial Gaussians, a positive number, or a function of the (K, K) matrix of divergences that
    returns a positive number or (K, K) matrix."""

    alpha: float
    """The scale of pi, > 0."""

    equations: EquationsName | Equations
    """The paper's equations: exact, as printed, or as in the authors' code."""

    solver: SolverName | Solver
    """"auto" is "accelerated" for the stationary equations and "picard" for the others."""

    max_iter: int
    """The largest number of evaluations (passes over all pairs of classes), not counting the
    one at the start."""

    tol: float
    """The residual to reach (see ``FixedPointResult``); the forces on every covariance must
    also balance, to ``100 tol``. 0 asks for ``max_iter`` evaluations, fewer where no step
    improves beyond rounding."""

    shrinkage: float | ShrinkageName
    """Shrink each class covariance toward its own scaled identity first, by a part in [0,
    1]."""

    frozen: FrozenLabels
    """Labels of classes whose Gaussians, those of ``init``, are kept exactly while the others
    are fitted. They need no samples, and ``init`` may lack the others, which then start from
    the data. A shared covariance is still updated, to that of the samples, except with
    ``update="means"``."""

    n_init: int
    """The number of starts: the first is ``init``, the others have its means permuted or moved
    and its covariances scaled, the same ones in every fit. The result with the smallest
    objective is kept, of those that have converged if there are any. ``max_iter`` holds for
    each start."""

    memory_limit: int
    """The largest number of bytes for the pairwise part, and again for the solver's history."""

    callback: Callback | None
    """Called with a FixedPointResult of status "running" after every accepted step; stops the
    fit by raising StopIteration."""


class EstimatorOptions(TypedDict, total=False):
    """Every option of a fit that an estimator passes on as it is."""

    covariance: FamilyName | CovarianceFamily
    """The covariance family."""

    update: UpdateName
    """What is updated; the rest stays as initialized."""

    init: InitName | ClassGaussians
    """Class means with class covariances, or with identity covariances; or, as a warm start,
    Gaussians of the same family, dimension and classes."""

    pi: PiName | float | PiFunction | Repulsion
    """pi_KLD: each pair's own divergence (Eq. 9), the mean of all (Eq. 10), that mean at the
    initial Gaussians, a positive number, or a function of the (K, K) matrix of divergences that
    returns a positive number or (K, K) matrix."""

    alpha: float
    """The scale of pi, > 0."""

    equations: EquationsName | Equations
    """The paper's equations: exact, as printed, or as in the authors' code."""

    solver: SolverName | Solver
    """"auto" is "accelerated" for the stationary equations and "picard" for the others."""

    max_iter: int
    """The largest number of evaluations (passes over all pairs of classes), not counting the
    one at the start."""

    tol: float
    """The residual to reach (see ``FixedPointResult``); the forces on every covariance must
    also balance, to ``100 tol``. 0 asks for ``max_iter`` evaluations, fewer where no step
    improves beyond rounding."""

    shrinkage: float | ShrinkageName
    """Shrink each class covariance toward its own scaled identity first, by a part in [0,
    1]."""

    n_init: int
    """The number of starts: the first is ``init``, the others have its means permuted or moved
    and its covariances scaled, the same ones in every fit. The result with the smallest
    objective is kept, of those that have converged if there are any. ``max_iter`` holds for
    each start."""

    memory_limit: int
    """The largest number of bytes for the pairwise part, and again for the solver's history."""

    progress: bool
    """Show a progress bar."""
