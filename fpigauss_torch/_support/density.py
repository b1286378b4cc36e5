"""Log-densities of class Gaussians, on tensors.

They are separate from the core's: without host synchronization, or namespaces to resolve, they can
be compiled and trained through.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fpigauss_torch._support.checked import checked
from fpigauss_torch._support.distances import (
    Differences,
    SquaredDistances,
    Whitened,
    halves,
    in_one_graph,
    squared_by_class,
)
from fpigauss_torch._support.functional import is_wrapped
from fpigauss_torch._support.matmul import matmul
from fpigauss_torch._support.nearby import relative
from fpigauss_torch._support.products import expanded
from fpigauss_torch._support.units import InUnits, Units, are_near

__all__ = ["ClassDensity", "mixture", "weighted", "working_dtype"]

#: How many differences of rows from means are computed faster than products.
_FEW = 2**16

#: The logarithm of the largest ratio of likelihoods, for the gradients of weights of zero.
_LARGEST_LOG = 80.0


@dataclass(frozen=True, eq=False)  # torch.compile follows its properties, not a tuple's
class ClassDensity:
    """K Gaussians N(mu_y, F_y F_y'), as tensors of any floating dtype.

    Parameters
    ----------
    means : (K, d) tensor
        The means.
    inverse : tensor
        F^-1: (n, d) or (n, 1) if it is diagonal (the inverse standard deviations), otherwise
        (n, d, d); n is K, or 1 if all classes share it.
    log_det : (n,) tensor
        The log-determinants of the covariances F F'.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassDensity
    >>> density = ClassDensity(torch.tensor([[0.0], [3.0]]), torch.ones(1, 1), torch.zeros(1))
    >>> density.by_class(torch.tensor([[1.0]])).argmax(1)
    tensor([0])
    """

    means: Tensor
    inverse: Tensor
    log_det: Tensor

    @property
    def _dense(self) -> bool:
        return self.inverse.ndim == 3

    @property
    def _tied(self) -> bool:
        return bool(self.inverse.shape[0] == 1)

    @property
    def _own_matrices(self) -> bool:
        return self._dense and not self._tied

    def by_class(self, z: Tensor) -> Tensor:
        """Compute log N_y(z) (N, K) of ``z`` (N, d), by matrix products.

        Squares that are expanded about one center lose every digit where classes are far from it
        against their width. There, differences are taken where these are few, and otherwise every
        row relative to a mean nearby, mu_r; with u = z - mu_r, and P_k the precisions of class k::

            |z - mu_k|^2 = |u|^2 + 2 u'P_k (mu_r - mu_k) + |mu_r - mu_k|^2,

        so that products have errors that are linear in the means, as rounding the means has; the
        last term is a table (K, K) in float64. Which mean is taken changes rounding alone.
        Differences are also whitened where every class has a dense matrix of its own.

        In float64 that table would have no digits to spare. There, squares are expanded, and
        entries that are small against what they are made of are computed from differences.
        """
        with torch.autocast(z.device.type, enabled=False):
            squared = self._prepared(z).squared(z)
            return self._log_normalizers().to(squared.dtype) - 0.5 * squared

    def of_labels(self, z: Tensor, labels: Tensor) -> Tensor:
        """Compute log N_y(z) (N,) of the classes ``labels`` (N,), from differences."""
        with torch.autocast(z.device.type, enabled=False):
            if self._own_matrices and in_one_graph(labels):
                return self.by_class(z).gather(1, labels[:, None])[:, 0]
            dtype = working_dtype(z)
            own = torch.zeros_like(labels) if self._tied else labels
            if self._own_matrices:
                squared = squared_by_class(z, labels, self.means, self.inverse)
            else:
                # the difference is taken in the wider dtype: no digits are lost far from the origin
                difference = (z.to(dtype) - self.means[labels]).to(dtype)
                if self._dense:
                    white = matmul(difference, self.inverse[0].T.to(dtype))
                else:
                    white = difference * self.inverse[own].to(dtype)
                squared = white.square().sum(-1)
            return self._log_normalizers()[own].to(dtype) - 0.5 * squared

    def _log_normalizers(self) -> Tensor:
        log_det = self.log_det.to(working_dtype(self.log_det))
        return -0.5 * (log_det + self.means.shape[1] * math.log(2.0 * math.pi))

    def _prepared(self, z: Tensor) -> SquaredDistances:
        """Return what distances need of the Gaussians, kept until one of their tensors changes."""
        parts, dtype = (self.means, self.inverse), working_dtype(z)
        compiling = torch.compiler.is_compiling()  # one graph for all sizes, which it does not ask
        few = not compiling and self.inverse.ndim == 2 and len(self.means) * z.numel() <= _FEW
        if compiling or any(is_wrapped(part) for part in parts):
            if dtype == torch.float64 and not self._own_matrices:
                return Differences(*halves(self.means, dtype), self.inverse.to(dtype))
            return _prepare(*parts, dtype, few=few, may_look=False)
        if any(part.requires_grad or part.is_inference() for part in parts):
            # they change with every step, and to look at them would wait for the device; float64
            # is slow there anyway, and looks at every entry
            may_look = self.means.device.type == "cpu" or dtype == torch.float64
            return _prepare(*parts, dtype, few=few, may_look=may_look)
        versions = tuple(part._version for part in parts)
        kept: _Kept | None = self.__dict__.get("_kept")
        if kept is None or kept.versions != versions:
            kept = _Kept(versions, {})
            object.__setattr__(self, "_kept", kept)
        if (dtype, few) not in kept.prepared:
            with torch.inference_mode(False), torch.no_grad():
                kept.prepared[dtype, few] = _prepare(*parts, dtype, few=few, may_look=True)
        return kept.prepared[dtype, few]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}


@dataclass(frozen=True)
class _Kept:
    """What was prepared of tensors of these versions, by dtype and size."""

    versions: tuple[int, ...]
    prepared: dict[tuple[torch.dtype, bool], SquaredDistances]


def _prepare(
    means: Tensor, inverse: Tensor, dtype: torch.dtype, *, few: bool, may_look: bool
) -> SquaredDistances:
    """Return what distances to the means (K, d) need.

    With ``may_look`` the means decide how: what they are is waited for. ``few`` says that rows,
    classes and dimensions are few.
    """
    if inverse.ndim == 3:  # what is whitened is in units of its own
        if inverse.shape[0] > 1:
            return Whitened.of(means, inverse, dtype)
        return _about_means(means, inverse, dtype, few=False, may_look=may_look)
    units = Units.of(inverse, dtype, may_look=may_look)
    if units.factors is not None:
        means, inverse = means * units.factors, inverse / units.factors
    if units.alike:
        distances = _about_means(means, inverse, dtype, few=few, may_look=may_look)
    else:
        distances = Differences(*halves(means, dtype), inverse.to(dtype))
    return distances if units.factors is None else InUnits(units.factors.to(dtype), distances)


def _about_means(
    means: Tensor, inverse: Tensor, dtype: torch.dtype, *, few: bool, may_look: bool
) -> SquaredDistances:
    """Return products, or differences where rows are few, in units in which products are in range.

    Not where means are so far apart that squares are out of range.
    """
    if may_look and (near := expanded(means, inverse, dtype)) is not None:
        return near
    diagonal = inverse.ndim == 2
    if few or (may_look and diagonal and not are_near(means, inverse, dtype)):
        return Differences(*halves(means, dtype), inverse.to(dtype))
    if dtype == torch.float64:
        return checked(means, inverse)
    return relative(means, inverse, dtype, may_look=may_look)


def mixture(by_class: Tensor) -> Tensor:
    """Compute log (1/K) sum_y N_y(z) (N,) from log N_y(z) (N, K)."""
    return torch.logsumexp(by_class, 1) - math.log(by_class.shape[1])


def weighted(by_class: Tensor, weights: Tensor) -> Tensor:
    """Compute log sum_y w_y N_y(z) (N,) from log N_y(z) (N, K), for weights (N, K).

    Weights of exact zero have the gradient N_y(z) / sum_y w_y N_y(z), by way of a term that is
    zero: that of their logarithm would be NaN.
    """
    weights = weights.to(by_class.dtype)
    positive = weights > 0.0
    logs = torch.where(positive, torch.where(positive, weights, 1.0).log(), -math.inf)
    log_prob = torch.logsumexp(by_class + logs, 1)
    if not (weights.requires_grad or is_wrapped(weights)):
        return log_prob
    ratios = (by_class - log_prob[:, None]).detach().clamp_max(_LARGEST_LOG).nan_to_num()
    return log_prob + torch.where(positive, 0.0, weights * ratios.exp()).sum(1)


def working_dtype(z: Tensor) -> torch.dtype:
    """Return the dtype that densities are computed in: that of the latents, at least float32."""
    return z.dtype if z.dtype == torch.float64 else torch.float32
