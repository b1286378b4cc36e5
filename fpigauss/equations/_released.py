"""What the authors' released code computes."""

from dataclasses import dataclass

from fpigauss._arrays import namespace
from fpigauss._errors import InvalidInputError, NotPositiveDefiniteError
from fpigauss._typing import Array
from fpigauss.divergence import PairTerms
from fpigauss.equations._pairs import PairSums, sum_over_pairs
from fpigauss.equations._problem import Evaluation, Point, Problem, Step

__all__ = ["ReleasedEquations"]


@dataclass(frozen=True)
class ReleasedEquations:
    """The reading of the authors' released code, for per-class diagonal covariances.

    It differs from Eqs. 5 to 7 and from the stationary equations; known defects are kept:
    at lam = 0 it converges to (data variance)^(1/3), and A can lose positivity
    (``NotPositiveDefiniteError``). Class variances are the unbiased ones.

    Parameters
    ----------
    isotropic_mean : bool
        The means are pushed with precisions and variances averaged over dimensions.
    summed_square : bool
        The squared mean difference of a pair is replaced by a sum over all classes.

    Examples
    --------
    >>> from fpigauss import ReleasedEquations
    >>> ReleasedEquations(summed_square=False).isotropic_mean
    True
    """

    isotropic_mean: bool = True
    summed_square: bool = True

    def __post_init__(self) -> None:
        """Check the flags."""
        for name in ("isotropic_mean", "summed_square"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInputError(f"{name} is {getattr(self, name)!r}; pass True or False")

    @property
    def name(self) -> str:
        """The name in messages."""
        return "released"

    def evaluate(
        self, problem: Problem, point: Point, departure: Evaluation | None = None
    ) -> Evaluation:
        """Update, objective and the last change at ``point``."""
        family, c = problem.family, problem.c
        terms = PairTerms.at(family, *point, problem.memory_limit)
        precisions, variances = terms.precisions, family.values(point.factor)
        pushing = self._isotropic(precisions)
        forward, backward = [], []
        if problem.updates_means:
            forward += [pushing, pushing * terms.means]
        if problem.updates_covariances:
            forward.append(precisions)
            backward.append(self._squares(terms) + variances)
        if problem.updates_means or not self.summed_square:
            backward.append(terms.means)
        sums = sum_over_pairs(
            terms,
            problem.repulsion,
            forward=forward,
            backward=backward,
        )
        xp = namespace(point.means)
        u = s = None
        failure: Exception | None = None
        changes = []
        if problem.updates_means:
            push = self._push(terms, sums, pushing)
            means = problem.means + c * self._isotropic(variances) * push
            u = family.whiten(point.factor, means - point.means)
            changes.append(_largest_norm(means - point.means))
        if problem.updates_covariances:
            a = (1.0 + c * (sums.outgoing - sums.incoming))[:, None] * variances
            a = a + c * self._square_sums(terms, sums)
            unbiased = problem.scatter * (problem.counts / (problem.counts - 1.0))[:, None]
            b = unbiased + c * variances * variances * sums.forward[-1]
            faulty = family.first_not_positive(a)
            if faulty is None:
                updated = xp.sqrt(b / a)
                s = xp.log(updated / variances)
                changes.append(_largest_norm(updated - variances))
            else:
                label = problem.classes[faulty].item()
                failure = NotPositiveDefiniteError(label, problem.lam, self.name)
        white_scatter = family.whiten_moments(point.factor, problem.scatter_about(point.means))
        constant = problem.likelihood(point, white_scatter, terms.log_dets)
        return Evaluation(
            point=point,
            objective=constant + c * sums.potential,
            judged=constant + c * sums.judged,
            step=Step(u, s),
            residual=float("inf") if departure is None else departure.change,
            pi=sums.pi,
            smallest_kld=sums.smallest_kld,
            failure=failure,
            change=max(changes) if failure is None else float("inf"),
        )

    def _isotropic(self, x: Array) -> Array:
        """The mean over dimensions (K, 1), where the flag says so."""
        return namespace(x).mean(x, axis=1, keepdims=True) if self.isotropic_mean else x

    def _push(self, terms: PairTerms, sums: PairSums, p: Array) -> Array:
        """sum_j (W_ij p_j + W_ji p_i) (mu_i - mu_j)."""
        mu = terms.means
        outgoing, scaled = sums.forward[:2]
        incoming = p * (sums.incoming[:, None] * mu - sums.backward[-1])
        return outgoing * mu - scaled + incoming

    def _squares(self, terms: PairTerms) -> Array:
        """What W' multiplies to give the squares: mu_j^2, or sum_l (mu_j - mu_l)^2."""
        xp, mu = namespace(terms.means), terms.means
        if not self.summed_square:
            return mu * mu
        total = xp.sum(mu, axis=0, keepdims=True)
        squares = xp.sum(mu * mu, axis=0, keepdims=True)
        return terms.n_classes * mu * mu - 2.0 * mu * total + squares

    def _square_sums(self, terms: PairTerms, sums: PairSums) -> Array:
        """sum_j W_ji (q_ij + v_j)."""
        if self.summed_square:
            return sums.backward[0]
        mu = terms.means
        own = sums.incoming[:, None] * mu - 2.0 * sums.backward[-1]
        return own * mu + sums.backward[0]


def _largest_norm(x: Array) -> float:
    return float(namespace(x).max(namespace(x).linalg.vector_norm(x, axis=-1)))
