r"""The exact stationarity conditions of Eq. 4, for every family.

Means (Eq. 5 with the factor Sigma_y that it lacks)::
    mu_y <- m_y + c Sigma_y sum_y' (W_yy' Sigma_y'^-1 + W_y'y Sigma_y^-1) (mu_y - mu_y').

Covariances: Sigma A Sigma = B, solved by Sigma <- A^-1 # B (Eq. 6), with the matrices of Eq. 7
and the term of A that can be negative moved across to B, so that both are positive definite for
every lam. They are assembled in the moving frame, Sigma = F F': F' A F and F^-1 B F^-T.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from fpigauss._array.blocks import joined
from fpigauss._array.linalg import flattened, squared_norms
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.covariance import Factor
from fpigauss.divergence import PairTerms
from fpigauss.equations._base import Equations
from fpigauss.equations._pairs import PairSums, sum_over_pairs
from fpigauss.equations._problem import Descent, Evaluation, Point, Problem, Step

__all__ = ["Forces", "StationaryEquations"]


@dataclass(frozen=True)
class StationaryEquations(Equations):
    """The default: fixed points are the stationary points of Eq. 4.

    See Also
    --------
    PrintedEquations : as the paper prints them.
    ReleasedEquations : as the released code has them.
    """

    name: ClassVar[str] = "stationary"
    exact: ClassVar[bool] = True

    def evaluate(
        self, problem: Problem, point: Point, departure: Evaluation | None = None
    ) -> Evaluation:
        """Evaluate update, objective, force and residual at ``point``."""
        forces = Forces.at(problem, point, departure)
        parts = [_update(problem, point, forces, rows) for rows in problem.class_blocks()]
        sums, log_dets = forces.sums.without_arrays(), forces.log_dets
        del forces  # a dozen arrays of the size of the means, which may be large
        traces, u, s, force, curvature = map(joined, zip(*parts, strict=True))
        likelihood = problem.likelihood(point, traces, log_dets)
        descent = Descent(force, curvature)
        return Evaluation.of(problem, point, Step(u, s), sums, likelihood, descent=descent)

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


class _Part(NamedTuple):
    """What an evaluation gives for some classes; None for what is not updated."""

    traces: Array
    u: Array | None
    s: Array | None
    force: Array | None
    curvature: Array | None


def _update(problem: Problem, point: Point, forces: "Forces", rows: slice) -> _Part:
    """Compute Eqs. 5 and 6 for the classes ``rows``: u, S, -dL/dS and F' A F."""
    family, own, factor = problem.family, forces.of(rows), point.factor.of(rows)
    attraction = problem.means[rows, ...] - point.means[rows, ...]
    scatter = problem.scatter[rows, ...] + family.outer(attraction, attraction)
    white_scatter = family.whiten_projections(factor, scatter)
    u = s = force = a = None
    if problem.updates_means:
        if own.along_precisions is None:
            u = family.whiten(factor, attraction) + own.along_means
        else:
            u = family.whiten(factor, attraction + own.along_means)
            u = u + family.color_adjoint(factor, own.along_precisions)
        u = problem.where_free(u, 0.0, rows)
    if problem.updates_covariances:
        assert own.between is not None
        if own.pull is None:
            unit = family.unit(problem.dim, point.means)
            a, b = problem.n_weighed * unit + own.between, white_scatter
        else:
            # A+ and B+ are SPD for every lam: the negative term of A has moved to B
            a = family.plus_identity(own.between, 1.0 + own.outgoing, attraction)
            b = family.plus_identity(white_scatter + own.pull, own.incoming, attraction)
        if problem.held is not None:
            unit = family.unit(problem.dim, point.means)
            a, b = (problem.where_free(part, unit, rows) for part in (a, b))
        s, force = family.log_solution(a, b), 0.5 * (b - a)
    return _Part(family.trace(white_scatter), u, s, force, a)


class ClassForces(NamedTuple):
    """What the pairs do to some classes.

    Where means or covariances are not updated, what acts on them alone is None.
    """

    outgoing: Array  # c sum_y' W_yy'  (n,)
    incoming: Array  # c sum_y' W_y'y  (n,)
    #: c sum_y' W_y'y (mu_y - mu_y') (n, d); with W + W', and times F^-1, where tied.
    along_means: Array
    #: c sum_y' W_yy' Sigma_y'^-1 (mu_y - mu_y') (n, d), None where tied (as is the next one).
    along_precisions: Array | None
    #: Projections of c F' [sum_y' W_yy' Sigma_y'^-1] F.
    pull: Array | None
    #: Projections of c F^-1 [sum_y' W_y'y (Delta Delta' + Sigma_y')] F^-T; Delta Delta' if tied.
    between: Array | None


@dataclass(frozen=True)
class Forces:
    """The sums over pairs that act on the means and the covariances of a family."""

    problem: Problem
    factor: Factor
    sums: PairSums
    #: Centered means (K, d) and log |Sigma_y| (K,), None where tied.
    centered: Array | None
    log_dets: Array | None
    #: Of tied families: projections of c sum_y' (W_yy' + W_y'y) Delta Delta' / 2, whitened.
    between: Array | None

    @classmethod
    def at(cls, problem: Problem, point: Point, departure: Evaluation | None) -> "Forces":
        """Sum over the pairs at a point, with phi judged at the pi of ``departure``."""
        terms = PairTerms.at(problem.family, *point, problem.memory_limit)
        operands: dict[str, list[Any]]
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
        if not problem.family.tied:
            return cls(problem, point.factor, sums, terms.centered, terms.log_dets, None)
        between = None
        if problem.updates_covariances:
            between = problem.family.outer(sums.apart[0], terms.centered)
        return cls(problem, point.factor, sums, None, None, between)

    def of(self, rows: slice) -> ClassForces:
        """Compute what acts on the classes ``rows``."""
        problem, family, sums = self.problem, self.problem.family, self.sums
        outgoing, incoming = sums.outgoing[rows], sums.incoming[rows]
        if self.centered is None:
            return ClassForces(outgoing, incoming, sums.apart[0], None, None, self.between)
        centered, factor = self.centered[rows, ...], self.factor.of(rows)
        precisions, *scaled_means = (x[rows, ...] for x in sums.forward)
        mean_sums, *moment_sums = (x[rows, ...] for x in sums.backward)
        along = incoming[:, None] * centered - mean_sums
        away = pull = between = None
        if problem.updates_covariances:
            spread = family.outer(along - mean_sums, centered) + moment_sums[0]
            between = family.whiten_projections(factor, spread)
            pull = family.color_precisions(factor, precisions, problem.dim)
        if problem.updates_means:
            away = family.apply(precisions, centered) - scaled_means[0]
        return ClassForces(outgoing, incoming, along, away, pull, between)
