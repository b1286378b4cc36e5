r"""The exact stationarity conditions of Eq. 4, for every family.

Means (Eq. 5 with the factor Sigma_y that it lacks)::
    mu_y <- m_y + c Sigma_y sum_y' (W_yy' Sigma_y'^-1 + W_y'y Sigma_y^-1) (mu_y - mu_y').

Covariances: Sigma A Sigma = B, solved by Sigma <- A^-1 # B (Eq. 6), with the matrices of Eq. 7
and the term of A that can be negative moved across to B, so that both are positive definite for
every lam. They are assembled in the moving frame, Sigma = F F': F' A F and F^-1 B F^-T.
"""

from dataclasses import dataclass
from typing import ClassVar

from fpigauss._array.linalg import flattened, squared_norms
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.divergence import PairTerms
from fpigauss.equations._base import Equations
from fpigauss.equations._held import per_class
from fpigauss.equations._pairs import PairSums, sum_over_pairs
from fpigauss.equations._problem import Descent, Evaluation, Point, Problem, Step

__all__ = ["Forces", "StationaryEquations"]


@dataclass(frozen=True)
class StationaryEquations(Equations):
    """The default: fixed points are the stationary points of Eq. 4."""

    name: ClassVar[str] = "stationary"
    exact: ClassVar[bool] = True

    def evaluate(
        self, problem: Problem, point: Point, departure: Evaluation | None = None
    ) -> Evaluation:
        """Evaluate update, objective, gradient and residual at ``point``."""
        forces = Forces.at(problem, point, departure)
        family, c, sums = problem.family, problem.c, forces.sums
        log_dets = forces.terms.log_dets
        push = between = pull = None
        if problem.updates_means:
            push = forces.push(problem, point)
        if problem.updates_covariances:
            between = family.whiten_projections(point.factor, forces.scatter(problem))
            if not family.tied:
                pull = family.color_precisions(point.factor, sums.forward[0], problem.dim)
        sums = sums.without_arrays()
        del forces  # a dozen arrays of the size of the means, which may be large
        white_scatter = family.whiten_projections(point.factor, problem.scatter_about(point.means))
        u = s = covariance_gradient = a = None
        if push is not None:
            u = family.whiten(point.factor, problem.means - point.means) + c * push
            u = problem.where_free(u, 0.0)
        if between is not None:
            unit = family.unit(problem.dim, point.means)
            if pull is None:
                a, b = problem.n_weighed * unit + c * between, white_scatter
            else:
                # A+ and B+ are SPD for every lam: the negative term of A has moved to B
                a = per_class(1.0 + c * sums.outgoing, unit) * unit + c * between
                b = white_scatter + c * (per_class(sums.incoming, unit) * unit + pull)
            a, b = (problem.where_free(part, unit) for part in (a, b))
            s = family.log_solution(a, b)
            covariance_gradient = 0.5 * (a - b)
        constant = problem.likelihood(point, white_scatter, log_dets)
        return Evaluation(
            point=point,
            objective=constant + c * sums.potential,
            judged=constant + c * sums.judged,
            step=Step(u, s),
            residual=problem.residual(Step(u, s)),
            pi=sums.pi,
            smallest_kld=sums.smallest_kld,
            descent=Descent(covariance_gradient, a),
        )

    def imbalance(self, problem: Problem, evaluation: Evaluation) -> float:
        """Measure dL/dS, relative to the pull of the data and the push of the other classes.

        For means the residual is the gradient itself.
        """
        descent, family = evaluation.descent, problem.family
        if descent is None or descent.covariance_gradient is None:
            return 0.0
        point, gradient = evaluation.point, descent.covariance_gradient
        scatter = family.whiten_projections(point.factor, problem.scatter_about(point.means))
        unit = family.unit(problem.dim, point.means)
        if family.tied:
            unit = problem.n_weighed * unit
        pull = 0.5 * (unit - scatter)
        forces = _norms(unit) + _norms(pull) + _norms(gradient - pull)
        return float(namespace(gradient).max(_norms(gradient) / forces))


def _norms(projections: Array) -> Array:
    """Compute the Frobenius norms (n,)."""
    return namespace(projections).sqrt(squared_norms(flattened(projections)))


@dataclass(frozen=True)
class Forces:
    """The sums over pairs that act on the means and the covariances of a family."""

    terms: PairTerms
    sums: PairSums

    @classmethod
    def at(cls, problem: Problem, point: Point, departure: Evaluation | None) -> "Forces":
        """Compute the forces at a point, with phi judged at the pi of ``departure``."""
        terms = PairTerms.at(problem.family, *point, problem.memory_limit)
        forward: list[Array]
        backward: list[Array]
        if problem.family.tied:
            forward, backward = [terms.means], [terms.means]
        else:
            forward, backward = [terms.precisions], [terms.means]
            if problem.updates_means:
                forward.append(terms.scaled_means)
            if problem.updates_covariances:
                backward.append(terms.second_moments)
        sums = sum_over_pairs(
            terms,
            problem.repulsion,
            problem.alpha,
            forward=forward,
            backward=backward,
            judge=None if departure is None else departure.pi,
            held=problem.held,
        )
        return cls(terms, sums)

    def along_precisions(self, problem: Problem) -> Array:
        """Compute sum_y' W_yy' Sigma_y'^-1 (mu_y - mu_y') (K, d), not for tied families."""
        precisions, scaled_means = self.sums.forward
        return problem.family.apply(precisions, self.terms.means) - scaled_means

    def along_means(self) -> Array:
        """Compute sum_y' W_y'y (mu_y - mu_y') (K, d), with W + W' for tied families."""
        means, sums = self.terms.means, self.sums
        if self.terms.family.tied:
            total = (sums.outgoing + sums.incoming)[:, None]
            return total * means - sums.forward[0] - sums.backward[0]
        return sums.incoming[:, None] * means - sums.backward[0]

    def push(self, problem: Problem, point: Point) -> Array:
        """Compute F^-1 Sigma_y sum_y' (W_yy' Sigma_y'^-1 + W_y'y Sigma_y^-1) (mu_y - mu_y')."""
        family = problem.family
        pushed = family.whiten(point.factor, self.along_means())
        if family.tied:
            return pushed
        return pushed + family.color_adjoint(point.factor, self.along_precisions(problem))

    def scatter(self, problem: Problem) -> Array:
        """Project sum_y' W_y'y (Delta Delta' + Sigma_y'), or Delta Delta' alone if tied."""
        family, means, sums = problem.family, self.terms.means, self.sums
        if family.tied:
            return family.outer(self.along_means(), means)
        mean_sums, moment_sums = sums.backward
        between = family.outer(sums.incoming[:, None] * means - 2.0 * mean_sums, means)
        return between + moment_sums
