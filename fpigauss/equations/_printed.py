"""Eqs. 5 to 7 as printed, with the misprinted indices of Eq. 7 corrected."""

import math
from dataclasses import dataclass
from typing import ClassVar

from fpigauss.covariance import CovarianceFamily
from fpigauss.equations._base import Equations
from fpigauss.equations._held import per_class
from fpigauss.equations._problem import Evaluation, Point, Problem, Step
from fpigauss.equations._stationary import Forces
from fpigauss.errors import InvalidInputError, NotPositiveDefiniteError

__all__ = ["PrintedEquations"]


@dataclass(frozen=True)
class PrintedEquations(Equations):
    """As printed: the means lack the factor Sigma_y, and A, not split, may be indefinite."""

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
        family, c, sums = problem.family, problem.c, forces.sums
        white_scatter = family.whiten_projections(point.factor, problem.scatter_about(point.means))
        u = s = reason = None
        if problem.updates_means:  # Eq. 5
            own = family.apply(family.precisions(point.factor), forces.along_means())
            push = forces.along_precisions(problem) + own
            u = family.whiten(point.factor, problem.means - point.means + c * push)
            u = problem.where_free(u, 0.0)
        if problem.updates_covariances:  # Eq. 7, then Eq. 6
            unit = family.unit(problem.dim, point.means)
            first = per_class(1.0 + c * (sums.outgoing - sums.incoming), unit)
            a = first * unit + c * family.whiten_projections(point.factor, forces.scatter(problem))
            b = white_scatter + c * family.color_precisions(
                point.factor, sums.forward[0], problem.dim
            )
            a, b = (problem.where_free(part, unit) for part in (a, b))
            faulty = family.first_not_positive(a)
            if faulty is None:
                s = family.log_solution(a, b)
            else:
                label = problem.classes[faulty].item()
                reason = NotPositiveDefiniteError(label, problem.lam, self.name)
        step = Step(u, s)
        constant = problem.likelihood(point, white_scatter, forces.terms.log_dets)
        evaluation = Evaluation(
            point=point,
            objective=constant + c * sums.potential,
            judged=constant + c * sums.judged,
            step=step,
            residual=problem.residual(step) if reason is None else math.inf,
            pi=sums.pi,
            smallest_kld=sums.smallest_kld,
        )
        return evaluation if reason is None else evaluation.without_update(reason)
