"""Class Gaussians of one covariance family as buffers of a module, and their state."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from fpigauss import ClassGaussians, CovarianceFamily
from fpigauss.interface import resolve_family
from fpigauss_torch._support import ClassDensity
from fpigauss_torch.prior import LatentPrior

__all__ = ["GaussianBuffers"]


class GaussianBuffers(LatentPrior):
    """K Gaussians in float64 buffers, with the factors that densities and draws use.

    The parameters are those of ``LatentGaussians``, which adds fits and conversions.
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
        #: How many times the Gaussians were replaced.
        self.n_swaps = 0
        zero = torch.zeros(n_classes, dim, dtype=torch.float64)
        # the shape's own average of the identity: ones, however the family stores them
        unit = self.family.average(self.family.unit(dim, zero), dim)
        values = unit.expand(1 if self.family.tied else n_classes, *unit.shape[1:]).clone()
        self.register_buffer("means", zero)
        self.register_buffer("covariances", self.family.pack(values))
        for name, value in self._prepared(self.covariances).items():
            self.register_buffer(name, value, persistent=False)

    def density(self) -> ClassDensity:
        """Return the Gaussians as they are now."""
        return ClassDensity(self.means, self._inverse, self._log_det)

    def color(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Multiply standard-normal ``noise`` by F_y."""
        own = torch.zeros_like(labels) if self.family.tied else labels
        if self._root.ndim == 2:
            return noise * self._root[own]
        colored = noise.clone()
        for code in own.unique().tolist():  # one (d, d) matrix per row would be far larger
            rows = own == code
            colored[rows] = noise[rows] @ self._root[code].T
        return colored

    def _swap(self, gaussians: ClassGaussians) -> None:
        """Replace all buffers, or none."""
        with torch.inference_mode(False), torch.no_grad():
            values = {"means": gaussians.means, "covariances": gaussians.covariances}
            values |= self._prepared(gaussians.covariances)
            for name, value in values.items():
                buffer: Tensor = getattr(self, name)
                if buffer.is_inference():  # made under inference_mode: it cannot be written to
                    self._buffers[name] = value.clone()
                else:  # in place: compiled graphs and DDP hold on to the buffers
                    buffer.copy_(value)
        self.n_swaps += 1

    def _prepared(self, covariances: Tensor) -> dict[str, Tensor]:
        """Compute the factors, by the names of their buffers."""
        family = self.family
        factor = family.factor(family.unpack(covariances))
        log_det = family.log_det(factor, self.dim)
        root, inverse = family.as_matrices(factor, self.dim)
        return {"_root": root, "_inverse": inverse, "_log_det": log_det}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the buffers, but keep their dtype: .half() would cost the fit its digits."""
        dtypes = {name: buffer.dtype for name, buffer in self.named_buffers(recurse=False)}
        module: Self = super()._apply(lambda x: _moved(fn, x), recurse)
        changed = {n for n, b in self.named_buffers(recurse=False) if b.dtype != dtypes[n]}
        assert not changed or self.means.device.type == "mps", changed
        return module

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the tensors of a state do not say."""
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
            self._buffers[name] = getattr(self, name).to(dtype)
        for name in ("_root", "_inverse", "_log_det"):
            self._buffers[name] = getattr(self, name).to(self.means)
        self._swap(loaded)


def _moved(fn: Callable[[Tensor], Tensor], buffer: Tensor) -> Tensor:
    """Apply ``fn`` without its change of dtype; float32 where the device has no float64."""
    try:
        moved = fn(buffer)
    except TypeError:  # MPS refuses float64
        return fn(buffer.float())
    return moved if moved.dtype == buffer.dtype else buffer.to(moved.device)
