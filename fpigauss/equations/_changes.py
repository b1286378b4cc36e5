"""How the divergences change along a direction, as products of changes of what they are made of."""

from dataclasses import dataclass
from typing import NamedTuple, Self, TypeAlias

from fpigauss._array.blocks import joined
from fpigauss._array.linalg import flattened, inner_products, transposed
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily, Factor
from fpigauss.divergence import PairTerms

__all__ = [
    "Change",
    "ClassChange",
    "Moments",
    "TiedChange",
    "assembled",
    "laplacian",
]


class Moments(NamedTuple):
    """What the divergences of classes with covariances of their own are made of.

    ``PairTerms`` lets go of some of it once D is known.
    """

    precisions: Array  # values of Sigma_y^-1
    scaled_means: Array  # Sigma_y^-1 mu_y (K, d), mu_y centered
    second_moments: Array  # projections of Sigma_y + mu_y mu_y'

    @classmethod
    def at(cls, family: CovarianceFamily, terms: PairTerms) -> Self:
        """Compute them at a point."""
        x, precisions = terms.centered, family.precisions(terms.factor)
        spread = family.values_projections(family.values(terms.factor), x.shape[1])
        return cls(precisions, family.apply(precisions, x), spread + family.outer(x, x))


@dataclass(frozen=True)
class ClassChange:
    """The change of D where classes have covariances of their own."""

    terms: PairTerms
    moments: Moments
    dmu: Array
    #: The changes of the moments, in their order.
    dp: Array
    dq: Array
    dm: Array
    #: tr(Sigma_y^-1 dSigma_y) (K,), and the change of mu_y' Sigma_y^-1 mu_y beside it.
    growth: Array
    norms: Array

    @classmethod
    def of(
        cls, family: CovarianceFamily, terms: PairTerms, moments: Moments, u: Array, s: Array
    ) -> Self:
        """Compute the changes along dmu = F u, dSigma = F S F'."""
        factor, x, dim = terms.factor, terms.centered, u.shape[1]
        dmu, (precisions, q, _) = family.color(factor, u), moments
        adjoint = family.adjoint_root(Factor(factor.inverse, factor.root))
        dp = -family.congruent(adjoint, s, dim)
        dq = family.apply(dp, x) + family.apply(precisions, dmu)
        spread = family.values_projections(family.congruent(factor.root, s, dim), dim)
        return cls(
            terms,
            moments,
            dmu,
            dp,
            dq,
            dm=spread + 2.0 * family.outer(x, dmu),
            growth=family.trace(family.values_projections(s, dim)),
            norms=inner_products(dmu, q) + inner_products(x, dq),
        )

    def __call__(self, rows: slice) -> Array:
        """Compute dD of the pairs in ``rows`` (R, K)."""
        x, (precisions, q, m) = self.terms.centered, self.moments
        traces = flattened(self.dm[rows, ...]) @ transposed(flattened(precisions))
        traces = traces + flattened(m[rows, ...]) @ transposed(flattened(self.dp))
        cross = self.dmu[rows, :] @ transposed(q) + x[rows, :] @ transposed(self.dq)
        of_second = (self.norms + self.growth)[None, :]
        return 0.5 * (traces + of_second - self.growth[rows][:, None]) - cross


@dataclass(frozen=True)
class TiedChange:
    """The change of D where classes share a covariance: (x_y - x_y') (t_y - t_y').

    x are the whitened means, and t = u - S x / 2.
    """

    x: Array
    t: Array
    own: Array  # x_y t_y (K,)

    @classmethod
    def of(cls, family: CovarianceFamily, terms: PairTerms, u: Array, s: Array) -> Self:
        """Compute t."""
        x = terms.centered
        t = u - 0.5 * family.apply(s, x)
        return cls(x, t, inner_products(x, t))

    def __call__(self, rows: slice) -> Array:
        """Compute dD of the pairs in ``rows`` (R, K)."""
        x, t, own = self.x, self.t, self.own
        cross = x[rows, :] @ transposed(t) + t[rows, :] @ transposed(x)
        return own[rows][:, None] + own[None, :] - cross


Change: TypeAlias = ClassChange | TiedChange


class _Laplacian(NamedTuple):
    """What a block of rows of W adds to sum_y' (W + W')_yy' (x_y - x_y')."""

    ahead: Array  # of these rows
    behind: Array  # of all classes


def laplacian(w: Array, x: Array, rows: slice) -> _Laplacian:
    xp = namespace(w)
    own = x[rows, :]
    ahead = xp.sum(w, axis=1)[:, None] * own - w @ x
    behind = xp.sum(w, axis=0)[:, None] * x - transposed(w) @ own
    return _Laplacian(ahead, behind)


def assembled(parts: list[_Laplacian], like: Array) -> Array:
    total = joined([part.ahead for part in parts])
    for part in parts:
        total = total + part.behind
    return total
