r"""The curvature of Eq. 4 at a point: its Hessian, times one direction at a time.

A direction is a ``Step`` (u, S): dmu = F u and dSigma = F S F', with the factor F of the point.
Sums over pairs stay matrix products: with the weights W and the change dW = W'(D) dD that the
direction makes in them, the gradient's sums of W X become those of dW X + W dX.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from operator import add
from typing import Any, NamedTuple

from fpigauss._array.blocks import joined
from fpigauss._array.linalg import per_class, transposed, weighted_sum
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.divergence import PairTerms
from fpigauss.equations._changes import (
    Change,
    ClassChange,
    Moments,
    TiedChange,
    assembled,
    laplacian,
)
from fpigauss.equations._pairs import counted_pairs, is_matrix, rows_of_pi
from fpigauss.equations._problem import Point, Problem, Step
from fpigauss.equations._stationary import Forces
from fpigauss.repulsion import Repulsion

__all__ = ["Curvature", "curvature_at", "mean_kld_gradient"]


#: Of a pair, beside the pull of the data, which is 1.
_NO_WEIGHT = 1e-3


class _Block(NamedTuple):
    """Some rows of the pairs: c W and c W'(D), zero where pairs are left out."""

    rows: slice
    weights: Array
    slopes: Array


@dataclass(frozen=True)
class Curvature:
    """The Hessian of Eq. 4 with pi fixed, at a point of a problem in its frame."""

    problem: Problem
    point: Point
    terms: PairTerms
    pi: Any
    forces: Forces
    #: Kept where all pairs are one block; else each product makes them again.
    kept: tuple[_Block, ...]

    # -- weights ---------------------------------------------------------------------------

    def blocks(self) -> Iterator[_Block]:
        """Yield the weights and their slopes in blocks of rows."""
        yield from self.kept or self.made()

    def made(self) -> Iterator[_Block]:
        """Compute the weights and their slopes."""
        problem, repulsion, scale = self.problem, self.problem.repulsion, self.problem.c
        for rows in self.terms.blocks():
            out, d = counted_pairs(self.terms, problem.held, rows)
            pi = rows_of_pi(self.pi, rows)
            zero = namespace(d).zeros_like(d)
            parts = (f(d, pi, problem.alpha) for f in (repulsion.kernel, repulsion.slope))
            yield _Block(rows, *(namespace(d).where(out, zero, scale * part) for part in parts))

    @cached_property
    def steepness(self) -> float:
        """How fast the weight of a pair changes as it moves: the largest |W'/W| sqrt(2 D).

        Relative to the weight, for a move of one standard deviation. Pairs of next to no weight
        are left out.
        """
        steepest = 0.0
        for block in self.blocks():
            _, d = counted_pairs(self.terms, self.problem.held, block.rows)
            xp, w = namespace(d), block.weights
            counted = w > _NO_WEIGHT
            weights = xp.where(counted, w, xp.ones_like(w))
            rates = xp.abs(block.slopes) * xp.sqrt(2.0 * d) / weights
            steepest = max(steepest, float(xp.max(xp.where(counted, rates, 0.0 * rates))))
        return steepest

    # -- products --------------------------------------------------------------------------

    def times(self, step: Step) -> Step:
        """Multiply the Hessian by a step: the change of dL/d(u, S), also of what is held."""
        assert step.means is not None and step.covariances is not None
        u, s = step.means, step.covariances
        return self._tied(u, s) if self.problem.family.tied else self._per_class(u, s)

    def along(self, step: Step) -> tuple[float, float]:
        """Compute sums over pairs of W dD / (K (K - 1)), and of c dW/dpi dD where pi is a number.

        These are how the slope of L along a step changes with lam, and with pi, but for the sign.
        """
        problem, xp = self.problem, namespace(self.point.means)
        repulsion, number = problem.repulsion.pushing, isinstance(self._number, float)
        share = 1.0 / (problem.n_classes * (problem.n_classes - 1))
        change = self.change_of(step)
        of_lam = of_pi = 0.0
        for rows in self.terms.blocks():
            out, d = counted_pairs(self.terms, problem.held, rows)
            pi = rows_of_pi(self.pi, rows)
            moved = xp.where(out, xp.zeros_like(d), change(rows))
            of_lam += share * float(xp.sum(repulsion.kernel(d, pi, problem.alpha) * moved))
            if number:
                slope = problem.repulsion.slope_in_pi(d, pi, problem.alpha)
                of_pi += problem.c * float(xp.sum(slope * moved))
        return of_lam, of_pi

    @property
    def _number(self) -> float | None:
        """Pi, where it is one number for all pairs."""
        return None if self.pi is None or is_matrix(self.pi) else float(self.pi)

    def change_of(self, step: Step) -> Change:
        """Return the change of D along a step, to be computed a block at a time."""
        assert step.means is not None and step.covariances is not None
        family = self.problem.family
        if family.tied:
            return TiedChange.of(family, self.terms, step.means, step.covariances)
        return ClassChange.of(family, self.terms, self._moments, step.means, step.covariances)

    @cached_property
    def _moments(self) -> Moments:
        return Moments.at(self.problem.family, self.terms)

    @cached_property
    def _away(self) -> Array:
        """m_y - mu_y (K, d)."""
        return self.problem.means - self.point.means

    @cached_property
    def _balance(self) -> Array:
        """Projections of what stretches Sigma_y, less what holds it together, whitened.

        These are the scatter about the mean, and the sum of W_y'y (Delta Delta' + Sigma_y').
        """
        problem, factor, family = self.problem, self.point.factor, self.problem.family
        scatter = family.whiten_projections(factor, problem.scatter_about(self.point.means))
        between = self.forces.of(slice(None)).between
        assert between is not None  # the forces are those of an update of both
        return scatter - between

    def _tied(self, u: Array, s: Array) -> Step:
        family, problem = self.problem.family, self.problem
        x, dim = self.terms.centered, problem.dim
        change = self.change_of(Step(u, s))
        moved_x, moved_u = [], []  # sum_y' dB (x_y - x_y') and sum_y' B (u_y - u_y'), B = W + W'
        for block in self.blocks():
            dw = block.slopes * change(block.rows)
            moved_x.append(laplacian(dw, x, block.rows))
            moved_u.append(laplacian(block.weights, u, block.rows))
        dx, bu = (assembled(parts, x) for parts in (moved_x, moved_u))
        bx = self.forces.sums.apart[0]
        away = family.whiten(self.point.factor, self._away)
        of_u = u - bu - dx + family.apply(s, away + bx)
        own = problem.n_weighed * family.values_projections(s, dim)
        balance = family.anticommutator(s, self._balance, dim)
        push = family.outer(dx, x) + 2.0 * family.outer(bx, u)
        of_s = balance - own + 2.0 * family.outer(self._pulled(away), u) + push
        return Step(of_u, 0.5 * of_s)

    def _pulled(self, away: Array) -> Array:
        """Set the rows of classes that are not in the likelihood to zero."""
        held = self.problem.held
        if held is None:
            return away
        return namespace(away).where(held.weighed[:, None], away, 0.0 * away)

    def _per_class(self, u: Array, s: Array) -> Step:
        problem, terms, factor = self.problem, self.terms, self.point.factor
        family, dim, sums = problem.family, problem.dim, self.forces.sums
        x, (precisions, q, m) = terms.centered, self._moments
        change = ClassChange.of(family, terms, self._moments, u, s)
        dmu, dp, dq, dm = change.dmu, change.dp, change.dq, change.dm
        ahead: list[tuple[Array, ...]] = []
        behind: tuple[Array, ...] | None = None
        for block in self.blocks():
            rows, w = block.rows, block.weights
            dw = block.slopes * change(rows)
            xp = namespace(dw)
            ahead.append(
                (
                    xp.sum(dw, axis=1),
                    weighted_sum(dw, precisions) + weighted_sum(w, dp),
                    dw @ q + w @ dq,
                )
            )
            dw, w = transposed(dw), transposed(w)
            own = (
                xp.sum(dw, axis=1),
                dw @ x[rows, :] + w @ dmu[rows, :],
                weighted_sum(dw, m[rows, ...]) + weighted_sum(w, dm[rows, ...]),
            )
            behind = own if behind is None else tuple(map(add, behind, own))
        assert behind is not None
        d_out, d_wp, d_wq = (joined(parts) for parts in zip(*ahead, strict=True))
        d_in, d_wx, d_wm = behind
        incoming, away = sums.incoming[:, None], self._away
        wp, back = sums.forward[0], incoming * x - sums.backward[0]  # sum_y' W_y'y (mu_y - mu_y')
        of_u = family.whiten(factor, dmu - (d_in[:, None] * x + incoming * dmu - d_wx))
        of_u = of_u + family.apply(s, family.whiten(factor, away + back))
        along = family.apply(d_wp, x) + family.apply(wp, dmu) - d_wq
        of_u = of_u - family.color_adjoint(factor, along)

        spread = d_wm + 2.0 * (
            family.outer(0.5 * d_in[:, None] * x - d_wx, x) + family.outer(away + back, dmu)
        )
        balance = family.anticommutator(s, self._balance, dim)
        spread = family.whiten_projections(factor, spread)
        own = family.values_projections(s, dim)
        own = per_class(1.0 + sums.outgoing - sums.incoming, own) * own
        of_s = balance - own + spread - family.color_precisions(factor, d_wp, dim)
        of_s = family.plus_identity(of_s, d_out - d_in, x)
        return Step(of_u, 0.5 * of_s)


def curvature_at(problem: Problem, point: Point) -> Curvature:
    """Prepare products with the Hessian of a problem at a point."""
    # all sums are needed: what is held changes what is fitted
    whole = replace(problem, updates_means=True, updates_covariances=True)
    forces = Forces.at(whole, point, None)
    terms = PairTerms.at(problem.family, *point, problem.memory_limit).measured()
    curvature = Curvature(problem, point, terms, forces.sums.pi, forces, ())
    if len(list(terms.blocks())) > 1:
        return curvature
    return replace(curvature, kept=tuple(curvature.made()))


class _Constant(Repulsion):
    """W = 1 for every pair: the force of minus the sum of all D."""

    def measure(self, blocks: Any, n_classes: int) -> None:
        return None

    def measured(self, blocks: Any, n_classes: int, like: Array) -> None:
        return None

    def kernel(self, divergences: Array, pi: Any, alpha: float) -> Array:
        return namespace(divergences).ones_like(divergences)

    def potential(self, divergences: Array, pi: Any, alpha: float) -> Array:
        return -divergences


def mean_kld_gradient(problem: Problem, point: Point) -> Step:
    """Compute the gradient of the mean of D over ordered pairs, in u and S."""
    alone = replace(
        problem,
        lam=1.0,
        repulsion=_Constant(),
        updates_means=True,
        updates_covariances=True,
        held=None,
    )
    family, force = problem.family, Forces.at(alone, point, None).of(slice(None))
    assert force.between is not None
    if force.along_precisions is None:
        return Step(force.along_means, -0.5 * force.between)
    u = family.whiten(point.factor, force.along_means)
    u = u + family.color_adjoint(point.factor, force.along_precisions)
    assert force.pull is not None
    s = family.plus_identity(
        force.pull - force.between, force.incoming - force.outgoing, problem.means
    )
    return Step(u, 0.5 * s)
