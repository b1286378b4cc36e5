"""The directions in which the classes vary most."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fpigauss import ClassGaussians, InvalidInputError
from fpigauss_torch._support import as_integer, matmul, under_compile
from fpigauss_torch.gaussians import LatentGaussians
from fpigauss_torch.prior import LatentPrior

__all__ = ["PrincipalAxes", "check_n_axes", "prior_of"]

#: Maps the axes (d, m) of a class and its rows to new rows (n, d).
_OfClass = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """The principal axes of every class's Gaussian: eigenvectors of the largest variances.

    For diagonal covariances they are coordinate axes. Axes of equal variance, as all are in an
    isotropic covariance, come in the order of the coordinates.

    Parameters
    ----------
    scales : (n, m) tensor
        Standard deviations along the axes, descending; n is 1 where all classes share them, else
        the number of classes.
    axes : tensor
        (n, m) int64, the coordinates that are the axes; or (n, d, m), orthonormal columns.
    n_classes, dim : int
        K and d.

    See Also
    --------
    mix_within_class : mixes in their span.
    noise_along_axes : adds noise along them.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import LatentGaussians, PrincipalAxes
    >>> z = torch.tensor([[0.0, 0.0, 0.0], [4.0, 2.0, 6.0], [1.0, 0.0, 0.0], [9.0, 2.0, 4.0]])
    >>> y = torch.tensor([0, 0, 1, 1])
    >>> gaussians = LatentGaussians(2, 3, "diagonal", tied=False)
    >>> result = gaussians.fit_(z, y, lam=0.0)
    >>> PrincipalAxes.of(gaussians, 2).axes
    tensor([[2, 0],
            [0, 2]])
    """

    scales: Tensor
    axes: Tensor
    n_classes: int
    dim: int

    @classmethod
    @torch.no_grad()
    def of(cls, gaussians: LatentPrior | ClassGaussians, n_axes: int) -> Self:
        """Compute the axes of Gaussians as they are now.

        Parameters
        ----------
        gaussians : LatentPrior or ClassGaussians
            Gaussians of K classes in d dimensions.
        n_axes : int
            How many axes per class, 1..d.

        Returns
        -------
        PrincipalAxes

        Raises
        ------
        InvalidInputError
            If ``n_axes`` is out of range, or ``gaussians`` is something else.
        """
        prior = prior_of(gaussians)
        n_axes = check_n_axes(n_axes, prior.dim)
        density = prior.density()
        if density.inverse.ndim == 2:
            deviations = density.inverse.reciprocal().expand(-1, prior.dim)
            scales, axes = deviations.sort(dim=1, descending=True, stable=True)
            return cls(
                scales[:, :n_axes].clone(), axes[:, :n_axes].clone(), prior.n_classes, prior.dim
            )
        identity = torch.eye(prior.dim, dtype=density.means.dtype, device=density.means.device)
        of_classes = []
        for code in range(density.inverse.shape[0]):
            own = torch.full((prior.dim,), code, device=density.means.device)
            root = prior.color(identity, own).mT
            variances, vectors = torch.linalg.eigh(root @ root.mT)
            largest = slice(prior.dim - n_axes, None)  # eigenvalues ascend
            # copies: a slice would keep all d axes of every class in memory
            axes = vectors[:, largest].flip(1).contiguous()
            of_classes.append((variances[largest].flip(0).clamp_min(0.0).sqrt(), axes))
        scales, axes = (torch.stack(parts) for parts in zip(*of_classes, strict=True))
        return cls(scales, axes, prior.n_classes, prior.dim)

    @property
    def n_axes(self) -> int:
        """How many axes each class has."""
        return int(self.scales.shape[1])

    @property
    def device(self) -> torch.device:
        """The device of the axes."""
        return self.scales.device

    def project(self, x: Tensor, labels: Tensor) -> Tensor:
        """Project every row onto the span of its class's axes.

        Parameters
        ----------
        x : (N, d) tensor
            Vectors, such as differences of latents.
        labels : (N,) int64 tensor
            Classes 0..K-1.

        Returns
        -------
        (N, d) tensor
        """
        own = self._own(labels)
        if self.axes.ndim == 2:
            coordinates = self.axes[own]
            return torch.zeros_like(x).scatter(1, coordinates, x.gather(1, coordinates))
        return self._by_class(x, own, lambda axes, rows: matmul(matmul(rows, axes), axes.mT))

    def color(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Turn noise into steps along the axes, scaled by the standard deviations along them.

        Parameters
        ----------
        noise : (N, m) tensor
            One number per axis.
        labels : (N,) int64 tensor
            Classes 0..K-1.

        Returns
        -------
        (N, d) tensor
        """
        own = self._own(labels)
        steps = noise * self.scales[own].to(noise.dtype)
        if self.axes.ndim == 2:
            along = noise.new_zeros(noise.shape[0], self.dim)
            return along.scatter(1, self.axes[own], steps)
        return self._by_class(steps, own, lambda axes, rows: matmul(rows, axes.mT))

    def _own(self, labels: Tensor) -> Tensor:
        return torch.zeros_like(labels) if self.scales.shape[0] == 1 else labels

    def _by_class(self, x: Tensor, own: Tensor, function: _OfClass) -> Tensor:
        result = x.new_zeros(x.shape[0], self.dim)
        for code in own.unique().tolist():  # one (d, m) matrix per row would be far larger
            rows = own == code
            result[rows] = function(self.axes[code].to(x.dtype), x[rows])
        return result


def prior_of(gaussians: LatentPrior | ClassGaussians) -> LatentPrior:
    """Return Gaussians of the core or of this package as a prior."""
    gaussians = under_compile(gaussians)
    if isinstance(gaussians, LatentPrior):
        return gaussians
    if isinstance(gaussians, ClassGaussians):
        return LatentGaussians.from_class_gaussians(gaussians)
    raise InvalidInputError(
        f"gaussians is a {type(gaussians).__name__}; pass LatentGaussians, another prior, or "
        "ClassGaussians"
    )


def check_n_axes(n_axes: object, most: int) -> int:
    """Check that ``n_axes`` is an integer, 1..``most``."""
    number = as_integer(n_axes)
    if number is None or not 1 <= number <= most:
        raise InvalidInputError(f"n_axes is {n_axes!r}; pass an int from 1 to {most}")
    return number
