"""What the authors' released code computes."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss._array.linalg import inner_products, squared_norms
from fpigauss._array.namespaces import namespace, on_host
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
        family = problem.family
        variances = family.values(point.factor)
        terms, sums = self._sums(problem, point, variances)
        u = s = reason = None
        if problem.updates_means:
            push = self._isotropic(variances) * self._push(terms, sums)
            u = family.whiten(point.factor, problem.means - point.means + push)
            u = problem.where_free(u, 0.0)
            del push
        log_dets, precisions = terms.log_dets, sums.forward[-1]
        squares = self._square_sums(terms, sums) if problem.updates_covariances else None
        # arrays of the size of the means, which may be large, are let go as soon as can be
        del terms
        sums = sums.without_arrays()
        if squares is not None:
            a = (1.0 + sums.outgoing - sums.incoming)[:, None] * variances + squares
            del squares
            factor = (problem.counts / (problem.counts - 1.0))[:, None]
            b = factor * problem.scatter + variances * variances * precisions
            s, reason = self._update(problem, variances, a, b)
            del a, b
        del precisions
        change = math.inf
        if departure is not None:
            change = _change(problem, departure.point, point.means, variances)
        evaluation = Evaluation.of(
            problem,
            point,
            Step(u, s),
            sums,
            self._likelihood(problem, point, log_dets),
            residual=change,
        )
        return evaluation if reason is None else evaluation.without_update(reason)

    def _likelihood(self, problem: Problem, point: Point, log_dets: Array | None) -> Array:
        scatter = problem.scatter_about(point.means)
        traces = inner_products(scatter, problem.family.precisions(point.factor))
        return problem.likelihood(point, traces, log_dets)

    def _update(
        self, problem: Problem, variances: Array, a: Array, b: Array
    ) -> tuple[Array | None, NotPositiveDefiniteError | None]:
        """Compute S of the variances sqrt(B / A); or why there are none."""
        xp = namespace(a)
        faulty = problem.family.first_not_positive(problem.where_free(a, 1.0))
        if faulty is not None:
            label = problem.classes[faulty].item()
            return None, NotPositiveDefiniteError(label, problem.lam, self.name)
        return problem.where_free(xp.log(xp.sqrt(b / a) / variances), 0.0), None

    def _sums(self, problem: Problem, point: Point, variances: Array) -> tuple[PairTerms, PairSums]:
        """Sum over the pairs: products with p and p mu, then 1 / v; with squares, then mu."""
        terms = PairTerms.at(problem.family, *point, problem.memory_limit).measured()
        forward, backward = [], []
        if problem.updates_means:
            pushing = self._isotropic(terms.precisions)
            forward += [pushing, pushing * terms.centered]
        if problem.updates_covariances:
            forward.append(terms.precisions)
            backward.append(self._squares(terms) + variances)
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

    def _push(self, terms: PairTerms, sums: PairSums) -> Array:
        """Compute c sum_j (W_ij p_j + W_ji p_i) (mu_i - mu_j)."""
        outgoing, scaled = sums.forward[:2]
        p = self._isotropic(terms.precisions)
        total = outgoing + p * sums.incoming[:, None]
        return total * terms.centered - scaled - p * sums.backward[-1]

    def _squares(self, terms: PairTerms) -> Array:
        """Compute what W' multiplies to give the squares: mu_j^2, or sum_l (mu_j - mu_l)^2."""
        xp, mu = namespace(terms.means), terms.centered
        if not self.summed_square:
            return mu * mu
        total = xp.sum(mu, axis=0, keepdims=True)
        squares = mu * mu
        summed = xp.sum(squares, axis=0, keepdims=True)
        return terms.n_classes * squares - 2.0 * total * mu + summed

    def _square_sums(self, terms: PairTerms, sums: PairSums) -> Array:
        """Compute c sum_j W_ji (q_ij + v_j)."""
        if self.summed_square:
            return sums.backward[0]
        mu = terms.centered
        own = sums.incoming[:, None] * mu - 2.0 * sums.backward[-1]
        return own * mu + sums.backward[0]


def _change(problem: Problem, before: Point, means: Array, variances: Array) -> float:
    """Measure the largest L2 change of a class, which the released code stops by."""
    changes = []
    if problem.updates_means:
        changes.append(means - before.means)
    if problem.updates_covariances:
        changes.append(variances - problem.family.values(before.factor))
    largest = on_host(*(namespace(x).max(squared_norms(x)) for x in changes))
    return math.sqrt(max(largest))
