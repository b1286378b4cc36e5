"""From statistics and options to a problem, and the point where the iteration starts."""

import math
from dataclasses import dataclass, replace

import numpy as np

from fpigauss._array.checks import OutOfScaleError, check_range
from fpigauss._array.linalg import broke_down, flattened, squared_norms
from fpigauss._array.namespaces import cast_like, namespace, to_numpy
from fpigauss._array.typing import Array, Labels
from fpigauss.covariance import CovarianceFamily
from fpigauss.divergence import PairTerms
from fpigauss.equations import Equations, Evaluation, Point, Problem
from fpigauss.errors import InvalidInputError
from fpigauss.fit._checks import check_distinct, data_values, divergence_noise
from fpigauss.fit._frame import Frame
from fpigauss.fit._lineup import Lineup, grouped
from fpigauss.fit._options import Options
from fpigauss.fit._runaway import runaway_bounds
from fpigauss.fit._walk import lams_to_walk
from fpigauss.gaussians import ClassGaussians
from fpigauss.repulsion import resolve_repulsion
from fpigauss.solvers import Runaway
from fpigauss.statistics import ClassStatistics

__all__ = ["Setup", "prepare"]

#: A condition number at which rounding changes an eigenvalue by 1e-8 of itself.
_ILL_CONDITIONED = 1e8


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
    #: The values of lam to visit first.
    on_the_way: tuple[float, ...]

    @property
    def family(self) -> CovarianceFamily:
        """The family of the results."""
        return self.options.strategies.family

    @property
    def without_samples(self) -> Labels:
        """The labels of the classes that have no samples, which are held."""
        return self.statistics.classes[to_numpy(self.statistics.counts) <= 0.0]

    @property
    def counts(self) -> Array | None:
        """The counts of all classes: held ones without samples have those of ``init``, if known."""
        counts, init = self.statistics.counts, self.options.init
        without = to_numpy(counts) <= 0.0
        if not without.any():
            return counts
        assert isinstance(init, ClassGaussians)  # such classes are held
        if init.counts is None:
            return None
        known = np.zeros(without.shape)
        known[np.isin(self.statistics.classes, init.classes)] = to_numpy(init.counts)[
            np.isin(init.classes, self.statistics.classes)
        ]
        return cast_like(np.where(without, known, to_numpy(counts)), counts)

    def covariances_at(self, point: Point) -> Array:
        """Return the values of ``family`` at a point, in the latent space."""
        if not self.options.updates_covariances or point is self.start.point:
            return self.values
        return self.problem.where_free(self.frame.values_back(point.factor), self.values)

    def means_at(self, point: Point) -> Array:
        """Return the means at a point, in the latent space."""
        if not self.options.updates_means or point is self.start.point:
            return self.means
        return self.problem.where_free(self.frame.means_back(point.means), self.means)

    def admissible(self, point: Point) -> bool:
        """Say whether the covariances at a point are positive definite floating-point matrices."""
        if not self.options.updates_covariances:
            return True
        values = self.covariances_at(point)
        if self.problem.held is not None:
            family, dim = self.family, self.problem.dim
            one = family.average(family.unit(dim, self.means), dim)
            values = self.problem.where_free(values, one)
        if self.family.first_not_positive(values) is not None:
            return False
        # near the largest condition number, a Cholesky factor may exist by luck of rounding
        if not self.ill_conditioned(point):
            return True
        zero = namespace(values).zeros_like(self.means[: values.shape[0], :])
        return self.family.first_singular(values, zero) is None

    def ill_conditioned(self, point: Point) -> bool:
        """Say whether rounding to stored covariances changes those of a point by much."""
        root, inverse = (squared_norms(flattened(part)) for part in point.factor)
        bound = root * inverse  # of the condition number, in the frame
        return bool(namespace(bound).any(bound > _ILL_CONDITIONED))

    def as_stored(self, point: Point) -> Point:
        """Return the point that the numbers of a result stand for."""
        factor = self.problem.family.factor(self.covariances_at(point))
        means = self.frame.means_into(self.means_at(point))
        return Point(means, self.frame.factor_into(factor))


def prepare(
    statistics: ClassStatistics, options: Options, lam: float, source: str, like: Array
) -> Setup:
    """Check the statistics against the options and set up the problem.

    ``source`` is the public argument that the statistics come from, for messages; results will
    have the dtype of ``like``.
    """
    strategies = options.strategies
    family, equations = strategies.family, strategies.equations
    lineup = Lineup.of(statistics, options, source)
    statistics = lineup.statistics
    strategies.repulsion.check_memory(statistics.n_classes, options.memory_limit)
    lineup.check_data(source)
    means, values = lineup.initial()
    check_range(means, like, "means", positive=False)
    family.rounded(values, like)  # fails now, not after the work, if the results would not fit

    try:
        frame, problem, start = _framed(lineup, (means, values), source)
        lam_star = _lam_star(problem, options)
        certain = lam < lam_star or problem.family.tied or not equations.runs_away
        runaway = None if certain else runaway_bounds(problem, start)
        on_the_way = lams_to_walk(problem, start.point, options, starts_anew=lineup.starts_anew)
    except Exception as error:
        if broke_down(error):
            raise _not_factored(lineup, (means, values), source) from None
        raise
    return Setup(
        options=options,
        statistics=statistics,
        problem=problem,
        frame=frame,
        means=means,
        values=values,
        start=start,
        lam_star=lam_star,
        runaway=runaway,
        on_the_way=on_the_way,
    )


def _lam_star(problem: Problem, options: Options) -> float:
    if not options.updates_covariances:
        return math.inf
    family = options.strategies.family
    return problem.repulsion.critical_lam(family, problem.n_classes, problem.dim, options.alpha)


def _framed(
    lineup: Lineup, initial: tuple[Array, Array], source: str
) -> tuple[Frame, Problem, Evaluation]:
    """Set up the problem in its frame, and evaluate the initial means and covariance values."""
    options, statistics = lineup.options, lineup.statistics
    family, equations = options.strategies.family, options.strategies.equations
    (means, values), lam = initial, options.lam
    assert lam is not None  # FixedPoint has checked it
    working = _working_family(options, values)
    working_values = values if working is family else values[:1, ...]
    data_means, scatter = lineup.data(working, means, working_values)
    frame = _frame(working, scatter, working_values, means, options)
    problem = Problem(
        family=working,
        means=frame.means_into(data_means),
        scatter=frame.projections_into(scatter),
        counts=statistics.counts,
        lam=lam,
        repulsion=resolve_repulsion(options.strategies.repulsion, lam),
        alpha=options.alpha,
        updates_means=options.updates_means,
        updates_covariances=options.updates_covariances,
        memory_limit=options.memory_limit,
        classes=statistics.classes,
        log_volume=frame.log_volume,
        held=lineup.held(),
    )
    if options.init == "data" and not equations.unbiased:
        of_data = data_values(working, problem.scatter, statistics.n_classes, statistics.dim)
        factor = working.factor(of_data)
    else:
        factor = frame.factor_into(working.factor(working_values))
    point = Point(frame.means_into(means), factor)
    noise = divergence_noise(working, means, factor, frame) if lam > 0.0 else None
    return frame, *_started(problem, point, noise, equations, source)


def _not_factored(lineup: Lineup, initial: tuple[Array, Array], source: str) -> InvalidInputError:
    """Return the error for covariances that are positive definite, but not to rounding."""
    options, statistics, values = lineup.options, lineup.statistics, initial[1]
    family = options.strategies.family
    zero = namespace(statistics.means).zeros_like(statistics.means)
    singular = family.first_singular(values, zero[:1, :] if family.tied else zero)
    if singular is None and _is_due_to_lam(lineup, initial, source):
        return OutOfScaleError(
            f"lam: beside a repulsion of lam={options.lam:g}, what the data say of the covariances "
            "is below rounding, so that they would be singular; pass a smaller lam, or reach this "
            "one by warm starts (init=result.gaussians)"
        )
    if singular is None:
        return OutOfScaleError(
            f"{source}: the covariances of the classes differ too much in scale to be computed "
            "with together; rescale the latents, or drop the classes that have almost no variance"
        )
    label = statistics.classes[singular].item()
    whose = "" if family.tied else f" of class {label!r}"
    given = isinstance(options.init, ClassGaussians) and (
        family.tied or label in options.init.classes.tolist()
    )
    remedy = "" if options.frozen else ', or init="data"'
    return InvalidInputError(
        f"{'init' if given else source}: the covariance{whose} is singular up to rounding; "
        f"pass better conditioned Gaussians{remedy}"
    )


def _is_due_to_lam(lineup: Lineup, initial: tuple[Array, Array], source: str) -> bool:
    """Say whether the initial covariances can be computed with where the repulsion is moderate."""
    assert lineup.options.lam is not None
    if lineup.options.lam <= 1.0:
        return False
    moderate = replace(lineup, options=replace(lineup.options, lam=1.0))
    try:
        _framed(moderate, initial, source)
    except Exception as error:
        if broke_down(error) or isinstance(error, InvalidInputError):
            return False
        raise
    return True


def _started(
    problem: Problem, point: Point, noise: Array | None, equations: Equations, source: str
) -> tuple[Problem, Evaluation]:
    """Evaluate the initial point, with pi frozen there if the repulsion asks for it."""
    terms = PairTerms.at(problem.family, *point, problem.memory_limit)
    if noise is not None:  # something repels
        check_distinct(terms, noise, problem.classes, problem.held)
        if problem.held is not None and problem.family.tied and problem.updates_covariances:
            problem = replace(problem, held=grouped(problem.held, terms, noise))
    repulsion = problem.repulsion
    blocks = map(terms.divergences, terms.blocks())
    pi = repulsion.measured(blocks, terms.n_classes, terms.means)
    del terms  # the evaluation makes its own
    problem = replace(problem, repulsion=repulsion.at_start(pi))
    with np.errstate(all="ignore"):
        start = equations.evaluate(problem, point)
    if not start.finite:
        raise OutOfScaleError(
            f"{source}: the objective overflows at the initial Gaussians (lam={problem.lam:g}); "
            "rescale the latents, or pass a smaller lam"
        )
    return problem, start


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
    center = family.center(means, family.factor(values))
    if not options.strategies.equations.exact:
        return Frame.of(family, center)
    n_classes, dim = means.shape
    if options.updates_covariances:
        pooled = shared.pooled(scatter) / n_classes
    else:
        pooled = shared.pooled(family.values_projections(values, dim)) / values.shape[0]
    return Frame.of(family, center, shared.average(pooled, dim))
