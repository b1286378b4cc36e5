r"""How much pairs of Gaussians overlap: the chance that one is taken for the other.

In the sense of MixSim (Melnykov, Chen & Maitra, 2012) at equal priors: the overlap of two classes
is the probability that a sample of the first is more likely under the second, plus the reverse.
With one shared covariance it follows from the KLD alone,

    omega_yy' = 2 Phi(-sqrt(D_yy' / 2)).

With covariances of their own there is no closed form, and the Bhattacharyya bound stands for it:
omega_yy' <= exp(-B_yy'), with the mean M of the two covariances

    B_yy' = 1/8 (mu_y - mu_y')' M^-1 (mu_y - mu_y') + 1/2 log |M| / sqrt(|Sigma_y| |Sigma_y'|).

Logarithms are computed throughout: 150 nats apart, the overlap is 1e-18.
"""

import math
from collections.abc import Iterator
from typing import Any

from scipy.special import log_ndtr

from fpigauss._array.blocks import blocks
from fpigauss._array.checks import check_flag
from fpigauss._array.flags import unflagged
from fpigauss._array.linalg import broke_down, squared_norms
from fpigauss._array.namespaces import cast_like, namespace, to_numpy
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily, Factor
from fpigauss.divergence import PairTerms, smallest_kld, terms_of
from fpigauss.gaussians import ClassGaussians

__all__ = ["largest_log_overlap", "pairwise_overlap"]

#: Numbers that a factor of a mean covariance takes at most: itself, its inverse and temporaries.
_COPIES = 6


@unflagged
def pairwise_overlap(gaussians: ClassGaussians, *, log: bool = False) -> Array:
    r"""Compute how much all pairs of class Gaussians overlap, at equal priors.

    The overlap of two classes is the probability that a sample of the first is more likely under
    the second, plus the reverse: MixSim's, twice the smallest error rate of telling the two apart.
    For tied families it is exact, 2 Phi(-sqrt(KLD / 2)). For covariances per class it is an upper
    bound, Bhattacharyya's. Gradients are not tracked.

    Parameters
    ----------
    gaussians : ClassGaussians
        K Gaussians.
    log : bool
        Return logarithms, which do not underflow.

    Returns
    -------
    (K, K) array
        Symmetric, in [0, 1], with ones on the diagonal (or their logarithms), in the namespace,
        device and dtype of the means.

    Raises
    ------
    InvalidInputError
        If ``gaussians`` is not a ClassGaussians.

    See Also
    --------
    pairwise_kld : the divergences.
    fit_separated : with ``max_overlap=``, asks for one.

    Examples
    --------
    >>> from fpigauss import ClassGaussians, pairwise_overlap
    >>> unit = ClassGaussians([[0.0], [2.0]], [1.0], tied=True)
    >>> pairwise_overlap(unit)
    array([[1.    , 0.3173],
           [0.3173, 1.    ]])
    """
    log = check_flag(log, "log")
    terms = terms_of(gaussians)
    xp = namespace(terms.means)
    overlaps = xp.concat([_log_overlaps(terms, rows) for rows in terms.blocks()])
    if not log:
        overlaps = xp.exp(overlaps)
    return xp.astype(overlaps, gaussians.means.dtype, copy=False)


@unflagged
def largest_log_overlap(gaussians: ClassGaussians, *, held: Any = None) -> float:
    """Compute the logarithm of the largest overlap of a pair, from ``pairwise_overlap``.

    Pairs of two classes that ``held`` (K,) marks do not count.
    """
    if gaussians.family.tied:
        return _log_overlap_at(smallest_kld(gaussians, held=held))
    terms = terms_of(gaussians)
    xp = namespace(terms.means)
    largest = -math.inf
    for rows in terms.blocks():
        overlaps = _log_overlaps(terms, rows)
        counting = terms.counting(rows, held)
        least = xp.full_like(overlaps, -math.inf)
        largest = max(largest, float(xp.max(xp.where(counting, overlaps, least))))
    return largest


def _log_overlap_at(kld: float) -> float:
    """Compute log 2 Phi(-sqrt(KLD / 2))."""
    return math.log(2.0) + float(log_ndtr(-math.sqrt(0.5 * kld)))


def _log_overlaps(terms: PairTerms, rows: slice) -> Array:
    """Compute the logarithms of a block of ``rows`` against all classes (R, K)."""
    xp = namespace(terms.means)
    if terms.family.tied:
        distances = to_numpy(xp.sqrt(0.5 * terms.divergences(rows)))
        return cast_like(math.log(2.0) + log_ndtr(-distances), terms.means)
    bound = xp.concat([_bhattacharyya(terms, row)[None, :] for row in range(terms.n_classes)[rows]])
    zero = xp.zeros_like(bound)  # rounding alone can leave a tiny negative distance
    return xp.where(terms.diagonal(rows), zero, xp.minimum(zero, -bound))


def _bhattacharyya(terms: PairTerms, row: int) -> Array:
    """Compute B (K,) of class ``row`` and all others, where every class has its own covariance."""
    family, means = terms.family, terms.means
    dim = int(means.shape[1])
    values, log_dets = family.values(terms.factor), terms.log_dets
    assert log_dets is not None

    def pieces() -> Iterator[Array]:
        row_bytes = 8 * _COPIES * (dim * dim if family.needs_dense else dim)
        for others in blocks(terms.n_classes, row_bytes, terms.memory_limit):
            middle = _factor(family, 0.5 * (values[row : row + 1, ...] + values[others, ...]))
            white = family.whiten(middle, means[row : row + 1, :] - means[others, :])
            own = 0.5 * (log_dets[row] + log_dets[others])
            yield 0.125 * squared_norms(white) + 0.5 * (family.log_det(middle, dim) - own)

    return namespace(means).concat(list(pieces()))


def _factor(family: CovarianceFamily, values: Array) -> Factor:
    """Factor means of two covariances, which rounding alone can make indefinite."""
    try:
        return family.factor(values)
    except Exception as error:
        if broke_down(error):
            return family.factor(family.rounded(values, values))
        raise
