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
        """Evaluate update, objective, force and residual at ``point``."""
        forces = Forces.at(problem, point, departure)
        family, sums, log_dets = problem.family, forces.sums, forces.terms.log_dets
        u = s = between = pull = None
        if problem.updates_covariances:
            between = forces.between()
            if not family.tied:
                pull = family.color_precisions(point.factor, sums.forward[0], problem.dim)
        if problem.updates_means:
            u = problem.where_free(forces.displacement(problem, point), 0.0)
        sums = sums.without_arrays()
        del forces  # a dozen arrays of the size of the means, which may be large
        white_scatter = family.whiten_projections(point.factor, problem.scatter_about(point.means))
        constant = problem.likelihood(point, white_scatter, log_dets)
        descent = Descent(None, None)
        if between is not None:
            if pull is None:
                unit = family.unit(problem.dim, point.means)
                a, b = problem.n_weighed * unit + between, white_scatter
            else:
                # A+ and B+ are SPD for every lam: the negative term of A has moved to B
                a = family.plus_identity(between, 1.0 + sums.outgoing, point.means)
                b = family.plus_identity(white_scatter + pull, sums.incoming, point.means)
            del between, pull, white_scatter
            if problem.held is not None:
                unit = family.unit(problem.dim, point.means)
                a, b = (problem.where_free(part, unit) for part in (a, b))
            s = family.log_solution(a, b)
            descent = Descent(0.5 * (b - a), a)
        return Evaluation.of(problem, point, Step(u, s), sums, constant, descent=descent)

    def imbalance(self, problem: Problem, evaluation: Evaluation) -> float:
        """Measure dL/dS, relative to the pull of the data and the push of the other classes.

        For means the residual is the gradient itself.
        """
        descent, family = evaluation.descent, problem.family
        if descent is None or descent.covariance_force is None:
            return 0.0
        point, force = evaluation.point, descent.covariance_force
        scatter = family.whiten_projections(point.factor, problem.scatter_about(point.means))
        unit = family.unit(problem.dim, point.means)
        if family.tied:
            unit = problem.n_weighed * unit
        pull = 0.5 * (scatter - unit)
        forces = _norms(unit) + _norms(pull) + _norms(force - pull)
        return float(namespace(force).max(_norms(force) / forces))


def _norms(projections: Array) -> Array:
    """Compute the Frobenius norms (n,)."""
    return namespace(projections).sqrt(squared_norms(flattened(projections)))


@dataclass(frozen=True)
class Forces:
    """The sums over pairs that act on the means and the covariances of a family."""

    terms: PairTerms
    sums: PairSums
    #: c sum_y' W_y'y (mu_y - mu_y') (K, d); with W + W', and times F^-1, where tied.
    along_means: Array

    @classmethod
    def at(cls, problem: Problem, point: Point, departure: Evaluation | None) -> "Forces":
        """Compute the forces at a point, with phi judged at the pi of ``departure``."""
        terms = PairTerms.at(problem.family, *point, problem.memory_limit)
        operands: dict[str, list[Array]]
        if problem.family.tied:
            operands = {"apart": [terms.centered]}
        else:
            operands = {"forward": [terms.precisions], "backward": [terms.centered]}
            if problem.updates_means:
                operands["forward"].append(terms.scaled_means)
            if problem.updates_covariances:
                operands["backward"].append(terms.second_moments)
        sums = sum_over_pairs(
            terms,
            problem.repulsion,
            problem.alpha,
            scale=problem.c,
            judge=None if departure is None else departure.pi,
            held=problem.held,
            **operands,
        )
        if problem.family.tied:
            return cls(terms, sums, sums.apart[0])
        return cls(terms, sums, sums.incoming[:, None] * terms.centered - sums.backward[0])

    def along_precisions(self) -> Array:
        """Compute c sum_y' W_yy' Sigma_y'^-1 (mu_y - mu_y') (K, d), not for tied families."""
        precisions, scaled_means = self.sums.forward
        return self.terms.family.apply(precisions, self.terms.centered) - scaled_means

    def displacement(self, problem: Problem, point: Point) -> Array:
        """Compute F^-1 times Eq. 5's update, with Sigma_y: its move, in the frame (K, d)."""
        family, factor = problem.family, point.factor
        attraction = problem.means - point.means
        if family.tied:
            return family.whiten(factor, attraction) + self.along_means
        white = family.whiten(factor, attraction + self.along_means)
        return white + family.color_adjoint(factor, self.along_precisions())

    def between(self) -> Array:
        """Project F^-1 [c sum_y' W_y'y (Delta Delta' + Sigma_y')] F^-T; Delta Delta' if tied."""
        terms = self.terms
        if terms.family.tied:
            return terms.family.outer(self.along_means, terms.centered)
        return terms.family.whiten_projections(terms.factor, self._scatter())

    def _scatter(self) -> Array:
        mean_sums, moment_sums = self.sums.backward
        between = self.terms.family.outer(self.along_means - mean_sums, self.terms.centered)
        return between + moment_sums
