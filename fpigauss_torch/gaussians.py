"""The class Gaussians as a module beside a flow: buffers that are refitted in place."""

import math
import warnings
from collections.abc import Callable, Collection
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
from fpigauss._validation import check_sample_weight
from fpigauss.covariance import FAMILIES, CovarianceFamily, Diagonal, resolve_family
from fpigauss_torch._checks import (
    check_latents,
    check_outside_backward,
    check_statistics,
    hard_labels,
)
from fpigauss_torch._density import ClassDensity
from fpigauss_torch._errors import RefitRejectedError
from fpigauss_torch._guard import guarded
from fpigauss_torch._options import ACCEPTED, check_options
from fpigauss_torch.prior import LatentPrior

__all__ = ["ACCEPTED", "LatentGaussians"]


class LatentGaussians(LatentPrior):
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

    means: Tensor
    covariances: Tensor
    _root: Tensor
    _inverse: Tensor
    _log_det: Tensor

    def __init__(
        self,
        n_classes: int,
        dim: int,
        covariance: str | CovarianceFamily = "diagonal",
        tied: bool = False,
    ) -> None:
        """Start from N(0, I) for every class."""
        super().__init__(n_classes, dim)
        self.family = resolve_family(covariance, tied)
        #: How often the Gaussians were replaced.
        self.n_swaps = 0
        zero = torch.zeros(n_classes, dim, dtype=torch.float64)
        # the shape's own average of the identity: ones, however the family stores them
        unit = self.family.average(self.family.unit(dim, zero), dim)
        values = unit.expand(1 if self.family.tied else n_classes, *unit.shape[1:]).clone()
        self.register_buffer("means", zero)
        self.register_buffer("covariances", self.family.pack(values))
        for name, value in self._prepared(self.covariances).items():
            self.register_buffer(name, value, persistent=False)

    # -- the prior -------------------------------------------------------------------------

    def density(self) -> ClassDensity:
        """The Gaussians as they are now."""
        return ClassDensity(self.means, self._inverse, self._log_det)

    def color(self, noise: Tensor, labels: Tensor) -> Tensor:
        """F_y times standard-normal ``noise``."""
        own = torch.zeros_like(labels) if self.family.tied else labels
        if self._root.ndim == 2:
            return noise * self._root[own]
        colored = noise.clone()
        for code in own.unique().tolist():  # (n, d, d) a row would be far larger
            rows = own == code
            colored[rows] = noise[rows] @ self._root[code].T
        return colored

    def log_prob(self, z: Tensor, labels: Any = None) -> Tensor:
        """As every prior's; a backward pass after a refit in between is an error of its own."""
        return guarded(super().log_prob(z, labels), self, self.n_swaps)

    def class_log_prob(self, z: Tensor) -> Tensor:
        """As every prior's; a backward pass after a refit in between is an error of its own."""
        return guarded(super().class_log_prob(z), self, self.n_swaps)

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

    def _swap(self, gaussians: ClassGaussians) -> None:
        """Replace all buffers, or none."""
        with torch.inference_mode(False), torch.no_grad():
            values = {"means": gaussians.means, "covariances": gaussians.covariances}
            values |= self._prepared(gaussians.covariances)
            for name, value in values.items():
                buffer = self._buffers[name]
                if buffer.is_inference():  # made under inference_mode: it cannot be written to
                    self._buffers[name] = value.clone()
                else:  # in place: compiled graphs and DDP hold on to the buffers
                    buffer.copy_(value)
        self.n_swaps += 1

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

    # -- the state -------------------------------------------------------------------------

    def reset_parameters(self) -> None:
        """N(0, I) for every class again; modules that were made on the meta device need it."""
        identity = type(self)(self.n_classes, self.dim, self.family, self.family.tied)
        self.assign_(identity.class_gaussians())

    def _prepared(self, covariances: Tensor) -> dict[str, Tensor]:
        """Factors, as buffers by name."""
        family = self.family
        factor = family.factor(family.unpack(covariances))
        log_det = family.log_det(factor, self.dim)
        if isinstance(family, Diagonal):
            root, inverse = family.spread(factor.root), family.spread(factor.inverse)
        else:
            root, inverse = factor.root, factor.inverse
        return {"_root": root, "_inverse": inverse, "_log_det": log_det}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move, but keep the dtype of the buffers: .half() would cost the fit its digits."""
        dtypes = {name: buffer.dtype for name, buffer in self.named_buffers(recurse=False)}
        module: Self = super()._apply(lambda x: _moved(fn, x), recurse)
        changed = {n for n, b in self.named_buffers(recurse=False) if b.dtype != dtypes[n]}
        assert not changed or self.means.device.type == "mps", changed
        return module

    def get_extra_state(self) -> dict[str, Any]:
        """What the tensors of a state do not say."""
        family = {"covariance": self.family.name, "tied": self.family.tied}
        return super().get_extra_state() | family

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        dtype = self.means.dtype
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        loaded = ClassGaussians(  # checks them
            self.means.to(dtype),
            self.covariances.to(dtype),
            covariance=self.family,
            tied=self.family.tied,
        )
        for name in ("means", "covariances"):
            self._buffers[name] = self._buffers[name].to(dtype)
        for name in ("_root", "_inverse", "_log_det"):
            self._buffers[name] = self._buffers[name].to(self.means)
        self._swap(loaded)


def _moved(fn: Callable[[Tensor], Tensor], buffer: Tensor) -> Tensor:
    """``fn`` applied without its change of dtype; float32 where the device has no float64."""
    try:
        moved = fn(buffer)
    except TypeError:  # MPS refuses float64
        return fn(buffer.float())
    return moved if moved.dtype == buffer.dtype else buffer.to(moved.device)


def _described(family: CovarianceFamily, n_classes: int, dim: int) -> str:
    tied = "tied " if family.tied else ""
    return f'{n_classes} {tied}"{family.name}" Gaussians in {dim} dimensions'
