r"""The gradient of a fit by the implicit function theorem.

At a fixed point x, dL/dx (x, data) = 0, so that dx = -H^-1 d(dL/dx), H being the Hessian. A
function of x with the gradient b therefore has the gradient -(d(dL/dx)/d data)' v in the data,
where H v = b: one symmetric system, solved by products, whatever the number of iterations of the
fit. What x changes by is a step in the moving frame, (u, S).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from fpigauss._array.checks import check_finite
from fpigauss._array.flags import unflagged
from fpigauss._array.linalg import symmetrized
from fpigauss._array.namespaces import as_floating, cast_like, detached, device_of, namespace
from fpigauss._array.typing import Array
from fpigauss._warnings import warn_user
from fpigauss.covariance import Factor
from fpigauss.equations import (
    Curvature,
    Descent,
    Evaluation,
    Move,
    Point,
    Problem,
    Step,
    curvature_at,
    mean_kld_gradient,
)
from fpigauss.errors import InvalidInputError, NotDifferentiableError, SaddlePointWarning
from fpigauss.fit._data_gradient import DataGradient, Latent
from fpigauss.fit._gradient import FixedPointGradient
from fpigauss.fit._start import Setup
from fpigauss.result import FixedPointResult, Status
from fpigauss.solvers import Outcome, Solved, solve_symmetric
from fpigauss.statistics import ClassStatistics

__all__ = ["Adjoint", "check_differentiable"]

#: The residual to solve to, as a part of the fit's tolerance, and its bounds.
_PART, _FINEST, _COARSEST = 1e-2, 1e-13, 1e-8
#: Products before the system counts as nearly singular.
_MAX_PRODUCTS = 2000
#: A system solved no better than this has no gradient to trust.
_UNSOLVED = 1e-6
#: A curvature so much smaller than the largest is zero up to rounding.
_SINGULAR = 1e-11
#: How far from the fixed point a fit may be, in standard deviations and e-folds, and by what part
#: the weight of a pair may differ there.
_FAR = 0.1
#: What to do about a fit that did not converge, where more evaluations would not help.
_REMEDIES = {
    Status.UNBOUNDED: "pass a smaller lam, or tied=True",
    Status.DIVERGED: 'pass a smaller lam, or solver="auto"',
    Status.STOPPED: "let the callback go on",
}
_REMEDY = "raise max_iter or tol, or pass a smaller lam"


@dataclass(frozen=True)
class Adjoint:
    """What a result keeps of its fit, to be differentiated."""

    #: Of the first start, whose initial Gaussians give pi.
    setup: Setup
    evaluation: Evaluation
    status: Status
    #: The statistics as they were given.
    statistics: ClassStatistics

    @classmethod
    def of(cls, setup: Setup, outcome: Outcome, statistics: ClassStatistics) -> Self:
        """Keep what gradients need, and no other arrays: results may be many, or large."""
        end, repulsion = outcome.evaluation, setup.options.strategies.repulsion
        curvature = None if end.descent is None else end.descent.curvature
        # pi may be measured at the start
        point = setup.start.point if repulsion.is_mean_kld else end.point
        begun = _without_arrays(setup.start, point, None)
        ended = _without_arrays(end, end.point, curvature)
        return cls(replace(setup, start=begun), ended, outcome.status, statistics)

    @unflagged
    def vjp(self, means: Any, covariances: Any) -> FixedPointGradient:
        """Pull cotangents of the Gaussians back to what they were fitted to."""
        self.check_differentiable()
        given = self._latent.into(*self._checked(means, covariances))
        solution, solved = self._solved(self._fitted(given))
        of_lam, of_pi = self.curvature.along(solution)
        back = self.curvature.times(solution)
        if self._pi_moves:
            back = _sum(back, self._gradient_of_pi, -of_pi)
        pulled = DataGradient.of_equations(self.setup, self._latent, solution)
        # what is held acts by itself, and on what is fitted
        held = self._held(_sum(given, back, -1.0))
        pulled = pulled.with_initial(*self._latent.out_of(held))
        if self._pi_is_of_start:
            start = self._with_factors(self.setup.start.point)
            moved = mean_kld_gradient(self.problem, start).scaled(of_pi)
            pulled = pulled.with_initial(*self._at(start).out_of(moved))
        gradient = pulled.finished(self.statistics, of_lam, solved)
        self._check_finite(gradient)
        return gradient

    def check_differentiable(self) -> None:
        """Raise if there is no fixed point to differentiate."""
        equations = self.setup.options.strategies.equations
        if not equations.exact:
            raise InvalidInputError(
                f"the fit has the {equations.name} equations, whose fixed points are not "
                'stationary points of an objective; fit with equations="stationary" for gradients'
            )
        if self.status is not Status.CONVERGED:
            raise NotDifferentiableError(
                f'the fit ended with status "{self.status}", residual '
                f"{self.evaluation.residual:.1e}, so it is not at a fixed point and has no "
                f"gradient; {_REMEDIES.get(self.status, _REMEDY)}"
            )

    # -- the problem -----------------------------------------------------------------------

    @cached_property
    def problem(self) -> Problem:
        """The problem, in the family of the result.

        A fit that holds equal covariances computes with a shared one, but what each of them does
        differs.
        """
        problem, family = self.setup.problem, self.setup.family
        if problem.family == family or self.setup.options.init == "identity":
            return problem
        xp = namespace(problem.means)
        # of the scatter, nothing depends on it while covariances are held
        scatter = xp.broadcast_to(
            0.0 * problem.scatter, (problem.n_classes, *problem.scatter.shape[1:])
        )
        return replace(problem, family=family, scatter=scatter)

    @cached_property
    def point(self) -> Point:
        """The fixed point."""
        return self._with_factors(self.evaluation.point)

    def _with_factors(self, point: Point) -> Point:
        """Return a point with one factor per class where the problem has."""
        if self.problem is self.setup.problem:
            return point
        xp, n_classes = namespace(point.means), self.problem.n_classes
        return Point(
            point.means,
            Factor(*(xp.broadcast_to(x, (n_classes, *x.shape[1:])) for x in point.factor)),
        )

    @cached_property
    def curvature(self) -> Curvature:
        """The Hessian at the fixed point."""
        return curvature_at(self.problem, self.point)

    def _at(self, point: Point) -> Latent:
        return Latent.at(self.problem, self.setup.frame, point)

    @cached_property
    def _latent(self) -> Latent:
        return self._at(self.point)

    @property
    def _pi_moves(self) -> bool:
        """Whether pi is the mean of D at the fixed point itself."""
        return self.problem.repulsion.is_mean_kld

    @property
    def _pi_is_of_start(self) -> bool:
        """Whether pi is the mean of D at the initial Gaussians."""
        return self.setup.options.strategies.repulsion.is_mean_kld and not self._pi_moves

    @cached_property
    def _gradient_of_pi(self) -> Step:
        return mean_kld_gradient(self.problem, self.point)

    # -- the system ------------------------------------------------------------------------

    def _solved(self, target: Step) -> tuple[Step, Solved]:
        """Solve H v = target, with the pi of "mean" moving along, and check what was found."""
        solved = self._solved_at_fixed_pi(target)
        if not self._pi_moves or solved.n_products == 0:
            return self._whole(target, solved.x), solved
        # the force moves with pi too, a rank-one part that is not symmetric: Sherman-Morrison
        moving = self._solved_at_fixed_pi(self._fitted(self._gradient_of_pi))
        solution, answer = (self._whole(target, part.x) for part in (solved, moving))
        (_, of_pi), (_, of_answer) = map(self.curvature.along, (solution, answer))
        if abs(1.0 - of_answer) < _UNSOLVED:
            raise NotDifferentiableError(self._singular("pi has no gradient"))
        n_products = solved.n_products + moving.n_products
        return _sum(solution, answer, of_pi / (1.0 - of_answer)), replace(
            solved, n_products=n_products, residual=max(solved.residual, moving.residual)
        )

    def _solved_at_fixed_pi(self, target: Step) -> Solved:
        shape = self._updated(target)
        family, descent = self.problem.family, self.evaluation.descent
        assert descent is not None
        inverse = None if descent.curvature is None else family.preconditioner(descent.curvature)

        def product(flat: Array) -> Array:
            step = self._filled(shape.shaped(flat), target)
            return self._updated(self._fitted(self.curvature.times(step))).flat()

        def precondition(flat: Array) -> Array:
            u, s = shape.shaped(flat)
            return Step(u, None if s is None or inverse is None else inverse(s)).flat()

        tol = self.setup.options.tol
        solved = solve_symmetric(
            product,
            shape.flat(),
            precondition,
            rtol=min(max(_PART * tol, _FINEST), _COARSEST),
            max_products=_MAX_PRODUCTS,
        )
        self._check(solved)
        return solved

    def _check(self, solved: Solved) -> None:
        """Raise where the system is nearly singular, and warn where it is indefinite."""
        if solved.n_products == 0:
            return
        near, most = solved.nearest_zero, max(abs(solved.lowest), abs(solved.highest))
        if not solved.residual <= _UNSOLVED or near <= _SINGULAR * most:
            raise NotDifferentiableError(self._singular(f"it was solved to {solved.residual:.1e}"))
        distance = self.evaluation.residual / near
        if distance > _FAR:
            raise NotDifferentiableError(
                f"the objective is so flat that the fixed point may be {distance:.1e} standard "
                f"deviations away (residual {self.evaluation.residual:.1e}, smallest curvature "
                f"{solved.lowest:.1e}), and its gradient is not known; fit with a smaller tol"
            )
        change = distance * self.curvature.steepness if distance > 0.0 else 0.0
        if change > _FAR:
            raise NotDifferentiableError(
                f"some classes are so close that their repulsion is known to {change:.0%} only "
                f"(residual {self.evaluation.residual:.1e}, smallest curvature "
                f"{solved.lowest:.1e}), and so is the gradient; fit with a smaller tol"
            )
        # where pi moves, the symmetric part of the system is not the curvature of an objective
        if solved.lowest < 0.0 and self.problem.repulsion.has_potential:
            warn_user(
                f"the objective at lam={self.problem.lam:g} curves downward in some direction, so "
                f"the fit is at a saddle point (residual {self.evaluation.residual:.1e}, smallest "
                f"curvature found {solved.lowest:.1e}); the gradient is valid there, but for that "
                "of a minimum, pass n_init=8 or another init",
                SaddlePointWarning,
            )

    def _check_finite(self, gradient: FixedPointGradient) -> None:
        """Raise if the gradient overflows."""
        xp = namespace(gradient.means)
        arrays = (gradient.means, gradient.covariances)
        finite = all(bool(xp.all(xp.isfinite(x))) for x in arrays)
        if not finite:
            raise NotDifferentiableError(self._singular("the gradient is not finite"))

    def _singular(self, how: str) -> str:
        return (
            f"the linear system of the gradient is singular, or nearly so, at "
            f"lam={self.problem.lam:g} ({how}): some classes coincide, or lam is at the end of a "
            "branch of solutions; pass a smaller lam, or tied=True"
        )

    # -- steps -----------------------------------------------------------------------------

    def _fitted(self, step: Step) -> Step:
        """Set to zero what is not fitted."""
        problem, (u, s) = self.problem, step
        assert u is not None and s is not None
        return Step(
            problem.where_free(u, 0.0) if problem.updates_means else 0.0 * u,
            problem.where_free(s, 0.0) if problem.updates_covariances else 0.0 * s,
        )

    def _held(self, step: Step) -> Step:
        """Set to zero what is fitted."""
        return _sum(step, self._fitted(step), -1.0)

    def _updated(self, step: Step) -> Step:
        """Leave out what is not updated at all."""
        problem = self.problem
        return Step(
            step.means if problem.updates_means else None,
            step.covariances if problem.updates_covariances else None,
        )

    def _filled(self, step: Step, like: Step) -> Step:
        """Put zeros for what is not updated."""
        (u, s), (like_u, like_s) = step, like
        assert like_u is not None and like_s is not None
        return Step(0.0 * like_u if u is None else u, 0.0 * like_s if s is None else s)

    def _whole(self, like: Step, flat: Array) -> Step:
        return self._filled(self._updated(like).shaped(flat), like)

    # -- the border ------------------------------------------------------------------------

    def _checked(self, means: Any, covariances: Any) -> tuple[Array, Array]:
        """Check cotangents, and take them as projections."""
        setup, family = self.setup, self.problem.family
        like = setup.means
        xp = namespace(like)
        shape = setup.family.public_shape(*like.shape)
        arrays = []
        for name, given, needed in [
            ("means", means, tuple(like.shape)),
            ("covariances", covariances, shape),
        ]:
            if given is None:
                arrays.append(xp.zeros(needed, dtype=like.dtype, device=device_of(like)))
                continue
            array = cast_like(detached(as_floating(given, name)), like)
            if tuple(array.shape) != needed:
                raise InvalidInputError(
                    f"{name} has shape {tuple(array.shape)}, {needed} is needed; "
                    "pass a cotangent of the shape of the fitted ones"
                )
            check_finite(array, name)
            arrays.append(array)
        values = setup.family.unpack(arrays[1])
        if values.ndim == 3:
            values = setup.family.projections(symmetrized(values))  # a pattern may have zeros
        if family != setup.family:  # equal covariances, held
            values = family.pooled(values)
        return arrays[0], values


def _sum(step: Step, other: Step, weight: float) -> Step:
    """Compute step + weight other, of steps that have both parts."""
    (u, s), (other_u, other_s) = step, other
    assert u is not None and s is not None and other_u is not None and other_s is not None
    return Step(u + weight * other_u, s + weight * other_s)


def _without_arrays(evaluation: Evaluation, point: Point, curvature: Array | None) -> Evaluation:
    """Return an evaluation without its step and forces."""
    step = Move(Step(None, None), *evaluation.update[1:])
    return replace(evaluation, point=point, update=step, descent=Descent(None, curvature))


def check_differentiable(result: FixedPointResult) -> None:
    """Raise unless a result has a fixed point that can be differentiated."""
    if result._adjoint is not None:
        result._adjoint.check_differentiable()
