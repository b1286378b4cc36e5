r"""The exact stationarity conditions of Eq. 4, for every family.

Means (Eq. 5 with the factor Sigma_y that it lacks)::
    mu_y <- m_y + c Sigma_y sum_y' (W_yy' Sigma_y'^-1 + W_y'y Sigma_y^-1) (mu_y - mu_y').

Covariances: Sigma A Sigma = B, solved by Sigma <- A^-1 # B (Eq. 6), with the matrices of Eq. 7
and the term of A that can be negative moved across to B, so that both are positive definite for
every lam. They are assembled in the moving frame, Sigma = F F': F' A F and F^-1 B F^-T.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from fpigauss._array.linalg import flattened, squared_norms
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily
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
        family, forces = problem.family, Forces.at(problem, point, departure)
        attraction = problem.means - point.means
        white_scatter = family.whiten_projections(
            point.factor, problem.scatter + family.outer(attraction, attraction)
        )
        traces = family.trace(white_scatter)
        likelihood = problem.likelihood(point, traces, forces.log_dets)
        u = s = None
        descent = Descent(None, None)
        if problem.updates_means:
            u = problem.where_free(forces.displacement(family, point, attraction), 0.0)
        del attraction
        if problem.updates_covariances:
            a, b = forces.riccati(problem, point, white_scatter)
            s = family.log_solution(a, b)
            descent = Descent(0.5 * (b - a), a)
        return Evaluation.of(problem, point, Step(u, s), forces.sums, likelihood, descent=descent)

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


class Forces(NamedTuple):
    """What the pairs do to the means and the covariances of a family.

    Where means or covariances are not updated, what acts on them alone is None.
    """

    #: The sums over pairs, without arrays of the size of the means.
    sums: PairSums
    #: log |Sigma_y|, None where tied.
    log_dets: Array | None
    #: c sum_y' W_y'y (mu_y - mu_y') (K, d); with W + W', and times F^-1, where tied.
    along_means: Array
    #: c sum_y' W_yy' Sigma_y'^-1 (mu_y - mu_y') (K, d), None where tied (as is the next one).
    along_precisions: Array | None
    #: Values of c sum_y' W_yy' Sigma_y'^-1.
    precisions: Array | None
    #: Projections of c F^-1 [sum_y' W_y'y (Delta Delta' + Sigma_y')] F^-T; Delta Delta' if tied.
    between: Array | None

    @classmethod
    def at(cls, problem: Problem, point: Point, departure: Evaluation | None) -> "Forces":
        """Compute the forces at a point, with phi judged at the pi of ``departure``."""
        judge = None if departure is None else departure.pi
        return (cls._tied if problem.family.tied else cls._by_class)(problem, point, judge)

    @classmethod
    def _tied(cls, problem: Problem, point: Point, judge: Any) -> "Forces":
        terms = PairTerms.at(problem.family, *point, problem.memory_limit)
        sums = _summed(problem, terms, judge, apart=[terms.centered])
        (along,) = sums.apart
        between = None
        if problem.updates_covariances:
            between = problem.family.outer(along, terms.centered)
        return cls(sums.without_arrays(), None, along, None, None, between)

    @classmethod
    def _by_class(cls, problem: Problem, point: Point, judge: Any) -> "Forces":
        family = problem.family
        terms = PairTerms.at(family, *point, problem.memory_limit)
        forward, backward = [terms.precisions], [terms.centered]
        if problem.updates_means:
            forward.append(terms.scaled_means)
        if problem.updates_covariances:
            backward.append(terms.second_moments)
        sums = _summed(problem, terms, judge, forward=forward, backward=backward)
        centered, log_dets = terms.centered, terms.log_dets
        # arrays of the size of the means, which may be large, are let go as soon as can be
        del terms, forward, backward
        (precisions, *scaled_means), (mean_sums, *moment_sums) = sums.forward, sums.backward
        sums = sums.without_arrays()
        along = sums.incoming[:, None] * centered - mean_sums
        between = along_precisions = None
        if moment_sums:
            spread = family.outer(along - mean_sums, centered) + moment_sums.pop()
            between = family.whiten_projections(point.factor, spread)
            del spread
        del mean_sums
        if scaled_means:
            along_precisions = family.apply(precisions, centered) - scaled_means.pop()
        return cls(sums, log_dets, along, along_precisions, precisions, between)

    def displacement(self, family: CovarianceFamily, point: Point, attraction: Array) -> Array:
        """Compute F^-1 times the move of Eq. 5, with its Sigma_y (K, d)."""
        if self.along_precisions is None:
            return family.whiten(point.factor, attraction) + self.along_means
        white = family.whiten(point.factor, attraction + self.along_means)
        return white + family.color_adjoint(point.factor, self.along_precisions)

    def riccati(self, problem: Problem, point: Point, white_scatter: Array) -> tuple[Array, Array]:
        """Compute the projections of F' A F and F^-1 B F^-T, both SPD for every lam (Eq. 7)."""
        family, dim = problem.family, problem.dim
        assert self.between is not None
        if self.precisions is None:
            unit = family.unit(dim, point.means)
            return problem.n_weighed * unit + self.between, white_scatter
        # the term of A that can be negative is in B
        a = family.plus_identity(self.between, 1.0 + self.sums.outgoing, point.means)
        b = white_scatter + family.color_precisions(point.factor, self.precisions, dim)
        b = family.plus_identity(b, self.sums.incoming, point.means)
        if problem.held is None:
            return a, b
        unit = family.unit(dim, point.means)
        return problem.where_free(a, unit), problem.where_free(b, unit)


def _summed(problem: Problem, terms: PairTerms, judge: Any, **operands: list[Any]) -> PairSums:
    return sum_over_pairs(
        terms,
        problem.repulsion,
        problem.alpha,
        scale=problem.c,
        judge=judge,
        held=problem.held,
        **operands,
    )
