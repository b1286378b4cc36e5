"""Map pixels in [0, 1] to numbers that a flow can fit, and back."""

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
    """An affine map of pixels to [-extent, extent], with a constant log-determinant.

    Parameters
    ----------
    extent : float
        The value of a pixel of 1.
    """

    def __init__(self, extent: float = 1.0) -> None:
        """Keep the extent."""
        super().__init__()
        self.extent = extent

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scaled pixels, and the log-determinant of each image."""
        logdet = math.log(2.0 * self.extent) * x[0].numel() if len(x) else 0.0
        return (2.0 * x - 1.0) * self.extent, x.new_full((len(x),), logdet)

    def decode(self, z: Tensor) -> Tensor:
        """Return pixels; those of samples can lie outside [0, 1]."""
        return (z / self.extent + 1.0) / 2.0


class LogitPixels(Preprocessing):
    """logit(alpha + (1 - 2 alpha) x): all numbers decode to pixels near the range of images.

    Parameters
    ----------
    alpha : float
        Distance of pixels from 0 and 1, where the logit is infinite. The larger it is, the less the
        black and white of an image are spread out.
    """

    def __init__(self, alpha: float = 0.05) -> None:
        """Keep alpha."""
        super().__init__()
        self.alpha = alpha

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and the log-determinant of each image."""
        p = self.alpha + (1.0 - 2.0 * self.alpha) * x
        z = torch.log(p) - torch.log1p(-p)
        # d logit / dp = 1 / (p (1 - p)) = exp(softplus(z) + softplus(-z))
        slope = functional.softplus(z) + functional.softplus(-z) + math.log1p(-2.0 * self.alpha)
        return z, slope.flatten(1).sum(1)

    def decode(self, z: Tensor) -> Tensor:
        """Return pixels in [-alpha / (1 - 2 alpha), 1 + alpha / (1 - 2 alpha)]."""
        return (torch.sigmoid(z) - self.alpha) / (1.0 - 2.0 * self.alpha)


def make_preprocessing(name: str, **options: float) -> Preprocessing:
    """Build a preprocessing, "scale" or "logit", with its option."""
    kinds: dict[str, type[ScaledPixels | LogitPixels]] = {
        "scale": ScaledPixels,
        "logit": LogitPixels,
    }
    if name not in kinds:
        raise InvalidInputError(f"preprocessing is {name!r}; pass one of {', '.join(kinds)}")
    return kinds[name](**options)
