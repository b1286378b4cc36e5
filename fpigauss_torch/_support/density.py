"""Log-densities of class Gaussians, on tensors.

They are separate from the core's: without host synchronization, or namespaces to resolve, they can
be compiled and trained through.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fpigauss_torch._support.functional import is_mapped, is_wrapped

__all__ = ["ClassDensity", "mixture", "weighted", "working_dtype"]

#: How many numbers one block of a dense family's whitening may have.
_BLOCK = 2**24

#: Where the center is the reference along an axis: the variance is this many times that of another
#: class, and the mean less than so many standard deviations away.
_WITHIN = 10.0
_WIDER = 100.0

#: The logarithm of the largest ratio of likelihoods, for the gradients of weights of zero.
_LARGEST_LOG = 80.0

#: How many numbers the rows of one block may have, to stay in a processor's cache.
_BLOCK_OF_ROWS = 2**17

#: To how many dimensions latents are reduced to find a mean near them.
_SKETCH = 16


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
        """Compute log N_y(z) (N, K) of ``z`` (N, d), by products of differences.

        Squares that are expanded about one center lose every digit where classes are far apart
        against their width. Here every row is taken relative to a mean nearby, mu_r; with
        u = z - mu_r, and P_k the precisions of class k::

            |z - mu_k|^2 = |u|^2 + 2 u'P_k (mu_r - mu_k) + |mu_r - mu_k|^2,

        so that products have errors that are linear in the means, as rounding the means has; the
        last term is a table (K, K) in float64. Which mean is taken changes rounding alone.
        """
        with torch.autocast(z.device.type, enabled=False):
            if self._dense and not self._tied:
                squared = self._by_blocks_of_classes(*self._centered(z))
            else:
                squared = self._relative_to(self._prepared(working_dtype(z)), z)
            return self._log_normalizers().to(squared.dtype) - 0.5 * squared

    def of_labels(self, z: Tensor, labels: Tensor) -> Tensor:
        """Compute log N_y(z) (N,) of the classes ``labels`` (N,), from differences."""
        with torch.autocast(z.device.type, enabled=False):
            unsorted = torch.compiler.is_compiling() or is_mapped(labels)
            if self._dense and not self._tied and unsorted:
                # rows cannot be sorted by class within one graph, or within vmap
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

    def _prepared(self, dtype: torch.dtype) -> "_Prepared":
        """Return what products need of the Gaussians, kept until one of their tensors changes."""
        parts = (self.means, self.inverse)
        if torch.compiler.is_compiling() or any(
            p.requires_grad or p.is_inference() or is_wrapped(p) for p in parts
        ):
            return _prepare(self.means, self.inverse, dtype)
        key = (dtype, *(part._version for part in parts))
        kept: tuple[Any, _Prepared] | None = self.__dict__.get("_kept")
        if kept is None or kept[0] != key:
            with torch.inference_mode(False), torch.no_grad():
                kept = key, _prepare(self.means, self.inverse, dtype)
            object.__setattr__(self, "_kept", kept)
        return kept[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def _relative_to(self, ready: "_Prepared", z: Tensor) -> Tensor:
        """Compute squared distances (N, K) by differences from a mean that is near."""
        x = z.to(ready.center.dtype) - ready.center
        with torch.no_grad():
            sketched = (x @ ready.sketch).to(ready.sketched.dtype)
            own = torch.addmm(ready.norms, sketched, ready.sketched, alpha=-2.0).argmin(1)
        between = ready.between.index_select(0, own)
        u = ready.references.index_select(0, own).sub_(x)
        if ready.precisions is None:
            white = u if self._unit else _whitened(ready.inverse, u)
            products = white @ ready.scaled
            to_own = _squared_norms(white) - 2.0 * products.gather(1, own[:, None])[:, 0]
            squared = torch.add(between, products, alpha=2.0) + to_own[:, None]
        else:
            squares = _product(torch.add(u, x, alpha=2.0), u)
            squared = torch.addmm(between, squares, ready.precisions, alpha=-1.0)
            squared = torch.addmm(squared, u, ready.scaled, alpha=2.0)
        squared = self._with_smallest(ready, x.detach(), squared)
        return squared * ready.inverse.square() if self._unit else squared

    @torch.no_grad()
    def _smallest(self, ready: "_Prepared", x: Tensor, own: Tensor) -> Tensor:
        """Compute the squared distances (N,) from the means of the classes ``own``."""
        rows = max(1, x.shape[0] if _kept(x) else _BLOCK_OF_ROWS // x.shape[1])
        blocks = zip(x.split(rows), own.split(rows), strict=True)
        return torch.cat([_squared_norms(self._whitened_from(ready, *block)) for block in blocks])

    def _with_smallest(self, ready: "_Prepared", x: Tensor, squared: Tensor) -> Tensor:
        """Replace the smallest distance of each row by that from its own mean, in value.

        The derivative stays that of the products, from which only rounding differs.
        """
        own = squared.detach().argmin(1, keepdim=True)
        found = squared.gather(1, own)
        exact = self._smallest(ready, x, own[:, 0])[:, None] + (found - found.detach())
        # squares that have overflowed stay so, with their derivatives
        return squared.scatter(1, own, torch.where(found.isfinite(), exact, found))

    def _whitened_from(self, ready: "_Prepared", x: Tensor, own: Tensor) -> Tensor:
        """Whiten the differences of rows from the means of the classes ``own``."""
        u = ready.means.detach().index_select(0, own).sub_(x)
        inverse = ready.inverse.detach()
        if ready.precisions is not None:
            return _product(u, inverse.index_select(0, own))
        return u if self._unit else _whitened(inverse, u)

    @property
    def _unit(self) -> bool:
        """Whether products are taken in the metric of the identity, of which all are multiples."""
        return self.inverse.ndim == 2 and self.inverse.shape[1] == 1

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


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What products of differences need of the Gaussians.

    Parameters
    ----------
    center : (d,) tensor
        What is subtracted from latents and means.
    means : (K, d) tensor
        The centered means.
    references : (n, d) tensor
        Points that latents are taken relative to: these means, where metrics differ only along the
        axes where they are narrow, and then the center too.
    sketch : (d, t) tensor
        What latents are multiplied by to find the reference that is nearest, about.
    sketched, norms : (t, n) and (n,) tensors
        The references, multiplied so, and their squared norms.
    between : (n, K) tensor
        Squared distances of references to means, in the metric of the mean's class.
    scaled : (d, K) tensor
        The means, whitened or multiplied by the precisions.
    inverse : tensor
        F^-1, as (1, n) where it is a multiple of the identity.
    precisions : (d, K) tensor, optional
        The precisions, where every class has a metric of its own.
    """

    center: Tensor
    means: Tensor
    references: Tensor
    sketch: Tensor
    sketched: Tensor
    norms: Tensor
    between: Tensor
    scaled: Tensor
    inverse: Tensor
    precisions: Tensor | None


def _prepare(means: Tensor, inverse: Tensor, dtype: torch.dtype) -> _Prepared:
    wide = torch.float32 if means.device.type == "mps" else torch.float64
    inverse = inverse.to(wide)
    unit = inverse.shape[1:] == (1,)
    one_metric = unit or inverse.shape[0] == 1
    signs = _signs(means.shape[1], means.device).to(wide)
    with torch.no_grad():
        if one_metric:
            center = means.mean(0)
            if inverse.ndim == 3:
                sketch = inverse[0].T @ signs
            else:
                sketch = signs if unit else inverse[0][:, None] * signs
        else:
            precisions = inverse.square()
            # classes that are narrow along an axis have the center near them
            center = (precisions * means).sum(0) / precisions.sum(0)
            sketch = precisions.mean(0).sqrt()[:, None] * signs
        center = center.to(dtype)
    means = means.to(wide) - center.to(wide)
    if one_metric:
        references = means
        scaled = means if unit else _whitened(inverse, means.clone())
        norms = scaled.square().sum(-1)
        between = torch.addmm(norms[:, None] + norms, scaled, scaled.T, alpha=-2.0)
    else:
        precisions = inverse.square()
        # along an axis where a class is wider than another, and the center is within its width, the
        # center is the better reference: latents are near it, or far from what is narrow
        wide_there = precisions * _WIDER < precisions.amax(0)
        near_there = precisions * means.square() < _WITHIN**2
        own_mean = ~(wide_there & near_there)
        # points, wherever they are: no derivative goes through them
        references = torch.cat([means * own_mean, torch.zeros_like(means[:1])]).detach()
        scaled = precisions * means
        between = torch.addmm((scaled * means).sum(-1), references, scaled.T, alpha=-2.0)
        between = torch.addmm(between, references.square(), precisions.T)
    with torch.no_grad():
        sketched = references @ sketch.to(dtype).to(wide)
    return _Prepared(
        center=center,
        means=means.to(dtype),
        references=references.to(dtype),
        sketch=sketch.to(dtype),
        sketched=sketched.T,
        norms=sketched.square().sum(-1),
        between=between.to(dtype),
        scaled=scaled.to(dtype).T,
        inverse=inverse.T.to(dtype) if unit else inverse.to(dtype),
        precisions=None if one_metric else precisions.to(dtype).T,
    )


def _kept(*tensors: Tensor) -> bool:
    """Return whether a backward pass may need what is computed from these tensors."""
    return torch.compiler.is_compiling() or any(x.requires_grad or is_wrapped(x) for x in tensors)


def _product(x: Tensor, y: Tensor) -> Tensor:
    """Multiply ``x`` by ``y``, in place where that is possible."""
    return x * y if _kept(x, y) else x.mul_(y)


def _squared_norms(x: Tensor) -> Tensor:
    if _kept(x):  # the second derivative of a norm does not exist at zero
        return x.square().sum(-1)
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return norms * norms


def _signs(dim: int, device: torch.device) -> Tensor:
    """Return fixed random signs (d, t): products with them about keep the order of distances."""
    bits = torch.arange(1, dim * _SKETCH + 1, device=device) * 0x9E3779B1 & 0xFFFFFFFF
    bits = (bits ^ (bits >> 15)) * 0x85EBCA6B & 0xFFFFFFFF
    return (2 * ((bits ^ (bits >> 13)) >> 7 & 1) - 1).reshape(dim, _SKETCH)


def _whitened(inverse: Tensor, x: Tensor) -> Tensor:
    """Whiten rows (N, d) by the one F^-1 that all classes share."""
    return x @ inverse[0].T if inverse.ndim == 3 else _product(x, inverse)
