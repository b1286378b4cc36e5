"""Where an objective without a certain minimum counts as having run away."""

from fpigauss._array.namespaces import namespace
from fpigauss.equations import Evaluation, Problem
from fpigauss.solvers import Runaway

__all__ = ["runaway_bounds"]

#: An eigenvalue has run away past this multiple of the largest of the pooled data covariance,
_INFLATION = 1e8
#: and a condition number past both this and this multiple of the data's.
_CONDITION = 1e12
_CONDITION_GROWTH = 1e4


def runaway_bounds(problem: Problem, start: Evaluation) -> Runaway:
    """Set the bounds from the data and the initial Gaussians."""
    family = problem.family
    shared = family.with_tied(True)
    pooled = shared.average(shared.pooled(problem.scatter) / problem.n_classes, problem.dim)
    data = family.average(problem.scatter, problem.dim)
    condition, largest = 1.0, 0.0
    for factor in (family.factor(data), start.point.factor):
        low, high = family.spectrum(factor)
        condition = max(condition, float(namespace(low).max(high / low)))
    for factor in (shared.factor(pooled), start.point.factor):
        _, high = family.spectrum(factor)
        largest = max(largest, float(namespace(high).max(high)))
    return Runaway(_INFLATION * largest, max(_CONDITION, _CONDITION_GROWTH * condition))
