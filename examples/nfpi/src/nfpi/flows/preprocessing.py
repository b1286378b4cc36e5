"""From pixels in [0, 1] to numbers that a flow can fit, and back."""

import math
from abc import ABC, abstractmethod

import torch
from fpigauss import InvalidInputError
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LogitPixels", "Preprocessing", "ScaledPixels", "make_preprocessing"]


class Preprocessing(nn.Module, ABC):
    """A bijection between pixels and the numbers that a flow fits."""

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers (N, C, H, W), and the log-determinant of each image (N,)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Return the pixels of such numbers."""


class ScaledPixels(Preprocessing):
    """Pixels to [-extent, extent]: an affine map, whose log-determinant is a constant.

    Parameters
    ----------
    extent : float
        Where a pixel of 1 goes.
    """

    def __init__(self, extent: float = 1.0) -> None:
        """Keep the extent."""
        super().__init__()
        self.extent = extent

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled pixels, and the log-determinant of each image."""
        logdet = math.log(2.0 * self.extent) * x[0].numel() if len(x) else 0.0
        return (2.0 * x - 1.0) * self.extent, x.new_full((len(x),), logdet)

    def decode(self, z: Tensor) -> Tensor:
        """Pixels; those of samples can lie beyond [0, 1]."""
        return (z / self.extent + 1.0) / 2.0


class LogitPixels(Preprocessing):
    """logit(alpha + (1 - 2 alpha) x): all numbers decode to pixels within the range of images.

    Parameters
    ----------
    alpha : float
        How far pixels stay from 0 and 1, where the logit is infinite: the larger, the less the
        black and the white of an image are spread out.
    """

    def __init__(self, alpha: float = 0.05) -> None:
        """Keep alpha."""
        super().__init__()
        self.alpha = alpha

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the log-determinant of each image."""
        p = self.alpha + (1.0 - 2.0 * self.alpha) * x
        z = torch.log(p) - torch.log1p(-p)
        # d logit / dp = 1 / (p (1 - p)) = exp(softplus(z) + softplus(-z))
        slope = functional.softplus(z) + functional.softplus(-z) + math.log1p(-2.0 * self.alpha)
        return z, slope.flatten(1).sum(1)

    def decode(self, z: Tensor) -> Tensor:
        """Pixels in [-alpha / (1 - 2 alpha), 1 + alpha / (1 - 2 alpha)]."""
        return (torch.sigmoid(z) - self.alpha) / (1.0 - 2.0 * self.alpha)


def make_preprocessing(name: str, **options: float) -> Preprocessing:
    """The preprocessing of a name, "scale" or "logit", with its option."""
    kinds: dict[str, type[ScaledPixels | LogitPixels]] = {
        "scale": ScaledPixels,
        "logit": LogitPixels,
    }
    if name not in kinds:
        raise InvalidInputError(f"preprocessing is {name!r}; pass one of {', '.join(kinds)}")
    return kinds[name](**options)
