"""Baseline 1: the classes' own means and covariances."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from fpigauss import ClassStatistics, CovarianceFamily, FixedPoint, FixedPointResult
from fpigauss_torch._support import check_fit
from fpigauss_torch.gaussians import LatentGaussians

__all__ = ["DataGaussians"]


class DataGaussians(LatentGaussians):
    r"""Baseline 1: ``LatentGaussians`` that are always fitted without repulsion, at lam = 0.

    Fits accept the ``lam`` or ``separation`` that ``refit_`` and schedules pass, so that the same
    schedule works for all fitted priors, but do not use it. Everything else is as in
    ``LatentGaussians``.

    Parameters
    ----------
    n_classes, dim, covariance, tied
        As in ``LatentGaussians``.

    See Also
    --------
    fpigauss_torch.LatentGaussians : with a repulsion.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch.priors import DataGaussians
    >>> prior = DataGaussians(2, 1, "diagonal", tied=False)
    >>> z = torch.tensor([[0.0], [2.0], [4.0], [8.0]])
    >>> prior.fit_(z, [0, 0, 1, 1]).converged
    True
    >>> prior.means.tolist(), prior.covariances.tolist()
    ([[1.0], [6.0]], [[1.0], [4.0]])
    """

    def __init__(
        self,
        n_classes: int,
        dim: int,
        covariance: str | CovarianceFamily = "isotropic",
        tied: bool = True,
    ) -> None:
        """Start from N(0, I) for every class."""
        super().__init__(n_classes, dim, covariance, tied)

    def fit_(self, z: Tensor, y: Any, lam: float | None = None, **options: Any) -> FixedPointResult:
        """Take the class means and covariances of labeled latents that fit in memory.

        Parameters
        ----------
        z : (N, d) tensor
            Latents, of any floating dtype.
        y : (N,) integers
            Classes 0..K-1; rows of class -1 (unlabeled) are left out.
        lam : float
            Not used: the fit is at lam = 0.
        **options
            As in ``LatentGaussians.fit_``; ``shrinkage`` for example.

        Returns
        -------
        FixedPointResult
            The fit at lam = 0.

        Raises
        ------
        InvalidInputError, RefitRejectedError
            As in ``LatentGaussians.fit_``.
        """
        return super().fit_(z, y, lam, **options)

    def solve_(
        self,
        statistics: ClassStatistics,
        lam: float | None = None,
        *,
        separation: float | None = None,
        fit: FixedPoint | None = None,
        **options: Any,
    ) -> FixedPointResult:
        """Take over the means and covariances of statistics.

        Parameters
        ----------
        statistics : ClassStatistics
            Statistics of this width and number of classes, which are 0..K-1 in their order.
        lam, separation : float
            Not used: the fit is at lam = 0.
        fit, **options
            As in ``LatentGaussians.fit_``.

        Returns
        -------
        FixedPointResult
            The fit at lam = 0.

        Raises
        ------
        InvalidInputError, RefitRejectedError
            As in ``LatentGaussians.fit_``.
        """
        return super().solve_(statistics, 0.0, fit=replace(check_fit(fit), lam=None), **options)
