"""Log-densities of class Gaussians, on tensors.

They are separate from the core's: without host synchronization, or namespaces to resolve, they can
be compiled and trained through.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ClassDensity", "mixture", "working_dtype"]

#: How many numbers one block of a dense family's whitening may have.
_BLOCK = 2**24


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

    def by_class(self, z: Tensor) -> Tensor:
        """Compute log N_y(z) (N, K) of ``z`` (N, d), by products about the mean of the means."""
        with torch.autocast(z.device.type, enabled=False):
            x, means, inverse = self._centered(z)
            if self._dense and not self._tied:
                squared = self._by_blocks_of_classes(x, means, inverse)
            elif self._tied:
                white, centers = _whitened(inverse, x), _whitened(inverse, means)
                far = white.square().sum(-1)[:, None] + centers.square().sum(-1)
                squared = torch.addmm(far, white, centers.T, alpha=-2.0)
            else:
                precisions = inverse.square().expand_as(means)
                scaled = precisions * means
                squared = torch.addmm((means * scaled).sum(-1), x.square(), precisions.T)
                squared = torch.addmm(squared, x, scaled.T, alpha=-2.0)
            return self._log_normalizers().to(x.dtype) - 0.5 * squared

    def of_labels(self, z: Tensor, labels: Tensor) -> Tensor:
        """Compute log N_y(z) (N,) of the classes ``labels`` (N,), from differences."""
        with torch.autocast(z.device.type, enabled=False):
            if self._dense and not self._tied and torch.compiler.is_compiling():
                # rows cannot be sorted by class within one graph
                return self.by_class(z).gather(1, labels[:, None])[:, 0]
            dtype = working_dtype(z)
            own = torch.zeros_like(labels) if self._tied else labels
            # the difference is taken in the wider dtype: no digits are lost far from the origin
            difference = (z - self.means[labels]).to(dtype)
            if not self._dense:
                white = difference * self.inverse[own].to(dtype)
            elif self._tied:
                white = difference @ self.inverse[0].T.to(dtype)
            else:
                white = self._whitened_by_class(difference, labels)
            normalizer = self._log_normalizers()[own].to(dtype)
            return normalizer - 0.5 * white.square().sum(-1)

    def _centered(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Center latents and means; return them and F^-1 in the dtype of the computation."""
        dtype = working_dtype(z)
        center = self.means.detach().mean(0).to(dtype)
        means = (self.means - center.to(self.means.dtype)).to(dtype)
        return z.to(dtype) - center, means, self.inverse.to(dtype)

    def _log_normalizers(self) -> Tensor:
        log_det = self.log_det.to(working_dtype(self.log_det))
        return -0.5 * (log_det + self.means.shape[1] * math.log(2.0 * math.pi))

    def _by_blocks_of_classes(self, x: Tensor, means: Tensor, inverse: Tensor) -> Tensor:
        per_block = max(1, _BLOCK // max(1, x.numel()))
        columns = []
        for own_means, own_inverse in zip(
            means.split(per_block), inverse.split(per_block), strict=True
        ):
            white = (x - own_means[:, None, :]) @ own_inverse.mT  # (classes, N, d)
            columns.append(white.square().sum(-1))
        return torch.cat(columns).T

    def _whitened_by_class(self, difference: Tensor, labels: Tensor) -> Tensor:
        """Whiten rows (N, d), one product per class: a matrix per row would be far larger."""
        order = labels.argsort(stable=True)
        sizes = torch.bincount(labels, minlength=self.means.shape[0]).tolist()
        parts = difference[order].split(sizes)
        white = [
            part @ self.inverse[code].T.to(part.dtype)
            for code, part in enumerate(parts)
            if part.shape[0] > 0
        ]
        return torch.cat(white)[order.argsort()] if white else difference


def mixture(by_class: Tensor) -> Tensor:
    """Compute log (1/K) sum_y N_y(z) (N,) from log N_y(z) (N, K)."""
    return torch.logsumexp(by_class, 1) - math.log(by_class.shape[1])


def working_dtype(z: Tensor) -> torch.dtype:
    """Return the dtype that densities are computed in: that of the latents, at least float32."""
    return z.dtype if z.dtype == torch.float64 else torch.float32


def _whitened(inverse: Tensor, x: Tensor) -> Tensor:
    """Whiten rows (N, d) by the one F^-1 that all classes share."""
    return x @ inverse[0].T if inverse.ndim == 3 else x * inverse
