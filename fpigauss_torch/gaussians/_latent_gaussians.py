"""The class Gaussians as a module beside a flow: buffers that are refitted in place."""

import math
import warnings
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Self, Unpack

import torch
from torch import Tensor

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    CovarianceFamily,
    FixedPoint,
    FixedPointResult,
    InvalidInputError,
    UnreachableSeparationError,
    critical_lam,
)
from fpigauss.interface import (
    RefitOptions,
    SmallestKLD,
    check_sample_weight,
    separated,
    warn_user,
)
from fpigauss_torch._support import (
    ACCEPTED,
    Refit,
    RefitInit,
    RefitRejectedError,
    as_latents,
    check_accepted,
    check_outside_backward,
    check_statistics,
    checked_at_backward,
    described,
    hard_labels,
    lam_apart,
    with_refit_options,
)
from fpigauss_torch.gaussians._buffers import GaussianBuffers

__all__ = ["LatentGaussians"]


class LatentGaussians(GaussianBuffers):
    r"""One Gaussian per class under a flow, fitted by the fixed point of fpigauss.

    Means, covariances and counts are float64 buffers, N(0, I) for every class until the first fit;
    casting the module does not change their dtype (float32 where the device has no float64).
    Nothing in the module is trained.

    Parameters
    ----------
    n_classes, dim : int
        K and d.
    covariance : {"isotropic", "diagonal", "dense"} or CovarianceFamily
        The covariance family.
    tied : bool
        One covariance shared by all classes. Tied families can be separated as far as asked.

    Attributes
    ----------
    means : (K, d) float64 tensor
    covariances : float64 tensor
        (K, d), (K, d, d) or (K,); tied (d,), (d, d) or (). Variances, not standard deviations.
    class_counts : (K,) float64 tensor
        The counts of the last fit, for ``priors="counts"``; zeros if they are not known, where
        ``counts`` is None.
    family : CovarianceFamily
        The covariance family as an object.

    See Also
    --------
    ClassFlow : puts them under a flow.
    fpigauss.ClassGaussians : the same without torch, from ``class_gaussians()``.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import LatentGaussians
    >>> y = torch.arange(60) % 3
    >>> z = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)) + y[:, None]
    >>> gaussians = LatentGaussians(3, 2)
    >>> gaussians.fit_(z, y, separation=20.0).converged
    True
    >>> gaussians.log_prob(z, y).shape, gaussians.class_log_prob(z).shape
    (torch.Size([60]), torch.Size([60, 3]))
    >>> gaussians.sample([2, 0], seed=0).dtype
    torch.float32
    """

    def __init__(
        self,
        n_classes: int,
        dim: int,
        covariance: str | CovarianceFamily = "isotropic",
        tied: bool = True,
    ) -> None:  # for a missing argument to be reported under this name
        """Start from N(0, I) for every class."""
        super().__init__(n_classes, dim, covariance, tied)

    # -- the prior -------------------------------------------------------------------------

    def log_prob(self, z: Tensor, labels: Any = None, *, priors: Any = None) -> Tensor:
        """Compute log N_y(z), see ``LatentPrior``; a refit before the backward pass is an error."""
        log_prob = super().log_prob(z, labels, priors=priors)
        return checked_at_backward(log_prob, self, self.n_swaps)

    def class_log_prob(self, z: Tensor) -> Tensor:
        """Compute log N_y(z), see ``LatentPrior``; a refit before the backward pass is an error."""
        return checked_at_backward(super().class_log_prob(z), self, self.n_swaps)

    # -- fits ------------------------------------------------------------------------------

    @with_refit_options
    def fit_(
        self,
        z: Tensor,
        y: Any,
        lam: float | None = None,
        *,
        separation: float | None = None,
        fit: FixedPoint | None = None,
        init: RefitInit | None = None,
        accept: Collection[str] = ACCEPTED,
        sample_weight: Any = None,
        progress: bool = False,
        **options: Unpack[RefitOptions],
    ) -> FixedPointResult:
        """Refit to labeled latents that fit in memory; ``refit_`` streams them through a flow.

        Parameters
        ----------
        z : (N, d) tensor
            Latents, of any floating dtype; fitted in float64.
        y : (N,) integers
            Classes 0..K-1; rows of class -1 (unlabeled) are left out.
        lam : float
            The weight of the repulsion, >= 0; here or in ``fit``.
        separation : float
            In place of ``lam``: the smallest KLD over ordered pairs of classes to reach, in nats,
            as in ``fpigauss.fit_separated``. Classes that are that far apart are not repelled.
        fit : FixedPoint, optional
            The options as an object; single ones that are also passed replace its own, and
            ``covariance`` and ``tied`` are those of this module.
        init : {"current", "data", "identity"} or ClassGaussians, optional
            Where the fit starts; as ``fit`` says, or from the data. "current" is from the present
            Gaussians (from the data while all means are equal, as they are at first).
        accept : collection of str
            Statuses that replace the old Gaussians.
        sample_weight : (N,) array-like, optional
            Repetition weights >= 0.
        progress : bool
            Show a progress bar.
        {options}

        Returns
        -------
        FixedPointResult

        Raises
        ------
        InvalidInputError
            If an argument cannot be used, a latent is not finite, or a class has no sample.
        UnreachableSeparationError
            If no ``lam`` gives the ``separation``.
        RefitRejectedError
            If the fit ends with a status that is not in ``accept``. After any error the old
            Gaussians are kept.
        """
        z = as_latents(z, self.dim, self.means.device)
        labels, some_unlabeled = hard_labels(
            y, self.n_classes, device=z.device, rows=z.shape[0], unlabeled=True, name="y"
        )
        z = z.detach().to(self.means.dtype)
        if some_unlabeled:
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
        lam, fit = lam_apart(lam, fit)
        given: dict[str, Any] = {**options}
        if separation is not None:  # what overrides solve_ may be older than this argument
            given["separation"] = separation
        return self.solve_(
            statistics, lam, fit=fit, init=init, accept=accept, progress=progress, **given
        )

    @with_refit_options
    def solve_(
        self,
        statistics: ClassStatistics,
        lam: float | None = None,
        *,
        separation: float | None = None,
        fit: FixedPoint | None = None,
        init: RefitInit | None = None,
        accept: Collection[str] = ACCEPTED,
        progress: bool = False,
        **options: Unpack[RefitOptions],
    ) -> FixedPointResult:
        """Refit to the statistics of labeled latents.

        Parameters
        ----------
        statistics : ClassStatistics
            Statistics of this width and number of classes, which are 0..K-1 in their order.
        lam, separation, fit, init, accept, progress
            As in ``fit_``.
        {options}

        Returns
        -------
        FixedPointResult

        Raises
        ------
        InvalidInputError, RefitRejectedError
            As in ``fit_``.
        """
        check_outside_backward("a refit")
        refit = Refit.checked(lam, fit, options, init, separation)
        refit.check_lam()
        accepted = check_accepted(accept)
        fixed_point = replace(refit.of(self.family), progress=progress or refit.fit.progress)
        if refit.from_current and not self.coincide:
            fixed_point = replace(fixed_point, init=self.class_gaussians())
        if fixed_point.frozen and not isinstance(fixed_point.init, ClassGaussians):
            raise InvalidInputError(
                f"frozen is {fixed_point.frozen!r}, but the fit does not start from Gaussians; "
                'pass init="current" (once there has been a fit), or a ClassGaussians'
            )
        check_statistics(statistics, self.n_classes, self.dim, frozen=fixed_point.frozen)
        with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if refit.separation is None:
                    result = fixed_point.solve(statistics)
                else:
                    target = SmallestKLD(refit.separation)
                    result = separated(statistics, fixed_point, target).result
            except (InvalidInputError, UnreachableSeparationError) as error:
                if "tied=True" in str(error):  # the message is that of a fit
                    error.add_note("Here tied=True goes into LatentGaussians(...).")
                raise
        if result.status not in accepted:  # the error says what the warnings say
            raise RefitRejectedError(
                f'the fit ended "{result.status}" ({result.status.message}), which is not among '
                f"accept={accepted}; the old Gaussians were kept. "
                f"{self._remedies(fixed_point, refit.asked)}",
                result,
            )
        for warning in caught:
            warn_user(warning.message, warning.category)
        self.assign_(result.gaussians)
        return result

    def _remedies(self, fixed_point: FixedPoint, asked: str) -> str:
        bound = critical_lam(
            self.n_classes, fixed_point.alpha, covariance=self.family, dim=self.dim
        )
        below = f' (with pi="forward" a minimum is certain below {bound:.3g})'
        return (
            f"Lower {asked}{below if math.isfinite(bound) else ''}, make "
            'LatentGaussians with tied=True, pass update="means" or pi="initial" (to a schedule: '
            'fit=FixedPoint(update="means"), for example), or accept it'
        )

    @property
    def coincide(self) -> bool:
        """Whether all means are one, as before the first fit: nothing tells the classes apart."""
        return bool((self.means == self.means[:1]).all())

    @property
    def statistics_kind(self) -> str:
        """The ``covariance=`` that statistics for a fit must have."""
        return "dense" if self.family.needs_dense else "diagonal"

    # -- conversion ------------------------------------------------------------------------

    def assign_(self, gaussians: ClassGaussians) -> Self:
        """Take over Gaussians of the core, in place and all at once.

        Parameters
        ----------
        gaussians : ClassGaussians
            Gaussians of the same family and sizes; their order is 0..K-1.

        Returns
        -------
        LatentGaussians
            This module.

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
            raise InvalidInputError(
                f"gaussians are {theirs}, the module has {ours}; they must agree"
            )
        self._swap(gaussians.to(self.means))
        return self

    def class_gaussians(self, classes: Any = None) -> ClassGaussians:
        """Return a copy as Gaussians of the core, in float64 tensors.

        Parameters
        ----------
        classes : (K,) array-like, optional
            Labels in ascending order, in place of 0..K-1.

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
            counts=self.counts,
        )

    @classmethod
    def from_class_gaussians(cls, gaussians: ClassGaussians) -> Self:
        """Make a module from Gaussians of the core; their classes become 0..K-1, in their order.

        Parameters
        ----------
        gaussians : ClassGaussians
            Gaussians in any array namespace.

        Returns
        -------
        LatentGaussians
        """
        if not isinstance(gaussians, ClassGaussians):
            raise InvalidInputError(
                f"gaussians is a {type(gaussians).__name__}; pass a fpigauss.ClassGaussians"
            )
        means = gaussians.means
        with torch.device(means.device) if isinstance(means, Tensor) else nullcontext():
            module = cls(
                gaussians.n_classes, gaussians.dim, gaussians.family, gaussians.family.tied
            )
        return module.assign_(gaussians)

    def reset_parameters(self) -> None:
        """Set every class to N(0, I) again; needed by modules that were made on the meta device."""
        identity = type(self)(self.n_classes, self.dim, self.family, self.family.tied)
        self.assign_(identity.class_gaussians())


def _described(family: CovarianceFamily, n_classes: int, dim: int) -> str:
    return f"{n_classes} {described(family)} Gaussians in {dim} dimensions"
