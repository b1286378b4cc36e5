"""From gradients in the equations and in the initial Gaussians to gradients in the statistics."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from fpigauss._array.linalg import eye_like, per_class
from fpigauss._array.namespaces import cast_like, device_of, namespace
from fpigauss._array.typing import Array, Labels, Mask
from fpigauss.covariance import CovarianceFamily, Factor, shrunk_vjp
from fpigauss.equations import Point, Problem, Step
from fpigauss.fit._frame import Frame
from fpigauss.fit._gradient import FixedPointGradient
from fpigauss.fit._start import Setup
from fpigauss.gaussians import ClassGaussians
from fpigauss.solvers import Solved
from fpigauss.statistics import ClassStatistics

__all__ = ["DataGradient", "Latent"]


@dataclass(frozen=True)
class Latent:
    """Gradients at a point, between its steps and the latent space.

    A gradient in covariances has the form of projections: its inner product with values.
    """

    problem: Problem
    point: Point
    factor: Factor  # of the covariances in the latent space

    @classmethod
    def at(cls, problem: Problem, frame: Frame, point: Point) -> Self:
        """Go by the frame of the fit."""
        return cls(problem, point, problem.family.composed(frame.factor, point.factor))

    @property
    def inverse(self) -> Factor:
        """F^-1 as a factor."""
        return Factor(self.factor.inverse, self.factor.root)

    def into(self, of_means: Array, of_values: Array) -> Step:
        """Take gradients in means and covariances to gradients in u and S."""
        family = self.problem.family
        return Step(
            family.color_adjoint(self.factor, of_means),
            family.color_projections(self.factor, of_values),
        )

    def out_of(self, step: Step) -> tuple[Array, Array]:
        """Take gradients in u and S to gradients in means and covariances."""
        assert step.means is not None and step.covariances is not None
        family = self.problem.family
        return (
            family.color_adjoint(self.inverse, step.means),
            family.color_projections(self.inverse, step.covariances),
        )


@dataclass(frozen=True)
class DataGradient:
    """Gradients that are added up, over all classes of a fit."""

    setup: Setup
    means: Array  # in m_y (K, d)
    #: In the shrunk class covariances, as values (K, ...) of the family.
    own: Array
    #: In the means (K, d), and as values (K or 1, ...) the covariances, of a given ``init``.
    init_means: Array
    init_values: Array

    @classmethod
    def of_equations(cls, setup: Setup, latent: Latent, solution: Step) -> Self:
        """Pull the solution of the linear system back through the pull of the data."""
        u, s = solution
        assert u is not None and s is not None
        problem, point, family = latent.problem, latent.point, latent.problem.family
        away = family.whiten(point.factor, problem.means - point.means)
        means = family.color_adjoint(latent.inverse, u + family.apply(s, away))
        precise = family.adjoint_root(latent.inverse)
        own = 0.5 * family.congruent(precise, s, problem.dim)
        xp = namespace(own)
        own = xp.broadcast_to(own, (problem.n_classes, *own.shape[1:]))
        if problem.held is not None:  # not all are in the likelihood
            weighed = problem.held.weighed
            means, own = (xp.where(per_class(weighed, x), x, 0.0 * x) for x in (means, own))
        zero = xp.zeros_like(setup.values)
        return cls(setup, means, own, xp.zeros_like(means), zero)

    def with_initial(self, of_means: Array, of_values: Array) -> Self:
        """Add gradients in the initial Gaussians, which come from the data or were given."""
        setup, init = self.setup, self.setup.options.init
        if isinstance(init, ClassGaussians):
            given = np.isin(setup.statistics.classes, init.classes)
            mine, rest = _kept(of_means, given), _kept(of_means, ~given)
            values, of_data = of_values, 0.0 * of_values
            if not setup.family.tied:
                values, of_data = _kept(of_values, given), _kept(of_values, ~given)
            return replace(
                self._with_data(rest, of_data),
                init_means=self.init_means + mine,
                init_values=self.init_values + values,
            )
        if init == "identity":
            return replace(self, means=self.means + of_means)
        return self._with_data(of_means, of_values)

    def _with_data(self, of_means: Array, of_values: Array) -> Self:
        """Add gradients in means and covariances that are those of the data."""
        family, n_classes = self.setup.family, self.setup.problem.n_classes
        own = family.average(of_values, self.setup.problem.dim)
        if family.tied:
            own = own / n_classes
        return replace(self, means=self.means + of_means, own=self.own + own)

    def finished(self, given: ClassStatistics, of_lam: float, solved: Solved) -> FixedPointGradient:
        """Return the gradient in the statistics that were given."""
        setup, family = self.setup, self.setup.family
        statistics, init = setup.statistics, setup.options.init
        own = _as_covariances(family, self.own, statistics.covariances)
        covariances, counts = shrunk_vjp(
            statistics.covariances, statistics.counts, setup.options.shrinkage, own
        )
        known = statistics.classes
        of_means = of_values = None
        if isinstance(init, ClassGaussians):
            of_means = cast_like(_of_classes(self.init_means, known, init.classes), given.means)
            # what all classes share has no row per class
            values = self.init_values
            values = values if family.tied else _of_classes(values, known, init.classes)
            of_values = cast_like(family.pack(values), given.means)
        counts, means, covariances = (
            cast_like(_of_classes(x, known, given.classes), given.means)
            for x in (counts, self.means, covariances)
        )
        return FixedPointGradient(
            counts=counts,
            means=means,
            covariances=covariances,
            lam=of_lam,
            init_means=of_means,
            init_covariances=of_values,
            residual=solved.residual,
            n_products=solved.n_products,
            smallest_curvature=solved.lowest,
            statistics=given,
        )


def _kept(x: Array, mask: Mask) -> Array:
    """Set the classes that are not marked to zero."""
    marks = namespace(x).asarray(mask, device=device_of(x))
    return namespace(x).where(per_class(marks, x), x, 0.0 * x)


def _of_classes(x: Array, known: Labels, classes: Labels) -> Array:
    """Take the rows of some of the ``known`` classes."""
    if np.array_equal(known, classes):
        return x
    xp = namespace(x)
    return xp.take(x, xp.asarray(np.searchsorted(known, classes), device=device_of(x)), axis=0)


def _as_covariances(family: CovarianceFamily, values: Array, like: Array) -> Array:
    """Write values (K, ...) as class variances (K, d) or matrices (K, d, d), as ``like`` is."""
    xp, (n_classes, dim) = namespace(values), like.shape[:2]
    if like.ndim == 2:
        return family.apply(values, xp.ones_like(like))
    if values.ndim == 3:
        return values
    identity = eye_like(dim, values)
    columns = [xp.broadcast_to(identity[k, :], (n_classes, dim)) for k in range(dim)]
    return xp.stack([family.apply(values, column) for column in columns], axis=-1)
