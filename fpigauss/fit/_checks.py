"""Input checks of a fit: what the data and the start must satisfy."""

import math
from typing import Any

import numpy as np

from fpigauss._array.labels import listed
from fpigauss._array.linalg import eye_like
from fpigauss._array.namespaces import first_true, namespace, to_numpy
from fpigauss._array.rounding import rounding_variances
from fpigauss._array.typing import Array, Labels
from fpigauss.covariance import CovarianceFamily, Factor, distinct_name
from fpigauss.divergence import PairTerms
from fpigauss.equations import Equations, Held
from fpigauss.errors import InvalidInputError
from fpigauss.fit._frame import Frame
from fpigauss.gaussians import ClassGaussians
from fpigauss.statistics import ClassStatistics

__all__ = [
    "Source",
    "check_class_counts",
    "check_distinct",
    "check_kind",
    "check_scatter",
    "check_unbiased",
    "check_warm_start",
    "data_values",
    "divergence_noise",
]


def data_values(family: CovarianceFamily, scatter: Array, n_pooled: int, dim: int) -> Array:
    """Compute the data's covariances in the family, from projections pooled over classes if tied.

    ``n_pooled`` counts these classes.
    """
    return family.average(scatter / (n_pooled if family.tied else 1), dim)


class Source(str):
    """The name of the argument that data come from, and of the columns that they have there."""

    columns: Any = None
    #: Code that drops constant columns.
    varying: str = ""
    #: Whether no column can be dropped, since others have been fitted to all of them.
    whole: bool = False

    @classmethod
    def of(cls, z: Any) -> "Source":
        """Return the source of fits to the samples ``z``."""
        source = cls("z")
        source.columns = getattr(z, "columns", None)
        if hasattr(z, "iloc"):
            source.varying = ": z.loc[:, (z != z.iloc[0]).any()]"
        elif source.columns is None:
            source.varying = ": z[:, (z != z[0]).any(0)]"
        return source

    def named(self, axis: int) -> str:
        """Name a dimension."""
        column = "" if self.columns is None else f", column {self.columns[axis]!r}"
        return f"dimension {axis}{column}"


def check_kind(family: CovarianceFamily, statistics: ClassStatistics, source: str) -> None:
    """Raise if a dense family is to be fitted to diagonal statistics."""
    if family.needs_dense and statistics.covariance != "dense":
        raise InvalidInputError(
            f"{source} contains diagonal covariances, but covariance="
            f'"{family.name}" needs dense ones; gather it with covariance="dense"'
        )


def check_class_counts(statistics: ClassStatistics, free: Labels | None, source: str) -> None:
    """Raise unless there are at least two classes, and samples of each that is ``free`` (K,)."""
    if statistics.n_classes < 2:
        raise InvalidInputError(
            f"{source} contains only one class, {statistics.classes[0].item()!r}, "
            "but at least two are needed; check y"
        )
    empty = to_numpy(statistics.counts) <= 0.0
    faulty = statistics.classes[empty if free is None else empty & free]
    if faulty.shape[0]:
        raise InvalidInputError(
            f"{source} contains no sample of class {faulty[0].item()!r}; "
            "add samples of it, remove it from classes, or keep Gaussians of it by frozen="
        )


def check_scatter(
    family: CovarianceFamily,
    own: Array,
    statistics: ClassStatistics,
    source: str,
    equations: Equations,
) -> None:
    """Raise for data that are singular in the family: even lam = 0 then has no minimum.

    Each remedy in the message is one that helps these data.
    """
    noise = rounding_variances(statistics.means)
    own_noise = namespace(own).max(noise, axis=0, keepdims=True) if family.tied else noise
    values = data_values(family, family.pooled(own), statistics.n_classes, statistics.dim)
    singular = family.first_singular(values, own_noise)
    if singular is None:
        return
    source = source if isinstance(source, Source) else Source(source)
    _check_scale(statistics, source)
    everywhere = family.tied or _singular_if_pooled(family, own, noise, statistics)
    label, count = statistics.classes[singular].item(), float(statistics.counts[singular])
    at_fault = slice(None) if family.tied else slice(singular, singular + 1)
    remedies = []
    if not everywhere and equations.holds_for(family.with_tied(True)):
        remedies.append("tied=True")
    if not _has_variance(statistics, at_fault, noise):
        whose = "each class" if family.tied else f"class {label!r}"
        problem, remedy = _without_variance(statistics, at_fault, whose)
        raise InvalidInputError(f"{source}: {problem}; pass {_listed([*remedies, remedy])}")
    remedies.append("shrinkage=0.01")
    axis = _constant_axis(statistics, slice(None) if everywhere else at_fault)
    where = "" if axis is None else f" ({source.named(axis)})"
    drop = "drop that direction"
    if everywhere and axis is not None and _is_one(statistics, axis):
        drop = f"drop constant columns{source.varying}"
    if everywhere:
        whose = "the covariance pooled over all classes is singular"
        if not family.tied:
            whose = f'the "{family.name}" covariance of class {label!r} is singular'
        if axis is None and (few := _too_few(statistics)):
            raise InvalidInputError(
                f"{source}: {whose}, because {few}; pass {_listed([*remedies, 'more samples'])}"
            )
        within = " in any class" if statistics.n_classes > 1 else ""
        dropped = "" if source.whole else f"{drop}, or "
        raise InvalidInputError(
            f"{source}: {whose}, because some direction has no variance{within}{where}; "
            f"{dropped}pass {_listed(remedies)}"
        )
    raise InvalidInputError(
        f"{source}: class {label!r} has {count:g} samples in {statistics.dim} dimensions and no "
        f'variance in some direction{where}, so its "{family.name}" covariance is singular; '
        f"pass {_listed([*remedies, 'more samples'])}, or {drop}"
    )


def _check_scale(statistics: ClassStatistics, source: Source) -> None:
    """Raise for latents so small that their squares are lost."""
    means = statistics.means
    xp = namespace(means)
    largest = float(xp.max(xp.abs(means)))
    if 0.0 < largest < math.sqrt(float(xp.finfo(means.dtype).smallest_normal)):
        raise InvalidInputError(f"{source} is too small: its squares underflow; rescale it")


def _too_few(statistics: ClassStatistics) -> str:
    """Say that all classes together have too few samples for a dense covariance, if so."""
    n_classes = statistics.n_classes
    total = float(namespace(statistics.counts).sum(statistics.counts))
    if total - n_classes >= statistics.dim:
        return ""
    whose = f" of {n_classes} classes" if n_classes > 1 else ""
    return (
        f"{total:g} samples{whose} have no variance in some direction of {statistics.dim} "
        "dimensions"
    )


def _singular_if_pooled(
    family: CovarianceFamily, own: Array, noise: Array, statistics: ClassStatistics
) -> bool:
    """Say whether the covariance of all classes together is singular too."""
    shared = family.with_tied(True)
    values = data_values(shared, shared.pooled(own), statistics.n_classes, statistics.dim)
    largest = namespace(noise).max(noise, axis=0, keepdims=True)
    return shared.first_singular(values, largest) is not None


def _has_variance(statistics: ClassStatistics, classes: slice, noise: Array) -> bool:
    """Say whether one of ``classes`` has variance along some axis, for shrinkage to spread."""
    xp = namespace(noise)
    return bool(xp.any(_variances(statistics)[classes, :] > noise[classes, :]))


def _without_variance(statistics: ClassStatistics, classes: slice, whose: str) -> tuple[str, str]:
    """Say why ``classes`` have no variance at all, and what helps."""
    if float(namespace(statistics.counts).max(statistics.counts[classes])) <= 1.0:
        return f"{whose} has one sample, so it has no covariance of its own", "more samples"
    problem = f"the samples of {whose} are all the same, so they have no variance"
    return problem, "samples that differ"


def _listed(remedies: list[str]) -> str:
    *most, last = remedies
    return f"{', '.join(most)} or {last}" if most else last


def _variances(statistics: ClassStatistics) -> Array:
    """Return the variances (K, d) of the classes."""
    c_y = statistics.covariances
    return c_y if c_y.ndim == 2 else namespace(c_y).linalg.diagonal(c_y)


def _constant_axis(statistics: ClassStatistics, classes: slice) -> int | None:
    """Return the first dimension that has no variance in ``classes``, if there is one."""
    xp = namespace(statistics.means)
    largest = xp.max(_variances(statistics)[classes, :], axis=0)
    means = xp.max(xp.abs(statistics.means[classes, :]), axis=0)
    return first_true(largest <= rounding_variances(means))


def _is_one(statistics: ClassStatistics, axis: int) -> bool:
    """Say whether the means of the classes are one along a dimension, up to rounding."""
    xp = namespace(statistics.means)
    means = statistics.means[:, axis]
    return bool(xp.all((means - means[0]) ** 2 <= rounding_variances(xp.max(xp.abs(means)))))


def check_unbiased(statistics: ClassStatistics, source: str) -> None:
    """Raise if unbiased variances, which divide by N_y - 1, do not exist."""
    small = first_true(statistics.counts <= 1.0)
    if small is not None:
        raise InvalidInputError(
            f"{source}: class {statistics.classes[small].item()!r} has a count of "
            f'{float(statistics.counts[small]):g}, but equations="released" divides by the count '
            "minus one; give it more samples or weight"
        )


def check_warm_start(
    init: ClassGaussians,
    family: CovarianceFamily,
    statistics: ClassStatistics,
    free: Labels | None,
) -> None:
    """Raise unless ``init`` has the family, dimension and classes of the fit.

    Where some classes are held, those that are ``free`` (K,) may be missing.
    """
    if init.family != family:
        raise InvalidInputError(
            f"init has {described(init.family)} covariances, but the fit is for "
            f"{described(family)} ones; pass Gaussians with the same covariance= and tied="
        )
    if init.dim != statistics.dim:
        raise InvalidInputError(
            f"init has {init.dim} dimensions, but the data have {statistics.dim}; "
            "pass Gaussians of the same latent space"
        )
    if free is not None:
        unknown = np.setdiff1d(init.classes, statistics.classes)
        if unknown.shape[0]:
            raise InvalidInputError(
                f"init has the class {unknown[0].item()!r}, which has no samples and is not among "
                "the frozen ones; add it to frozen, or pass Gaussians without it"
            )
    elif not np.array_equal(init.classes, statistics.classes):
        raise InvalidInputError(
            f"init has the classes {listed(init.classes)}, "
            f"but the data have {listed(statistics.classes)}; pass Gaussians of the same classes, "
            "or frozen=init.classes to keep them and fit the other classes beside them"
        )


def check_distinct(terms: PairTerms, noise: Array, classes: Labels, held: Held | None) -> None:
    """Raise if two Gaussians are equal: the repulsion between them has no direction.

    ``noise`` (K,) bounds the divergence from each class that rounding alone leaves. Pairs of two
    held classes do not repel each other.
    """
    xp = namespace(terms.means)
    for block in terms.blocks():
        equal = (terms.divergences(block) <= noise[None, :]) & ~terms.diagonal(block)
        if held is not None:
            equal = equal & ~held.both(block)
        row = first_true(xp.any(equal, axis=1))
        if row is not None:
            column = first_true(equal[row, :])
            names = [classes[k].item() for k in (block.start + row, column)]
            raise InvalidInputError(
                f"init: classes {names[0]!r} and {names[1]!r} have the same initial Gaussian "
                "(zero KLD, up to rounding), so nothing repels them; merge them or start from "
                "other Gaussians"
            )


def divergence_noise(family: CovarianceFamily, means: Array, factor: Factor, frame: Frame) -> Array:
    """Bound the KLD from each class (K,) to an equal one whose numbers were rounded otherwise.

    Sums over the same samples in another order are good to a few roundings: means to those of
    themselves and of the class's spread, covariances to those of themselves.
    """
    dim = means.shape[1]
    few = 8.0 * float(namespace(means).finfo(means.dtype).eps)
    square = (few * means) ** 2  # (K, d)
    if family.needs_dense:
        square = square[:, :, None] * eye_like(dim, means)
    offset = frame.projections_into(family.projections(square))
    return 0.5 * family.trace(family.whiten_projections(factor, offset)) + 2.0 * dim * few**2


def described(family: CovarianceFamily) -> str:
    return ("tied " if family.tied else "") + distinct_name(family)
