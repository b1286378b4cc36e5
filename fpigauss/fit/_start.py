"""From statistics and options to a problem, and the point where the iteration starts."""

import math
from dataclasses import dataclass, replace

import numpy as np

from fpigauss._array.checks import check_range
from fpigauss._array.namespaces import cast_like, detached, namespace
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily, shrunk
from fpigauss.divergence import PairTerms
from fpigauss.equations import Equations, Evaluation, Point, Problem
from fpigauss.errors import InvalidInputError
from fpigauss.fit._checks import (
    check_class_counts,
    check_distinct,
    check_kind,
    check_scatter,
    check_unbiased,
    check_warm_start,
    data_values,
)
from fpigauss.fit._frame import Frame
from fpigauss.fit._options import Options
from fpigauss.fit._runaway import runaway_bounds
from fpigauss.gaussians import ClassGaussians
from fpigauss.repulsion import resolve_repulsion
from fpigauss.solvers import Runaway
from fpigauss.statistics import ClassStatistics

__all__ = ["Setup", "prepare"]


@dataclass(frozen=True)
class Setup:
    """A fit that is ready to run."""

    options: Options
    statistics: ClassStatistics
    problem: Problem
    frame: Frame
    #: The initial means (K, d) and covariance values of ``family``, in the latent space.
    means: Array
    values: Array
    start: Evaluation
    lam_star: float
    runaway: Runaway | None

    @property
    def family(self) -> CovarianceFamily:
        """The family of the results."""
        return self.options.strategies.family

    def covariances_at(self, point: Point) -> Array:
        """Return the values of ``family`` at a point, in the latent space."""
        if not self.options.updates_covariances or point is self.start.point:
            return self.values
        return self.frame.values_back(point.factor)

    def means_at(self, point: Point) -> Array:
        """Return the means at a point, in the latent space."""
        if not self.options.updates_means or point is self.start.point:
            return self.means
        return self.frame.means_back(point.means)

    def admissible(self, point: Point) -> bool:
        """Say whether the covariances at a point are positive definite floating-point matrices."""
        if not self.options.updates_covariances:
            return True
        return self.family.first_not_positive(self.covariances_at(point)) is None


def prepare(
    statistics: ClassStatistics, options: Options, lam: float, source: str, like: Array
) -> Setup:
    """Check the statistics against the options and set up the problem.

    ``source`` is the public argument that the statistics come from, for messages; results will
    have the dtype of ``like``.
    """
    strategies = options.strategies
    family, equations = strategies.family, strategies.equations
    check_class_counts(statistics, source)
    check_kind(family, statistics, source)
    strategies.repulsion.check_memory(statistics.n_classes, options.memory_limit)
    own = family.projections(
        shrunk(statistics.covariances, statistics.counts, options.shrinkage)
    )  # (K, ...)
    if options.updates_covariances or options.init == "data":
        check_scatter(family, own, statistics, source)
    if equations.unbiased:
        check_unbiased(statistics, source)
    means, values = _initial(own, statistics, options)
    check_range(means, like, "means", positive=False)
    family.rounded(values, like)  # fails now, not after the work, if the results would not fit

    working = _working_family(options, values)
    working_values = values if working is family else values[:1, ...]
    scatter = working.pooled(own)
    frame = _frame(working, scatter, working_values, means, options)
    repulsion = resolve_repulsion(strategies.repulsion, lam)
    problem = Problem(
        family=working,
        means=frame.means_into(statistics.means),
        scatter=frame.projections_into(scatter),
        counts=statistics.counts,
        lam=lam,
        repulsion=repulsion,
        alpha=options.alpha,
        updates_means=options.updates_means,
        updates_covariances=options.updates_covariances,
        memory_limit=options.memory_limit,
        classes=statistics.classes,
        log_volume=frame.log_volume,
    )
    if options.init == "data" and not equations.unbiased:
        factor = working.factor(data_values(working, problem.scatter, statistics))
    else:
        factor = frame.factor_into(working.factor(working_values))
    problem, start = _started(problem, Point(frame.means_into(means), factor), equations, source)
    lam_star = math.inf
    if options.updates_covariances:
        lam_star = repulsion.critical_lam(
            family, statistics.n_classes, statistics.dim, options.alpha
        )
    certain = lam < lam_star or working.tied or not equations.runs_away
    return Setup(
        options=options,
        statistics=statistics,
        problem=problem,
        frame=frame,
        means=means,
        values=values,
        start=start,
        lam_star=lam_star,
        runaway=None if certain else runaway_bounds(problem, start),
    )


def _started(
    problem: Problem, point: Point, equations: Equations, source: str
) -> tuple[Problem, Evaluation]:
    """Evaluate the initial point, with pi frozen there if the repulsion asks for it."""
    terms = PairTerms.at(problem.family, *point, problem.memory_limit)
    if problem.lam > 0.0:
        check_distinct(terms, problem.classes)
    repulsion = problem.repulsion
    blocks = map(terms.divergences, terms.blocks())
    pi = repulsion.measured(blocks, terms.n_classes, terms.means)
    del terms  # the evaluation makes its own
    problem = replace(problem, repulsion=repulsion.at_start(pi))
    with np.errstate(all="ignore"):
        start = equations.evaluate(problem, point)
    if not start.finite:
        raise InvalidInputError(
            f"{source}: the objective overflows at the initial Gaussians (lam={problem.lam:g}); "
            "rescale the latents, or pass a smaller lam"
        )
    return problem, start


def _initial(own: Array, statistics: ClassStatistics, options: Options) -> tuple[Array, Array]:
    """Return the initial means (K, d) and covariance values."""
    xp, family = namespace(own), options.strategies.family
    means, dim = statistics.means, statistics.dim
    init = options.init
    if isinstance(init, ClassGaussians):
        check_warm_start(init, family, statistics)
        covariances = cast_like(detached(init.covariances), means)
        return cast_like(detached(init.means), means), family.unpack(covariances)
    if init == "identity":
        one = family.average(family.unit(dim, means), dim)
        return means, xp.zeros_like(family.average(family.pooled(own), dim)) + one
    if options.strategies.equations.unbiased:
        counts = statistics.counts[:, None]
        return means, own * (counts / (counts - 1.0))
    return means, data_values(family, family.pooled(own), statistics)


def _working_family(options: Options, values: Array) -> CovarianceFamily:
    """Choose the family to compute in: covariances that are equal and stay so are tied."""
    family = options.strategies.family
    fixed = options.strategies.equations.exact and not options.updates_covariances
    if family.tied or not fixed:
        return family
    equal = bool(namespace(values).all(values == values[:1, ...]))
    return family.with_tied(True) if equal else family


def _frame(
    family: CovarianceFamily, scatter: Array, values: Array, means: Array, options: Options
) -> Frame:
    """Whiten by the data where covariances move, by the Gaussians where they stay.

    Equations that are not exact are not equivariant: they see the latent space as it is, only
    centered.
    """
    shared = family.with_tied(True)
    if not options.strategies.equations.exact:
        return Frame.of(family, means)
    n_classes, dim = means.shape
    if options.updates_covariances:
        pooled = shared.pooled(scatter) / n_classes
    else:
        pooled = shared.pooled(family.values_projections(values, dim)) / values.shape[0]
    return Frame.of(family, means, shared.average(pooled, dim))
