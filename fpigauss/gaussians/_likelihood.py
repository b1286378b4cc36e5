"""The likelihood of samples under their class Gaussians, from the statistics alone."""

import math

from fpigauss._array.flags import unflagged
from fpigauss._array.namespaces import namespace
from fpigauss.gaussians._class_gaussians import ClassGaussians
from fpigauss.statistics import ClassStatistics

__all__ = ["balanced_nll"]


@unflagged
def balanced_nll(gaussians: ClassGaussians, statistics: ClassStatistics) -> float:
    r"""Compute the negative log-likelihood of samples under the Gaussians of their classes.

    It is (1/K) sum_y (1/N_y) sum_i -log N_y(z_i), in which every class weighs the same. Class
    moments determine it, so the samples themselves are not needed.

    Parameters
    ----------
    gaussians : ClassGaussians
        K Gaussians.
    statistics : ClassStatistics
        Statistics of the same classes, in the same namespace and on the same device; dense ones if
        the family needs them.

    Returns
    -------
    float
        In nats per sample. The objective of a fit at lam = 0 is K times that.

    Examples
    --------
    >>> from fpigauss import ClassGaussians, ClassStatistics
    >>> from fpigauss.gaussians import balanced_nll
    >>> statistics = ClassStatistics.from_samples([[0.0], [2.0], [5.0], [7.0]], [0, 0, 1, 1])
    >>> balanced_nll(ClassGaussians([[1.0], [6.0]], [[1.0], [1.0]]), statistics)
    1.4189
    """
    family, dim = gaussians.family, gaussians.dim
    means, factor = gaussians.working()
    xp = namespace(means)
    offsets = xp.astype(statistics.means, means.dtype, copy=False) - means  # (K, d)
    covariances = xp.astype(statistics.covariances, means.dtype, copy=False)
    # summed over classes where tied, like the outer products
    scatter = family.pooled(family.projections(covariances)) + family.outer(offsets, offsets)
    log_dets = family.log_det(factor, dim)  # (n,), n = 1 where tied
    traces = family.trace(family.whiten_projections(factor, scatter))
    log_det = float(xp.sum(log_dets)) / int(log_dets.shape[0])
    squares = float(xp.sum(traces)) / gaussians.n_classes
    return 0.5 * (dim * math.log(2.0 * math.pi) + log_det + squares)
