"""Squared distances in float64: matrix products, and differences where these would lose digits."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fpigauss_torch._support.distances import ACCURACY, Differences, SquaredDistances
from fpigauss_torch._support.functional import is_wrapped
from fpigauss_torch._support.products import center_of, metric_of, whitened_by

__all__ = ["checked"]

#: What float64 entries may be off by, of their squared distance and d: as many roundings as in
#: float32, which is 2e-14.
_ACCURACY = ACCURACY * torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps

#: What an expanded square may be off by, of the squared norms of its row and its mean.
_ERROR_OF_SQUARES = 4.0 * 0.5 * torch.finfo(torch.float64).eps

#: From which share of all entries on it is faster to take rows about the center of a group, or the
#: differences of all.
_MANY = 0.25

#: Classes are a group where their squared distance from one of them is at most this many times d.
_NEAR = 64.0

#: How many groups of classes are looked for.
_GROUPS = 32


@dataclass(frozen=True, eq=False)
class _Checked(SquaredDistances):
    """Squares expanded about one center, |x|^2 - 2 x'P_k mu_k + |mu_k|^2, entry by entry.

    Rounding leaves an error of the size of |x|^2 + |mu_k|^2, both known. Entries that are too small
    against it are computed from differences, so that every entry is right to rounding, wherever
    the row, its class and the center are.

    Parameters
    ----------
    center : (d,) tensor
        What is subtracted from latents and means.
    scaled : (d, K) tensor
        The centered means, whitened or multiplied by the precisions.
    norms : (K,) tensor
        The squared norms of the centered means, in the metric of products.
    precisions : (d, K) tensor, optional
        The precisions, where every class has a metric of its own.
    unit : bool
        Whether products are taken in the metric of the identity, of which all are multiples.
    exact : Differences
        What gives the other entries.
    """

    center: Tensor
    scaled: Tensor
    norms: Tensor
    precisions: Tensor | None
    unit: bool
    exact: Differences

    def squared(self, z: Tensor) -> Tensor:
        """Compute squared distances (N, K) of ``z`` (N, d)."""
        z = z.to(self.center.dtype)
        if is_wrapped(z):  # values within a transform cannot be looked at
            return self.exact.squared(z)
        squared, rows, classes = self._with_lost(z)
        if rows.numel() > _MANY * squared.numel() and self._groups:
            return self._by_group(z)
        return self._filled(z, squared, rows, classes)

    def _filled(self, z: Tensor, squared: Tensor, rows: Tensor, classes: Tensor) -> Tensor:
        """Compute the entries that have lost digits from differences."""
        if rows.numel() == 0:
            return squared
        if self.exact.inverse.ndim == 2 and rows.numel() > _MANY * squared.numel():
            return self.exact.squared(z)
        return squared.index_put((rows, classes), self.exact.of_pairs(z, rows, classes))

    def _with_lost(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute squared distances (N, K), and which entries have lost digits, (M,) and (M,)."""
        size, squared = self._expanded(z - self.center)
        with torch.no_grad():
            # not "<": entries that are NaN by infinity less infinity are lost as well
            bound = torch.add(squared, self.center.shape[0]).mul_(_ACCURACY / _ERROR_OF_SQUARES)
            rows, classes = (size <= bound).logical_not_().nonzero(as_tuple=True)
        return squared, rows, classes

    def _by_group(self, z: Tensor) -> Tensor:
        """Compute squared distances (N, K), each row about the center of its nearest group."""
        groups = self._groups
        with torch.no_grad():
            centers = torch.stack([group.center for group in groups])
            nearest = self._apart(centers).squared(z.detach()).argmin(1)
            order = nearest.argsort(stable=True)
            sizes = torch.bincount(nearest, minlength=len(groups)).tolist()
        parts = zip(groups, z.index_select(0, order).split(sizes), strict=True)
        squared = [group._filled(x, *group._with_lost(x)) for group, x in parts if x.shape[0]]
        return torch.cat(squared).index_select(0, order.argsort())

    def _apart(self, points: Tensor) -> Differences:
        """Return distances to points in one metric, about that of the classes."""
        inverse = self.exact.inverse.detach()
        if inverse.ndim == 3:
            return Differences(points, None, torch.linalg.vector_norm(inverse, dim=1))
        return Differences(points, None, inverse.square().mean(0, keepdim=True).sqrt())

    @cached_property
    def _groups(self) -> "list[_Checked]":
        """The same about the centers of groups of classes; none where classes are in no groups."""
        centers: list[Tensor] = []
        with torch.no_grad():
            left = self.exact.means.detach()
            while left.shape[0] > 0:
                if len(centers) == _GROUPS:
                    return []
                squared = self._apart(left[:1]).squared(left)[:, 0]
                inside = squared <= _NEAR * left.shape[1]
                centers.append(left[inside].mean(0))
                left = left[~inside]
        tracked = torch.is_grad_enabled()
        # they are kept, and may serve a backward pass later
        with torch.inference_mode(False), torch.set_grad_enabled(tracked):
            return [_about(center.clone(), self.exact) for center in centers]

    def _expanded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute |x|^2 + |mu_k|^2 (N, K), and the squared distances (N, K) about the center."""
        inverse = self.exact.inverse
        if self.precisions is not None:
            size = torch.addmm(self.norms, x.square(), self.precisions)
            return size, torch.addmm(size, x, self.scaled, alpha=-2.0)
        white = x if self.unit else whitened_by(inverse, x)
        size = white.square().sum(-1)[:, None] + self.norms
        squared = torch.addmm(size, white, self.scaled, alpha=-2.0)
        if not self.unit:
            return size, squared
        scale = inverse.T.square()
        return size * scale, squared * scale


def checked(means: Tensor, inverse: Tensor) -> SquaredDistances:
    """Return products in float64 about one center, with differences where they need these."""
    means, inverse = means.double(), inverse.double()
    own = inverse.square() if inverse.ndim == 2 and inverse.shape[0] > 1 else None
    # classes that are far off, be they wide or few, do not draw the center away from the others
    center = means.detach().median(0).values if own is None else center_of(means, own, means.dtype)
    return _about(center, Differences(means, None, inverse))


def _about(center: Tensor, exact: Differences) -> _Checked:
    inverse = exact.inverse
    unit, one_metric = metric_of(inverse)
    centered = exact.means - center
    precisions = None if one_metric else inverse.square()
    if precisions is not None:
        scaled = precisions * centered
        norms = (scaled * centered).sum(-1)
    else:
        scaled = centered if unit else whitened_by(inverse, centered)
        norms = scaled.square().sum(-1)
    return _Checked(
        center=center,
        scaled=scaled.T,
        norms=norms,
        precisions=None if precisions is None else precisions.T,
        unit=unit,
        exact=exact,
    )
