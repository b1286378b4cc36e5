"""From statistics and arguments to a problem and the point that the iteration starts from."""

import math
from dataclasses import dataclass, replace

import numpy as np

from fpigauss._arrays import cast_like, detached, first_true, namespace
from fpigauss._errors import InvalidInputError
from fpigauss._frame import Frame
from fpigauss._labels import listed
from fpigauss._options import Options
from fpigauss._range import check_range
from fpigauss._typing import Array
from fpigauss.covariance import CovarianceFamily, shrunk
from fpigauss.divergence import PairTerms
from fpigauss.equations import Evaluation, Point, Problem, ReleasedEquations, StationaryEquations
from fpigauss.gaussians import ClassGaussians
from fpigauss.repulsion import ForwardPi, FrozenPi, NoRepulsion, critical_lam, resolve_repulsion
from fpigauss.solvers import Runaway
from fpigauss.statistics import ClassStatistics

__all__ = ["Setup", "prepare"]

#: An eigenvalue has run away past this multiple of the largest of the pooled data covariance,
_INFLATION = 1e8
#: and a condition number past this and this multiple of the data's.
_CONDITION = 1e12
_CONDITION_GROWTH = 1e4


@dataclass(frozen=True)
class Setup:
    """A fit that is ready to run."""

    options: Options
    statistics: ClassStatistics
    problem: Problem
    frame: Frame
    #: The initial means (K, d) and covariance values of ``options.family``, in the latent space.
    means: Array
    values: Array
    start: Evaluation
    lam_star: float
    runaway: Runaway | None

    def covariances_at(self, point: Point) -> Array:
        """The values of ``options.family`` at a point, in the latent space."""
        if not self.options.updates_covariances or point is self.start.point:
            return self.values
        return self.frame.values_back(point.factor)

    def means_at(self, point: Point) -> Array:
        """The means at a point, in the latent space."""
        if not self.options.updates_means or point is self.start.point:
            return self.means
        return self.frame.means_back(point.means)

    def admissible(self, point: Point) -> bool:
        """Whether the covariances at a point are positive definite floating-point matrices."""
        if not self.options.updates_covariances:
            return True
        return self.options.family.first_not_positive(self.covariances_at(point)) is None


def prepare(statistics: ClassStatistics, options: Options, source: str, like: Array) -> Setup:
    """Check the statistics against the arguments and set the problem up.

    ``source`` is the public argument that the statistics came from, for messages; results will
    have the dtype of ``like``.
    """
    family, c_y = options.family, statistics.covariances
    _check_classes(statistics, source)
    if family.needs_dense and c_y.ndim != 3:
        raise InvalidInputError(
            f"{source} holds diagonal covariances, but covariance="
            f'"{family.name}" needs dense ones; gather it with covariance="dense"'
        )
    repulsion = resolve_repulsion(
        options.pi, options.alpha, options.lam, statistics.n_classes, options.memory_limit
    )
    own = family.moments(shrunk(c_y, statistics.counts, options.shrinkage))  # (K, ...)
    if options.updates_covariances or options.init == "data":
        _check_scatter(family, own, statistics, source)
    if isinstance(options.equations, ReleasedEquations):
        _check_unbiased(statistics, source)
    means, values = _initial(family, own, statistics, options)
    check_range(means, like, "means", positive=False)
    family.rounded(values, like)  # says now, and not after the work, if the results would not fit

    working = _working_family(options, values)
    working_values = values if working is family else values[:1, ...]
    scatter = working.pooled(own)
    frame = _frame(working, scatter, working_values, means, options)
    problem = Problem(
        family=working,
        means=frame.means_into(statistics.means),
        scatter=frame.moments_into(scatter),
        counts=statistics.counts,
        lam=options.lam,
        repulsion=repulsion,
        updates_means=options.updates_means,
        updates_covariances=options.updates_covariances,
        memory_limit=options.memory_limit,
        classes=statistics.classes,
        log_volume=frame.log_volume,
    )
    if options.init == "data" and not isinstance(options.equations, ReleasedEquations):
        factor = working.factor(_data_values(working, problem.scatter, statistics))
    else:
        factor = frame.factor_into(working.factor(working_values))
    point = Point(frame.means_into(means), factor)
    terms = PairTerms.at(working, *point, options.memory_limit)
    _check_distinct(terms, options, statistics)
    pi = repulsion.measure(map(terms.divergences, terms.blocks()), terms.n_classes)
    del terms  # the evaluation makes its own
    problem = replace(problem, repulsion=repulsion.at_start(pi))
    with np.errstate(all="ignore"):
        start = options.equations.evaluate(problem, point)
    if not start.finite:
        raise InvalidInputError(
            f"{source}: the objective overflows at the initial Gaussians (lam={options.lam:g}); "
            "rescale the latents, or pass a smaller lam"
        )
    lam_star = math.inf
    if options.updates_covariances and isinstance(repulsion, ForwardPi):
        lam_star = critical_lam(
            statistics.n_classes, options.alpha, covariance=family, dim=statistics.dim
        )
    return Setup(
        options=options,
        statistics=statistics,
        problem=problem,
        frame=frame,
        means=means,
        values=values,
        start=start,
        lam_star=lam_star,
        runaway=_runaway(problem, start, options, lam_star),
    )


# -- the parts -----------------------------------------------------------------------------


def _initial(
    family: CovarianceFamily, own: Array, statistics: ClassStatistics, options: Options
) -> tuple[Array, Array]:
    """The initial means (K, d) and covariance values."""
    xp = namespace(own)
    means, dim = statistics.means, statistics.dim
    init = options.init
    if isinstance(init, ClassGaussians):
        _check_warm_start(init, family, statistics)
        covariances = cast_like(detached(init.covariances), means)
        return cast_like(detached(init.means), means), family.unpack(covariances)
    if init == "identity":
        one = family.average(family.unit(dim, means), dim)
        return means, xp.zeros_like(family.average(family.pooled(own), dim)) + one
    if isinstance(options.equations, ReleasedEquations):
        counts = statistics.counts[:, None]
        return means, own * (counts / (counts - 1.0))
    return means, _data_values(family, family.pooled(own), statistics)


def _data_values(family: CovarianceFamily, scatter: Array, statistics: ClassStatistics) -> Array:
    """The data's covariances in the family, from (pooled) moments."""
    n_pooled = statistics.n_classes if family.tied else 1
    return family.average(scatter / n_pooled, statistics.dim)


def _working_family(options: Options, values: Array) -> CovarianceFamily:
    """The family to compute in: covariances that are equal and stay so are one covariance."""
    family = options.family
    fixed = isinstance(options.equations, StationaryEquations) and not options.updates_covariances
    if family.tied or not fixed:
        return family
    equal = bool(namespace(values).all(values == values[:1, ...]))
    return family.with_tied(True) if equal else family


def _frame(
    family: CovarianceFamily, scatter: Array, values: Array, means: Array, options: Options
) -> Frame:
    """Whitened by the data where covariances move, by the Gaussians where they stay.

    The other readings are not equivariant: they see the latent space as it is, but centred.
    """
    shared = family.with_tied(True)
    if not isinstance(options.equations, StationaryEquations):
        return Frame.of(family, means)
    n_classes, dim = means.shape
    if options.updates_covariances:
        pooled = shared.pooled(scatter) / n_classes
    else:
        pooled = shared.pooled(family.values_moments(values, dim)) / values.shape[0]
    return Frame.of(family, means, shared.average(pooled, dim))


def _runaway(
    problem: Problem, start: Evaluation, options: Options, lam_star: float
) -> Runaway | None:
    """Bounds past which the objective counts as unbounded; None where it has a minimum."""
    family, repulsion = problem.family, problem.repulsion
    certain = (
        not options.updates_covariances
        or family.tied
        or isinstance(repulsion, FrozenPi | NoRepulsion)
        or (isinstance(repulsion, ForwardPi) and options.lam < lam_star)
        or isinstance(options.equations, ReleasedEquations)
    )
    if certain:
        return None
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


# -- the checks ----------------------------------------------------------------------------


def _check_classes(statistics: ClassStatistics, source: str) -> None:
    if statistics.n_classes < 2:
        raise InvalidInputError(
            f"{source} holds one class, {statistics.classes[0].item()!r}; "
            "at least two are needed, check y"
        )
    empty = first_true(statistics.counts <= 0.0)
    if empty is not None:
        raise InvalidInputError(
            f"{source} holds no sample of class {statistics.classes[empty].item()!r}; "
            "give it samples or take it out of classes"
        )


def _check_scatter(
    family: CovarianceFamily, own: Array, statistics: ClassStatistics, source: str
) -> None:
    """Data that are singular in the family have no minimum at lam = 0 either."""
    xp = namespace(own)
    noise = _rounding(statistics.means)
    if family.tied:
        noise = xp.max(noise, axis=0, keepdims=True)
    singular = family.first_singular(_data_values(family, family.pooled(own), statistics), noise)
    if singular is None:
        return
    if family.tied:
        raise InvalidInputError(
            f"{source}: the covariance pooled over all classes is singular, some direction has "
            f"no variance in any class{_constant_axis(statistics, slice(None))}; "
            "drop that direction, or pass shrinkage"
        )
    label, count = statistics.classes[singular].item(), float(statistics.counts[singular])
    if count <= 1.0:
        raise InvalidInputError(
            f"{source}: class {label!r} has one sample, so it has no covariance of its own; "
            "pass tied=True, or more samples"
        )
    axis = _constant_axis(statistics, slice(singular, singular + 1))
    raise InvalidInputError(
        f"{source}: class {label!r} has {count:g} samples in {statistics.dim} dimensions and no "
        f'variance in some direction{axis}, so its "{family.name}" covariance is singular; '
        "pass tied=True, more samples, or shrinkage, or drop that direction"
    )


def _constant_axis(statistics: ClassStatistics, classes: slice) -> str:
    """Name the first dimension that has no variance in ``classes``, if there is one."""
    xp = namespace(statistics.means)
    c_y = statistics.covariances
    variances = c_y if c_y.ndim == 2 else xp.linalg.diagonal(c_y)
    largest = xp.max(variances[classes, :], axis=0)
    means = xp.max(xp.abs(statistics.means[classes, :]), axis=0)
    axis = first_true(largest <= _rounding(means))
    return "" if axis is None else f" (dimension {axis})"


def _rounding(means: Array) -> Array:
    """The variance that rounding of the mean leaves on a constant."""
    return (8.0 * namespace(means).finfo(means.dtype).eps * means) ** 2


def _check_unbiased(statistics: ClassStatistics, source: str) -> None:
    """Unbiased variances divide by N_y - 1."""
    small = first_true(statistics.counts <= 1.0)
    if small is not None:
        raise InvalidInputError(
            f"{source}: class {statistics.classes[small].item()!r} has a count of "
            f'{float(statistics.counts[small]):g}, but equations="released" divides by the count '
            "less one; give it more samples or weight"
        )


def _check_warm_start(
    init: ClassGaussians, family: CovarianceFamily, statistics: ClassStatistics
) -> None:
    if init.family != family:
        raise InvalidInputError(
            f"init holds {_described(init.family)} covariances, the fit is for "
            f"{_described(family)} ones; pass Gaussians of the same covariance= and tied="
        )
    if init.dim != statistics.dim:
        raise InvalidInputError(
            f"init has {init.dim} dimensions, the data {statistics.dim}; "
            "pass Gaussians of the same latent space"
        )
    if not np.array_equal(init.classes, statistics.classes):
        raise InvalidInputError(
            f"init has the classes {listed(init.classes)}, "
            f"the data {listed(statistics.classes)}; pass Gaussians of the same classes"
        )


def _check_distinct(terms: PairTerms, options: Options, statistics: ClassStatistics) -> None:
    """Between equal Gaussians there is no direction of repulsion."""
    if options.lam == 0.0:
        return
    xp = namespace(terms.means)
    for block in terms.blocks():
        equal = (terms.divergences(block) == 0.0) & ~terms.diagonal(block)
        row = first_true(xp.any(equal, axis=1))
        if row is not None:
            column = first_true(equal[row, :])
            names = [statistics.classes[k].item() for k in (block.start + row, column)]
            raise InvalidInputError(
                f"init: classes {names[0]!r} and {names[1]!r} have the same initial Gaussian "
                "(zero KLD), so nothing repels them; merge them or start from other Gaussians"
            )


def _described(family: CovarianceFamily) -> str:
    return ("tied " if family.tied else "") + family.name
