"""Squared distances of latents to class means, from differences."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from fpigauss_torch._support.functional import is_mapped, is_wrapped

__all__ = [
    "ACCURACY",
    "Differences",
    "SquaredDistances",
    "Whitened",
    "halves",
    "in_one_graph",
    "is_kept",
    "product",
    "squared_by_class",
    "squared_norms",
    "wide_dtype",
]

#: What entries may be off by, of their squared distance and d.
ACCURACY = 1e-5

#: How many numbers one block of a dense family's whitening may have.
_BLOCK = 2**24


class SquaredDistances(ABC):
    """What squared distances to K means are computed from."""

    @abstractmethod
    def squared(self, z: Tensor) -> Tensor:
        """Compute squared distances (N, K) of ``z`` (N, d)."""


@dataclass(frozen=True, eq=False)
class Differences(SquaredDistances):
    """Differences of every row from every mean (N, K, d): for few numbers.

    Parameters
    ----------
    means : (K, d) tensor
        The means.
    rest : (K, d) tensor, optional
        What the dtype of ``means`` leaves of the means.
    inverse : (n, d) or (n, 1) tensor
        The inverse standard deviations.
    """

    means: Tensor
    rest: Tensor | None
    inverse: Tensor

    def squared(self, z: Tensor) -> Tensor:
        """Compute squared distances (N, K) of ``z`` (N, d)."""
        u = z.to(self.means.dtype)[:, None] - self.means
        if self.rest is not None:
            u = u - self.rest if is_kept(u) else u.sub_(self.rest)
        return squared_norms(product(u, self.inverse))


@dataclass(frozen=True, eq=False)
class Whitened(SquaredDistances):
    """Differences that are whitened by one matrix per class.

    Parameters
    ----------
    exact : (K, d) tensor
        The means, in their own dtype.
    means : (K, d) tensor
        The means, in the dtype of the computation.
    rest : (K, d) tensor, optional
        What that leaves of the means.
    inverse : (K, d, d) tensor
        F^-1, in its own dtype.
    sizes : (K,) tensor
        Their Frobenius norms.
    """

    exact: Tensor
    means: Tensor
    rest: Tensor | None
    inverse: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, means: Tensor, inverse: Tensor, dtype: torch.dtype) -> "Whitened":
        """Split the means and measure the matrices."""
        sizes = torch.linalg.vector_norm(inverse.detach(), dim=(1, 2)).to(dtype)
        return cls(means, *halves(means, dtype), inverse, sizes)

    def squared(self, z: Tensor) -> Tensor:
        """Compute squared distances (N, K) of ``z`` (N, d), a block of classes at a time."""
        means, rest, x = self.means, self.rest, z.to(self.means.dtype)
        per_block = max(1, _BLOCK // max(1, z.numel()))
        columns = []
        for first in range(0, means.shape[0], per_block):
            block = slice(first, first + per_block)
            u = x - means[block, None, :]  # (classes, N, d)
            if rest is not None:
                u = u - rest[block, None, :] if is_kept(u) else u.sub_(rest[block, None, :])
            columns.append((u @ self.inverse[block].to(x.dtype).mT).square().sum(-1))
        squared = torch.cat(columns).T
        smallest, own = squared.detach().min(1)
        if in_one_graph(own) or not self._lost(means[own] - x, smallest, own):
            return squared
        nearest = squared_by_class(z, own, self.exact, self.inverse)
        return squared.scatter(1, own[:, None], nearest[:, None])

    @torch.no_grad()
    def _lost(self, u: Tensor, squared: Tensor, own: Tensor) -> bool:
        """Return whether whitening has lost digits that count, as it does by condition numbers."""
        dim = u.shape[1]
        sizes = torch.linalg.vector_norm(u, dim=1) * self.sizes[own]
        rounding = 0.5 * torch.finfo(u.dtype).eps
        error = (rounding / dim**0.5) * sizes * squared.sqrt()
        return bool((error > 0.5 * ACCURACY * (squared + dim)).any())


def squared_by_class(z: Tensor, labels: Tensor, means: Tensor, inverse: Tensor) -> Tensor:
    """Compute squared distances (N,) to the classes ``labels``, one product per class.

    A matrix per row would be far larger. Products are in float64, where a device has it.
    """
    wide = wide_dtype(z)
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels, minlength=means.shape[0]).tolist()
    difference = (z.to(wide) - means.to(wide)[labels])[order]
    white = [
        part @ inverse[code].T.to(wide)
        for code, part in enumerate(difference.split(sizes))
        if part.shape[0] > 0
    ]
    squared = (torch.cat(white) if white else difference).square().sum(-1)
    return squared[order.argsort()].to(torch.promote_types(z.dtype, torch.float32))


def in_one_graph(labels: Tensor) -> bool:
    """Return whether rows cannot be sorted by class: within a compiled graph, or within vmap."""
    return torch.compiler.is_compiling() or is_mapped(labels)


def halves(means: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Split numbers into their rounding to ``dtype`` and the rest, if any."""
    rounded = means.to(dtype)
    if means.dtype == dtype or means.dtype.itemsize < dtype.itemsize:
        return rounded, None
    return rounded, (means - rounded.to(means.dtype)).to(dtype)


def wide_dtype(x: Tensor) -> torch.dtype:
    """Return the widest dtype of the device."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def is_kept(*tensors: Tensor) -> bool:
    """Return whether a backward pass may need what is computed from these tensors."""
    return torch.compiler.is_compiling() or any(x.requires_grad or is_wrapped(x) for x in tensors)


def product(x: Tensor, y: Tensor) -> Tensor:
    """Multiply ``x`` by ``y``, in place where that is possible."""
    return x * y if is_kept(x, y) else x.mul_(y)


def squared_norms(x: Tensor) -> Tensor:
    """Compute the squared norms of rows."""
    if is_kept(x):  # the second derivative of a norm does not exist at zero
        return x.square().sum(-1)
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return norms * norms
