"""Units of latents, in which squares of latents, variances and precisions are in range."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fpigauss_torch._support.distances import SquaredDistances

__all__ = ["InUnits", "Units", "are_near"]


@dataclass(frozen=True)
class Units:
    """Powers of two that means and latents are multiplied by, and inverse deviations divided by.

    They round nothing, and no distance depends on them. Along each axis they are half way, by the
    logarithm, from the smallest standard deviation of the classes to the largest. They are far
    apart, 2^32 in float32 and 2^256 in float64: standard deviations of ordinary size have none.

    Parameters
    ----------
    factors : (d,) or (1,) tensor, optional
        The powers; None where all are one.
    alike : bool
        Whether squares of latents of one class, by the precisions of another, are in range.
    """

    factors: Tensor | None = None
    alike: bool = True

    @classmethod
    def of(cls, inverse: Tensor, dtype: torch.dtype, *, may_look: bool) -> "Units":
        """Find the units for products in ``dtype``, from inverse deviations (n, d) or (n, 1).

        With ``may_look`` the values are waited for.
        """
        inverse, step = inverse.detach(), _exponents(dtype) // 4
        if may_look:
            least, most = map(float, inverse.aminmax())
            if 2.0 ** (-step / 2) <= least and most <= 2.0 ** (step / 2):
                return cls()
        logs = inverse.to(torch.promote_types(inverse.dtype, torch.float32)).abs().log2()
        smallest, largest = logs.aminmax(dim=0)
        steps = torch.round((smallest + largest) / (2 * step))
        factors = torch.exp2(step * steps.clamp(-3, 3))  # one more is beyond the range
        alike = not may_look or bool((largest - smallest).amax() <= _most(dtype))
        return cls(factors, alike)


@dataclass(frozen=True, eq=False)
class InUnits(SquaredDistances):
    """Squared distances of latents that are put in units first.

    Parameters
    ----------
    factors : (d,) or (1,) tensor
        What latents are multiplied by, in the dtype of the computation.
    distances : SquaredDistances
        What is computed in these units.
    """

    factors: Tensor
    distances: SquaredDistances

    def squared(self, z: Tensor) -> Tensor:
        """Compute squared distances (N, K) of ``z`` (N, d)."""
        return self.distances.squared(z.to(self.factors.dtype) * self.factors)


@torch.no_grad()
def are_near(means: Tensor, inverse: Tensor, dtype: torch.dtype) -> bool:
    """Return whether means (K, d) are near enough to each other for squares of what parts them.

    The values are waited for.
    """
    apart = (means - means[:1]).abs().amax(0)
    farthest = (apart * inverse.abs().amax(0).clamp_min(1.0)).amax()
    return bool(farthest <= 2.0 ** _most(dtype))


def _most(dtype: torch.dtype) -> float:
    """Return the exponent of two of the largest number whose squares are summed up."""
    return _exponents(dtype) * 7 / 16


def _exponents(dtype: torch.dtype) -> int:
    return math.frexp(torch.finfo(dtype).max)[1]
