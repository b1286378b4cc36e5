"""What the authors' released code computes."""

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, NamedTuple

from fpigauss._array.blocks import joined
from fpigauss._array.linalg import inner_products, squared_norms
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily, Diagonal
from fpigauss.divergence import PairTerms
from fpigauss.equations._base import Equations
from fpigauss.equations._pairs import PairSums, sum_over_pairs
from fpigauss.equations._problem import Evaluation, Point, Problem, Step
from fpigauss.errors import InvalidInputError, NotPositiveDefiniteError
from fpigauss.repulsion import ForwardRepulsion, Repulsion

__all__ = ["ReleasedEquations"]


@dataclass(frozen=True)
class ReleasedEquations(Equations):
    """The equations of the authors' released code, for per-class diagonal covariances.

    They differ from Eqs. 5 to 7 and from the stationary equations; known defects are kept:
    at lam = 0 they converge to (data variance)^(1/3), and A can lose positivity
    (``NotPositiveDefiniteError``). Class variances are the unbiased ones.

    Parameters
    ----------
    isotropic_mean : bool
        Push the means with precisions and variances averaged over dimensions.
    summed_square : bool
        Replace the squared mean difference of a pair by a sum over all classes.

    See Also
    --------
    StationaryEquations : exact ones, the default.
    PrintedEquations : as the paper prints them.

    Examples
    --------
    >>> from fpigauss import ReleasedEquations
    >>> ReleasedEquations(summed_square=False).isotropic_mean
    True
    """

    isotropic_mean: bool = True
    summed_square: bool = True

    name: ClassVar[str] = "released"
    unbiased: ClassVar[bool] = True
    runs_away: ClassVar[bool] = False  # A stops being positive first

    def __post_init__(self) -> None:
        """Check the flags."""
        for name in ("isotropic_mean", "summed_square"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInputError(f"{name} is {getattr(self, name)!r}; pass True or False")

    def check_family(self, family: CovarianceFamily) -> None:
        """Raise for all but per-class diagonal covariances."""
        if family != Diagonal():
            raise InvalidInputError(
                'equations is "released", which has only per-class diagonal covariances; '
                'pass covariance="diagonal" and tied=False, or equations="stationary"'
            )

    def check_repulsion(self, repulsion: Repulsion, pi: Any) -> None:
        """Raise for any pi but that of Eq. 9."""
        if repulsion != ForwardRepulsion():
            raise InvalidInputError(
                f'pi is {pi!r}, but equations="released" has only pi="forward"; '
                'pass that, or equations="stationary"'
            )

    def evaluate(
        self, problem: Problem, point: Point, departure: Evaluation | None = None
    ) -> Evaluation:
        """Evaluate update, objective and the last change at ``point``."""
        terms, sums = self._sums(problem, point)
        rows = problem.class_blocks()
        parts = [self._update(problem, point, terms, sums, block) for block in rows]
        log_dets, sums = terms.log_dets, sums.without_arrays()
        del terms  # with the sums, a dozen arrays of the size of the means, which may be large
        traces, u, s, reasons = zip(*parts, strict=True)
        reason = next((reason for reason in reasons if reason is not None), None)
        evaluation = Evaluation.of(
            problem,
            point,
            Step(joined(u), joined(s) if reason is None else None),
            sums,
            problem.likelihood(point, joined(traces), log_dets),
            residual=math.inf if departure is None else _change(problem, departure.point, point),
        )
        return evaluation if reason is None else evaluation.without_update(reason)

    def _update(
        self,
        problem: Problem,
        point: Point,
        terms: PairTerms,
        sums: PairSums,
        rows: slice,
    ) -> "_Part":
        """Compute the update of the classes ``rows``."""
        assert terms.precisions is not None
        family, factor = problem.family, point.factor.of(rows)
        variances = family.values(factor)
        attraction = problem.means[rows, :] - point.means[rows, :]
        scatter = problem.scatter[rows, :] + family.outer(attraction, attraction)
        traces = inner_products(scatter, terms.precisions[rows, :])
        del scatter
        u = s = reason = None
        if problem.updates_means:
            push = self._isotropic(variances) * self._push(terms, sums, rows)
            u = problem.where_free(family.whiten(factor, attraction + push), 0.0, rows)
            del push
        if problem.updates_covariances:
            gain = (1.0 + sums.outgoing - sums.incoming)[rows, None]
            a = gain * variances + self._square_sums(terms, sums, rows)
            counts = problem.counts[rows, None]
            unbiased = (counts / (counts - 1.0)) * problem.scatter[rows, :]
            b = unbiased + variances * variances * sums.forward[-1][rows, :]
            s, reason = self._log_ratio(problem, variances, a, b, rows)
        return _Part(traces, u, s, reason)

    def _log_ratio(
        self, problem: Problem, variances: Array, a: Array, b: Array, rows: slice
    ) -> tuple[Array | None, NotPositiveDefiniteError | None]:
        """Compute S of the variances sqrt(B / A) of ``rows``; or why there are none."""
        xp = namespace(a)
        faulty = problem.family.first_not_positive(problem.where_free(a, 1.0, rows))
        if faulty is not None:
            label = problem.classes[rows][faulty].item()
            return None, NotPositiveDefiniteError(label, problem.lam, self.name)
        return problem.where_free(xp.log(xp.sqrt(b / a) / variances), 0.0, rows), None

    def _sums(self, problem: Problem, point: Point) -> tuple[PairTerms, PairSums]:
        """Sum over the pairs: products with p and p mu, then 1 / v; with squares, then mu."""
        terms = PairTerms.at(problem.family, *point, problem.memory_limit).measured()
        forward, backward = [], []
        if problem.updates_means:
            pushing = self._isotropic(terms.precisions)
            forward += [pushing, pushing * terms.centered]
        if problem.updates_covariances:
            forward.append(terms.precisions)
            backward.append(self._squares(terms) + problem.family.values(point.factor))
        if problem.updates_means or not self.summed_square:
            backward.append(terms.centered)
        sums = sum_over_pairs(
            terms,
            problem.repulsion,
            problem.alpha,
            scale=problem.c,
            forward=forward,
            backward=backward,
            held=problem.held,
        )
        return terms, sums

    def _isotropic(self, x: Array) -> Array:
        """Average over dimensions (K, 1), where the flag says so."""
        return namespace(x).mean(x, axis=1, keepdims=True) if self.isotropic_mean else x

    def _push(self, terms: PairTerms, sums: PairSums, rows: slice) -> Array:
        """Compute c sum_j (W_ij p_j + W_ji p_i) (mu_i - mu_j) of the classes ``rows``."""
        assert terms.precisions is not None
        outgoing, scaled = (x[rows, :] for x in sums.forward[:2])
        p = self._isotropic(terms.precisions[rows, :])
        total = outgoing + p * sums.incoming[rows, None]
        return total * terms.centered[rows, :] - scaled - p * sums.backward[-1][rows, :]

    def _squares(self, terms: PairTerms) -> Array:
        """Compute what W' multiplies to give the squares: mu_j^2, or sum_l (mu_j - mu_l)^2."""
        xp, mu = namespace(terms.means), terms.centered
        if not self.summed_square:
            return mu * mu
        total = xp.sum(mu, axis=0, keepdims=True)
        squares = mu * mu
        summed = xp.sum(squares, axis=0, keepdims=True)
        return terms.n_classes * squares - 2.0 * total * mu + summed

    def _square_sums(self, terms: PairTerms, sums: PairSums, rows: slice) -> Array:
        """Compute c sum_j W_ji (q_ij + v_j) of the classes ``rows``."""
        squares = sums.backward[0][rows, :]
        if self.summed_square:
            return squares
        mu = terms.centered[rows, :]
        own = sums.incoming[rows, None] * mu - 2.0 * sums.backward[-1][rows, :]
        return own * mu + squares


class _Part(NamedTuple):
    """What an evaluation gives for some classes; None for what is not updated."""

    traces: Array
    u: Array | None
    s: Array | None
    reason: NotPositiveDefiniteError | None


def _change(problem: Problem, before: Point, point: Point) -> Array:
    """Measure the largest L2 change of a class (), which the released code stops by."""
    xp = namespace(point.means)
    changes = [_squared_changes(problem, before, point, rows) for rows in problem.class_blocks()]
    return xp.sqrt(xp.max(joined(changes)))


def _squared_changes(problem: Problem, before: Point, point: Point, rows: slice) -> Array:
    """Measure the squared L2 changes of the classes ``rows`` (n,): the larger one of both."""
    family, squares = problem.family, []
    if problem.updates_means:
        squares.append(squared_norms(point.means[rows, :] - before.means[rows, :]))
    if problem.updates_covariances:
        new, old = (family.values(part.factor.of(rows)) for part in (point, before))
        squares.append(squared_norms(new - old))
    return reduce(namespace(point.means).maximum, squares)
