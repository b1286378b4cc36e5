"""The values of lam on the way to one that is far past the data."""

import math

from fpigauss.divergence import PairTerms
from fpigauss.equations import Point, Problem
from fpigauss.fit._options import Options
from fpigauss.repulsion import MeanRepulsion

__all__ = ["lams_to_walk"]

#: The step from one lam to the next; a lam within one step of the data is near.
_STEP = 10.0


def lams_to_walk(
    problem: Problem, point: Point, options: Options, *, starts_anew: bool
) -> tuple[float, ...]:
    """List the values of lam to visit before that of a tied ``problem``; none if it is near.

    The forces of a tied family balance at a mean KLD of about 2 lam exp(-1/alpha) / (alpha (K-1)).
    Where that is far above the mean KLD of the initial Gaussians, the shared covariance would
    collapse before the means have parted, down to a singular one, and more modestly above it into
    minima that are not the lowest. From one lam to the next, only the scale changes. A warm start
    of all classes (not ``starts_anew``) stays where it was put.

    A bounded repulsion does not push that far, but it too has lower minima this way.
    """
    exact, alpha = options.strategies.equations.exact, options.alpha
    moves = problem.updates_means and problem.updates_covariances
    if not (exact and moves and problem.family.tied and starts_anew and problem.lam > 0.0):
        return ()
    # in logarithms: the ends of the number range are lams too
    shares = math.log(2.0) - math.log(alpha) - math.log(problem.n_classes - 1)
    expected = math.log(problem.lam) - 1.0 / alpha + shares
    if expected < math.log(_STEP):
        return ()
    terms = PairTerms.at(problem.family, *point, problem.memory_limit)
    mean = MeanRepulsion().measure(map(terms.divergences, terms.blocks()), problem.n_classes)
    n_steps = math.floor((expected - math.log(max(1.0, float(mean)))) / math.log(_STEP))
    return tuple(problem.lam / _STEP**k for k in range(n_steps, 0, -1))
