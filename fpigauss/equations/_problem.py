"""The problem (Eq. 4 for given data), a point of it, and what an evaluation there gives."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from fpigauss._array.blocks import blocks
from fpigauss._array.linalg import dot, squared_norms
from fpigauss._array.namespaces import is_on_host, namespace, on_host
from fpigauss._array.typing import Array, Labels
from fpigauss.covariance import CovarianceFamily, Factor
from fpigauss.equations._held import Held
from fpigauss.equations._pairs import PairSums, is_matrix
from fpigauss.repulsion import Repulsion

__all__ = ["Descent", "Evaluation", "Impasse", "Move", "Point", "Problem", "Step", "largest"]


#: Bytes of the means of classes whose updates are computed together: few enough that the arrays on
#: the way stay in a core's cache.
_TOGETHER_BYTES = 2**18


class Point(NamedTuple):
    """Means (K, d) and factors of the covariances."""

    means: Array
    factor: Factor


class Step(NamedTuple):
    """A move in the moving frame: mu <- mu + F u, F <- F exp(S / 2).

    ``means`` is u (K, d) and ``covariances`` S (values); None for what is not updated. Gradients
    with respect to u and S have the same form (with projections for S).
    """

    means: Array | None
    covariances: Array | None

    def scaled(self, t: Any) -> "Step":
        """Multiply the step by ``t``."""
        return self if t == 1.0 else Step(*(None if part is None else t * part for part in self))

    def flat(self) -> Array:
        """Return its numbers as one vector, in which inner products are sum u u' + tr S S'."""
        parts = [namespace(part).reshape(part, (-1,)) for part in self if part is not None]
        return parts[0] if len(parts) == 1 else namespace(*parts).concat(parts)

    def shaped(self, flat: Array) -> "Step":
        """Return a vector as a step that has the shape of this one."""
        parts: list[Array | None] = []
        start = 0
        for part in self:
            size = 0 if part is None else math.prod(part.shape)
            taken = flat[start : start + size]
            parts.append(None if part is None else namespace(flat).reshape(taken, part.shape))
            start += size
        return Step(*parts)

    def dot(self, other: "Step") -> Any:
        """Compute the inner product, sum u u' + tr S S'; the scalar stays on its device."""
        return sum(
            dot(a, b) for a, b in zip(self, other, strict=True) if a is not None and b is not None
        )


@dataclass(frozen=True)
class Problem:
    """Eq. 4 for given statistics, in the frame of the fit."""

    family: CovarianceFamily
    means: Array  # m_y (K, d)
    scatter: Array  # projections of C_y, summed over the weighed classes where tied
    counts: Array  # N_y (K,)
    lam: float
    repulsion: Repulsion
    alpha: float
    updates_means: bool
    updates_covariances: bool
    memory_limit: int
    classes: Labels
    log_volume: float
    held: Held | None = None  # None where every class is fitted

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return int(self.means.shape[0])

    @property
    def dim(self) -> int:
        """The number of dimensions d."""
        return int(self.means.shape[1])

    @property
    def n_weighed(self) -> int:
        """The number of classes in the likelihood."""
        return self.n_classes if self.held is None else self.held.n_weighed

    @property
    def c(self) -> float:
        """The weight of one ordered pair, lam / (K (K - 1))."""
        return self.lam / (self.n_classes * (self.n_classes - 1))

    @property
    def rounding(self) -> float:
        """The size up to which the residual is rounding at the data's own Gaussians."""
        eps, condition = float(namespace(self.means).finfo(self.means.dtype).eps), 1.0
        if self.updates_covariances:
            data = self.family.average(self.scatter, self.dim)
            low, high = self.family.spectrum(self.family.factor(data))
            inverse = self.where_free(low / high, 1.0)
            condition = 1.0 / max(eps, float(namespace(low).min(inverse)))
        return min(8.0 * self.dim * eps * condition, 1e-2)

    def class_blocks(self) -> list[slice]:
        """Split the classes into blocks to update; all are one where they share a covariance."""
        # a call costs an accelerator as much as many rows
        if self.family.tied or not is_on_host(self.means):
            return [slice(None)]
        row_bytes = 8 * max(self.dim, math.prod(self.scatter.shape[1:]))
        return list(blocks(self.n_classes, row_bytes, _TOGETHER_BYTES))

    def where_free(self, new: Array, old: Array | float, rows: slice = slice(None)) -> Array:
        """Return ``new`` (n, ...), of the classes ``rows``, where it is fitted, else ``old``."""
        # a shared covariance belongs to the free classes too
        shared = self.family.tied and new.shape[0] == 1
        return new if self.held is None or shared else self.held.kept(new, old, rows)

    def moved(self, point: "Point", target: "Point") -> "Point":
        """Return ``target``, with the held classes as they are at ``point``."""
        if self.held is None:
            return target
        means = self.held.kept(target.means, point.means)
        pairs = zip(target.factor, point.factor, strict=True)
        return Point(means, Factor(*(self.where_free(new, old) for new, old in pairs)))

    def scatter_about(self, means: Array) -> Array:
        """Compute the projections of S_y = C_y + (m_y - mu_y) (m_y - mu_y)'."""
        difference = self.means - means
        return self.scatter + self.family.outer(difference, difference)

    def likelihood(self, point: Point, traces: Array, log_dets: Array | None = None) -> Array:
        """Compute the balanced negative log-likelihood () from tr(Sigma_y^-1 S_y) (n,)."""
        xp = namespace(point.means)
        if log_dets is None:
            log_dets = self.family.log_det(point.factor, self.dim)
        # all classes share one factor where tied
        shared = self.n_weighed if self.family.tied else 1
        log_det = xp.sum(self._of_weighed(log_dets))
        constant = self.dim * math.log(2.0 * math.pi) + 2.0 * self.log_volume
        trace = xp.sum(self._of_weighed(traces))
        return 0.5 * (self.n_weighed * constant + shared * log_det + trace)

    def _of_weighed(self, numbers: Array) -> Array:
        """Set ``numbers`` (K,) to zero in classes that are not in the likelihood."""
        if self.held is None or self.family.tied:  # pooled numbers are only of those that are
            return numbers
        return namespace(numbers).where(self.held.weighed, numbers, 0.0 * numbers)

    def sizes(self, step: Step) -> tuple[Array | None, Array | None]:
        """Measure the moves of each class (n,); None for what is not updated.

        Of means it is the square, in standard deviations; of covariances it is in e-folds.
        """
        of_means = None if step.means is None else squared_norms(step.means)
        if step.covariances is None:
            return of_means, None
        return of_means, self.family.step_sizes(step.covariances)

    def retracted(self, point: Point, step: Step) -> Point:
        """Return the point that a step leads to."""
        means, factor = point
        if step.means is not None:
            means = means + self.family.color(factor, step.means)
        if step.covariances is not None:
            factor = self.family.retract(factor, step.covariances)
        return self.moved(point, Point(means, factor))


class Move(NamedTuple):
    """A step, with what the host knows of it."""

    step: Step
    #: The slope of L along it; 0 where there is no L to descend.
    slope: float
    #: The largest move of a mean, in standard deviations, and of a covariance, in e-folds.
    of_means: float
    of_covariances: float

    @classmethod
    def of(cls, step: Step, slope: float, squared: float, of_covariances: float) -> "Move":
        """Take the largest of ``Problem.sizes`` of a step; both lengths are NaN if one is."""
        known = squared + of_covariances >= 0.0
        lengths = (math.sqrt(squared), of_covariances) if known else (math.nan, math.nan)
        return cls(step, slope, *lengths)

    @property
    def length(self) -> float:
        """The larger of both lengths."""
        return max(self.of_means, self.of_covariances)

    def scaled(self, t: float) -> "Move":
        """Multiply the step by ``t``."""
        return Move(self.step.scaled(t), *(t * number for number in self[1:]))


class Descent(NamedTuple):
    """What makes the update a direction of descent; None for what is not updated."""

    #: -dL/dS with pi frozen. The force on u is not stored: it is the update.
    covariance_force: Array | None
    #: The curvature that preconditions it.
    curvature: Array | None


@dataclass(frozen=True)
class Evaluation:
    """One pass over all pairs at one point."""

    point: Point
    #: L with pi as it is here.
    objective: float
    #: L with pi as at the point before the step (the same where L is one function).
    judged: float
    #: The full, undamped update; its slope is minus the squared natural-gradient norm, roughly.
    update: Move
    #: How far it would still move (with the released equations, how far the last one moved).
    residual: float
    pi: Any
    smallest_kld: float
    #: Only for exact equations.
    descent: Descent | None = None

    @classmethod
    def of(
        cls,
        problem: Problem,
        point: Point,
        step: Step,
        sums: PairSums,
        likelihood: Array,
        *,
        descent: Descent | None = None,
        residual: Any = None,
    ) -> "Evaluation":
        """Bring what was measured to the host, all of it at once.

        The residual is measured from ``step`` unless given.
        """
        sizes = problem.sizes(step)
        along: Any = 0.0
        if descent is not None and sizes[0] is not None:
            along = namespace(sizes[0]).sum(sizes[0])  # the force is the update itself
        if descent is not None and step.covariances is not None:
            along = along + dot(descent.covariance_force, step.covariances)
        scalar = sums.pi is not None and not is_matrix(sums.pi)
        constant, potential, judged, smallest, pi, along, given, *lengths = on_host(
            likelihood,
            sums.potential,
            sums.judged,
            sums.smallest_kld,
            sums.pi if scalar else 0.0,
            along,
            0.0 if residual is None else residual,
            *map(largest, sizes),
        )
        update = Move.of(step, -along, *lengths)
        return cls(
            point=point,
            objective=constant + potential,
            judged=constant + judged,
            update=update,
            residual=update.length if residual is None else given,
            pi=pi if scalar else sums.pi,
            smallest_kld=smallest,
            descent=descent,
        )

    @property
    def force(self) -> Step:
        """-dL/d(u, S) with pi frozen, of exact equations: of means it is the update."""
        assert self.descent is not None
        return Step(self.update.step.means, self.descent.covariance_force)

    @property
    def rounding(self) -> float:
        """The size up to which differences of L are rounding."""
        return 1e-13 * max(1.0, abs(self.objective))

    @property
    def finite(self) -> bool:
        """Whether the objective and the divergences are finite, and the update is numbers."""
        numbers = (self.objective, self.judged, self.smallest_kld)
        return all(map(math.isfinite, numbers)) and not math.isnan(self.residual)

    def check_step(self) -> None:
        """Raise the error that says why there is no update here, if that is so."""

    def without_update(self, reason: Exception) -> "Impasse":
        """Return this evaluation as one without an update, for a ``reason``."""
        return Impasse(**vars(self), reason=reason)


@dataclass(frozen=True, kw_only=True)
class Impasse(Evaluation):
    """A point where the equations give an objective but no update."""

    reason: Exception

    def check_step(self) -> None:
        """Raise the reason."""
        raise self.reason


def largest(sizes: Array | None) -> Any:
    """Return the largest of ``sizes`` (n,), on their device; 0 if there are none."""
    return 0.0 if sizes is None else namespace(sizes).max(sizes)
