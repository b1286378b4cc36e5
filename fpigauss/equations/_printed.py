"""Eqs. 5 to 7 as printed, with the misprinted indices of Eq. 7 corrected."""

import math
from dataclasses import dataclass
from typing import ClassVar

from fpigauss.covariance import CovarianceFamily
from fpigauss.equations._base import Equations
from fpigauss.equations._problem import Evaluation, Point, Problem, Step
from fpigauss.equations._stationary import Forces
from fpigauss.errors import InvalidInputError, NotPositiveDefiniteError

__all__ = ["PrintedEquations"]


@dataclass(frozen=True)
class PrintedEquations(Equations):
    """As printed: the means lack the factor Sigma_y, and A, not split, may be indefinite.

    See Also
    --------
    StationaryEquations : exact ones, the default.
    ReleasedEquations : as the released code has them.
    """

    name: ClassVar[str] = "printed"

    def check_family(self, family: CovarianceFamily) -> None:
        """Raise for tied covariances, which the paper does not have."""
        if family.tied:
            raise InvalidInputError(
                'equations is "printed", which has no tied covariances; '
                'pass tied=False, or equations="stationary"'
            )

    def evaluate(
        self, problem: Problem, point: Point, departure: Evaluation | None = None
    ) -> Evaluation:
        """Evaluate update, objective and residual at ``point``."""
        forces = Forces.at(problem, point, departure)
        family, sums, own = problem.family, forces.sums, forces.of(slice(None))
        white_scatter = family.whiten_projections(point.factor, problem.scatter_about(point.means))
        u = s = reason = None
        if problem.updates_means:  # Eq. 5
            push = family.apply(family.precisions(point.factor), own.along_means)
            push = push + own.along_precisions
            u = family.whiten(point.factor, problem.means - point.means + push)
            u = problem.where_free(u, 0.0)
        if problem.updates_covariances:  # Eq. 7, then Eq. 6
            first = 1.0 + sums.outgoing - sums.incoming
            a = family.plus_identity(own.between, first, point.means)
            unit = family.unit(problem.dim, point.means)
            a, b = (problem.where_free(part, unit) for part in (a, white_scatter + own.pull))
            faulty = family.first_not_positive(a)
            if faulty is None:
                s = family.log_solution(a, b)
            else:
                label = problem.classes[faulty].item()
                reason = NotPositiveDefiniteError(label, problem.lam, self.name)
        evaluation = Evaluation.of(
            problem,
            point,
            Step(u, s),
            sums,
            problem.likelihood(point, family.trace(white_scatter), forces.log_dets),
            residual=None if reason is None else math.inf,
        )
        return evaluation if reason is None else evaluation.without_update(reason)
