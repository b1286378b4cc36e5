"""Squared distances of latents to class means, from differences."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from fpigauss_torch._support.functional import is_mapped, is_wrapped
from fpigauss_torch._support.matmul import matmul

__all__ = [
    "ACCURACY",
    "BLOCK_OF_ROWS",
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

#: What entries may be off by in float32, of their squared distance and d.
ACCURACY = 1e-5

#: How many numbers the rows of one block may have, to stay in a processor's cache.
BLOCK_OF_ROWS = 2**17

#: How many numbers one block of classes may have.
_BLOCK = 2**24

#: For how many rows the blocks of a compiled graph are made: it is one for any number of rows.
_ROWS_OF_GRAPH = 2**12


class SquaredDistances(ABC):
    """What squared distances to K means are computed from."""

    @abstractmethod
    def squared(self, z: Tensor) -> Tensor:
        """Compute squared distances (N, K) of ``z`` (N, d)."""


@dataclass(frozen=True, eq=False)
class Differences(SquaredDistances):
    """Differences of every row from every mean (N, K, d), a block at a time.

    Parameters
    ----------
    means : (K, d) tensor
        The means.
    rest : (K, d) tensor, optional
        What the dtype of ``means`` leaves of the means.
    inverse : tensor
        The inverse standard deviations, (n, d) or (n, 1); or the F^-1 (1, d, d) of all classes.
    """

    means: Tensor
    rest: Tensor | None
    inverse: Tensor

    def squared(self, z: Tensor) -> Tensor:
        """Compute squared distances (N, K) of ``z`` (N, d).

        With one matrix for all classes, rows and means are whitened about a center first: a product
        for every difference would take K times as long.
        """
        z = z.to(self.means.dtype)
        if self.inverse.ndim == 3:
            return self._whitened_once(z)
        n_classes, dim = self.means.shape
        if torch.compiler.is_compiling() or z.numel() * n_classes <= BLOCK_OF_ROWS:
            return self._of_classes(z, slice(None))
        if not is_kept(z, self.means, self.inverse) and z.device.type == "cpu":
            rows = max(1, BLOCK_OF_ROWS // (n_classes * dim))
            return torch.cat([self._of_classes(x, slice(None)) for x in z.split(rows)])
        per_block = max(1, _BLOCK // z.numel())
        firsts = range(0, n_classes, per_block)
        return torch.cat([self._of_classes(z, slice(i, i + per_block)) for i in firsts], 1)

    def of_pairs(self, z: Tensor, rows: Tensor, classes: Tensor) -> Tensor:
        """Compute the squared distances (M,) of ``rows`` (M,) of ``z`` to ``classes`` (M,)."""
        if is_kept(z, self.means, self.inverse) or z.device.type != "cpu":
            return self._of_pairs(z, rows, classes)
        n_pairs = max(1, BLOCK_OF_ROWS // z.shape[1])
        blocks = zip(rows.split(n_pairs), classes.split(n_pairs), strict=True)
        return torch.cat([self._of_pairs(z, *block) for block in blocks])

    def _of_classes(self, z: Tensor, block: slice) -> Tensor:
        u = z[:, None] - self.means[block]
        if self.rest is not None:
            u = u - self.rest[block] if is_kept(u) else u.sub_(self.rest[block])
        return self._norms(u, self.inverse if self.inverse.shape[0] == 1 else self.inverse[block])

    def _whitened_once(self, z: Tensor) -> Tensor:
        center = self.means.detach().mean(0)
        means = self.means - center if self.rest is None else self.means - center + self.rest
        root = self.inverse[0].T
        one = root.new_ones(1, 1)
        return Differences(matmul(means, root), None, one).squared(matmul(z - center, root))

    def _of_pairs(self, z: Tensor, rows: Tensor, classes: Tensor) -> Tensor:
        u = z.index_select(0, rows) - self.means.index_select(0, classes)
        if self.rest is not None:
            u = u - self.rest.index_select(0, classes)
        one = self.inverse.shape[0] == 1
        return self._norms(u, self.inverse if one else self.inverse.index_select(0, classes))

    def _norms(self, u: Tensor, inverse: Tensor) -> Tensor:
        white = matmul(u, inverse[0].T) if inverse.ndim == 3 else product(u, inverse)
        return squared_norms(white)


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
        n_rows = _ROWS_OF_GRAPH if torch.compiler.is_compiling() else z.shape[0]
        per_block = max(1, _BLOCK // max(1, n_rows * z.shape[1]))
        columns = []
        for first in range(0, means.shape[0], per_block):
            block = slice(first, first + per_block)
            u = x - means[block, None, :]  # (classes, N, d)
            if rest is not None:
                u = u - rest[block, None, :] if is_kept(u) else u.sub_(rest[block, None, :])
            columns.append(matmul(u, self.inverse[block].to(x.dtype).mT).square().sum(-1))
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
        # in units of the class: squares of differences may be out of range
        sizes = torch.linalg.vector_norm(u * self.sizes[own, None], dim=1)
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
