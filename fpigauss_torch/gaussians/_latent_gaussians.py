"""The class Gaussians as a module beside a flow: buffers that are refitted in place."""

import math
import warnings
from collections.abc import Collection
from typing import Any, Self

import torch
from torch import Tensor

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPointResult,
    InvalidInputError,
    critical_lam,
    solve_fixed_point,
)
from fpigauss.interface import (
    FAMILIES,
    CovarianceFamily,
    check_sample_weight,
)
from fpigauss_torch._support import (
    ACCEPTED,
    RefitRejectedError,
    check_latents,
    check_options,
    check_outside_backward,
    check_statistics,
    checked_at_backward,
    hard_labels,
)
from fpigauss_torch.gaussians._buffers import GaussianBuffers

__all__ = ["LatentGaussians"]


class LatentGaussians(GaussianBuffers):
    r"""One Gaussian a class under a flow, fitted by the fixed point of fpigauss.

    Means and covariances are float64 buffers, N(0, I) for every class until the first fit; their
    dtype stays whatever the module is cast to (float32 where the device has no float64). Nothing
    in it is trained.

    Parameters
    ----------
    n_classes, dim : int
        K and d.
    covariance : {"diagonal", "dense", "isotropic"} or CovarianceFamily
        The covariance family.
    tied : bool
        One covariance shared by all classes.

    Attributes
    ----------
    means : (K, d) float64 tensor
    covariances : float64 tensor
        (K, d), (K, d, d) or (K,); tied (d,), (d, d) or (). Variances, not standard deviations.
    family : CovarianceFamily
        The covariance family as an object.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import LatentGaussians
    >>> y = torch.arange(60) % 3
    >>> z = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)) + y[:, None]
    >>> gaussians = LatentGaussians(3, 2, tied=True)
    >>> gaussians.fit_(z, y, lam=10.0).converged
    True
    >>> gaussians.log_prob(z, y).shape, gaussians.class_log_prob(z).shape
    (torch.Size([60]), torch.Size([60, 3]))
    >>> gaussians.sample([2, 0], seed=0).dtype
    torch.float32
    """

    # -- the prior -------------------------------------------------------------------------

    def log_prob(self, z: Tensor, labels: Any = None) -> Tensor:
        """As every prior's; a backward pass after a refit in between is an error of its own."""
        return checked_at_backward(super().log_prob(z, labels), self, self.n_swaps)

    def class_log_prob(self, z: Tensor) -> Tensor:
        """As every prior's; a backward pass after a refit in between is an error of its own."""
        return checked_at_backward(super().class_log_prob(z), self, self.n_swaps)

    # -- fits ------------------------------------------------------------------------------

    def fit_(
        self,
        z: Tensor,
        y: Any,
        lam: float,
        *,
        accept: Collection[str] = ACCEPTED,
        sample_weight: Any = None,
        **options: Any,
    ) -> FixedPointResult:
        """Refit to labelled latents that fit in memory; ``refit_`` streams them through a flow.

        Parameters
        ----------
        z : (N, d) tensor
            Latents, of any floating dtype; fitted in float64.
        y : (N,) integers
            Classes 0..K-1; rows of class -1 (unlabelled) are left out.
        lam : float
            The weight of the repulsion, >= 0.
        accept : collection of str
            Statuses that replace the old Gaussians.
        sample_weight : (N,) array-like, optional
            Repetition weights >= 0.
        **options
            Of ``fpigauss.fit_fixed_point``: update, init, pi, alpha, equations, solver, max_iter,
            tol, shrinkage, memory_limit, progress, callback.

        Returns
        -------
        FixedPointResult

        Raises
        ------
        InvalidInputError
            If an argument cannot be used, a latent is not finite, or a class has no sample.
        RefitRejectedError
            If the fit ends otherwise than ``accept`` says. In every case of an error the old
            Gaussians stay.
        """
        check_latents(z, self.dim, self.means.device)
        labels, some_unlabelled = hard_labels(
            y, self.n_classes, device=z.device, rows=z.shape[0], unlabelled=True, name="y"
        )
        z = z.detach().to(self.means.dtype)
        if some_unlabelled:
            kept = labels >= 0
            z, labels = z[kept], labels[kept]
            if sample_weight is not None:
                weight = check_sample_weight(sample_weight, len(kept))
                sample_weight = torch.as_tensor(weight, device=z.device)[kept]
        statistics = ClassStatistics.from_samples(
            z,
            labels,
            covariance=self.statistics_kind,
            classes=range(self.n_classes),
            sample_weight=sample_weight,
        )
        return self.solve_(statistics, lam, accept=accept, **options)

    def solve_(
        self,
        statistics: ClassStatistics,
        lam: float,
        *,
        accept: Collection[str] = ACCEPTED,
        **options: Any,
    ) -> FixedPointResult:
        """Refit to the statistics of labelled latents.

        Parameters
        ----------
        statistics : ClassStatistics
            Of this width, with as many classes; their order is 0..K-1.
        lam, accept, **options
            As in ``fit_``.

        Returns
        -------
        FixedPointResult

        Raises
        ------
        InvalidInputError, RefitRejectedError
            As ``fit_``.
        """
        check_outside_backward("a refit")
        check_options(lam, options, accept, self.family)
        check_statistics(statistics, self.n_classes, self.dim)
        with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = solve_fixed_point(statistics, lam, covariance=self.family, **options)
        if result.status not in accept:  # what it warned of is what is raised
            remedies = self._remedies(lam, options.get("alpha", 1.0))
            raise RefitRejectedError(
                f'the fit ended "{result.status}" ({result.status.message}), which is not among '
                f"accept={tuple(accept)}; the old Gaussians were kept. {remedies}",
                result,
            )
        for warning in caught:
            warnings.warn(warning.message, stacklevel=2)
        self.assign_(result.gaussians)
        return result

    def _remedies(self, lam: float, alpha: float) -> str:
        bound = critical_lam(
            self.n_classes,
            alpha,
            covariance=self.family if type(self.family) in FAMILIES.values() else "diagonal",
            tied=self.family.tied,
            dim=self.dim,
        )
        below = f' (with pi="forward" a minimum is certain below {bound:.3g})'
        return (
            f"Lower lam={lam:g}{below if math.isfinite(bound) else ''}, make LatentGaussians with "
            'tied=True, pass update="means" or pi="initial", or accept it'
        )

    @property
    def statistics_kind(self) -> str:
        """The ``covariance=`` of the statistics that a fit needs."""
        return "dense" if self.family.needs_dense else "diagonal"

    # -- conversion ------------------------------------------------------------------------

    def assign_(self, gaussians: ClassGaussians) -> Self:
        """Take over Gaussians of the core, in place, all at once.

        Parameters
        ----------
        gaussians : ClassGaussians
            Of the same family and sizes; class 0..K-1 is their order.

        Returns
        -------
        LatentGaussians
            These.

        Raises
        ------
        InvalidInputError
            If family or sizes differ.
        """
        check_outside_backward("assigning Gaussians")
        if not isinstance(gaussians, ClassGaussians):
            raise InvalidInputError(
                f"gaussians is a {type(gaussians).__name__}; pass a fpigauss.ClassGaussians"
            )
        ours = _described(self.family, self.n_classes, self.dim)
        theirs = _described(gaussians.family, gaussians.n_classes, gaussians.dim)
        if ours != theirs:
            raise InvalidInputError(f"gaussians are {theirs}, these are {ours}; they must agree")
        self._swap(gaussians.to(self.means))
        return self

    def class_gaussians(self, classes: Any = None) -> ClassGaussians:
        """These as Gaussians of the core, copied, in float64 tensors.

        Parameters
        ----------
        classes : (K,) array-like, optional
            Ascending labels for 0..K-1, which they are by default.

        Returns
        -------
        ClassGaussians
        """
        return ClassGaussians(
            self.means.detach().clone(),
            self.covariances.detach().clone(),
            covariance=self.family,
            tied=self.family.tied,
            classes=classes,
        )

    @classmethod
    def from_class_gaussians(cls, gaussians: ClassGaussians) -> Self:
        """A module of Gaussians of the core; their classes become 0..K-1, in their order.

        Parameters
        ----------
        gaussians : ClassGaussians
            Of any namespace.

        Returns
        -------
        LatentGaussians
        """
        if not isinstance(gaussians, ClassGaussians):
            raise InvalidInputError(
                f"gaussians is a {type(gaussians).__name__}; pass a fpigauss.ClassGaussians"
            )
        module = cls(gaussians.n_classes, gaussians.dim, gaussians.family, gaussians.family.tied)
        if isinstance(gaussians.means, Tensor):
            module.to(gaussians.means.device)
        return module.assign_(gaussians)

    def reset_parameters(self) -> None:
        """N(0, I) for every class again; modules that were made on the meta device need it."""
        identity = type(self)(self.n_classes, self.dim, self.family, self.family.tied)
        self.assign_(identity.class_gaussians())


def _described(family: CovarianceFamily, n_classes: int, dim: int) -> str:
    tied = "tied " if family.tied else ""
    return f'{n_classes} {tied}"{family.name}" Gaussians in {dim} dimensions'
