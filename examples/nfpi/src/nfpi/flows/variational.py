"""A variational autoencoder in the place of a flow: its latents carry the class Gaussians."""

import math
from collections.abc import Sequence

import torch
from fpigauss import InvalidInputError
from torch import Tensor, nn
from torch.nn import functional

from nfpi.flows.base import ImageFlow, Shape

__all__ = ["VariationalFlow", "log_prob_of_levels"]

#: Gray levels, and the range of a pixel's scale.
_LEVELS, _SCALES = 256, (1e-3, 1.0)


class VariationalFlow(ImageFlow):
    r"""An encoder q(z|x) and a decoder p(x|z) with fewer latents than pixels.

    ``encode`` draws z from q and returns log p(x|z) - log q(z|x) as the log-determinant. Its sum
    with log p(z|y) is a draw whose mean is the evidence lower bound of log p(x|y), so that whatever
    trains and judges a flow trains this autoencoder by the bound, over any class Gaussians.
    Likelihoods are lower bounds, and each has the randomness of one draw.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W); H and W must be divisible by 4.
    latents, channels, hidden : int
        Dimension of the latents, channels of the first convolution (the second has twice as many),
        and units of the hidden layers.
    """

    def __init__(
        self, image_shape: Shape, *, latents: int = 32, channels: int = 32, hidden: int = 256
    ) -> None:
        """Build both networks."""
        n_channels, height, width = image_shape
        if height % 4 or width % 4:
            raise InvalidInputError(
                f"image_shape is {tuple(image_shape)}: a variational autoencoder needs height and "
                "width to be multiples of 4; resize the images"
            )
        super().__init__(image_shape, [(latents,)])
        inner = (2 * channels, height // 4, width // 4)
        n_inner = math.prod(inner)
        self.encoder = nn.Sequential(
            nn.Conv2d(n_channels, channels, 4, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 2 * channels, 4, 2, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(n_inner, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, 2 * latents),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latents, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, n_inner),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, inner),
            nn.ConvTranspose2d(2 * channels, channels, 4, 2, 1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(channels, 2 * n_channels, 4, 2, 1),
        )

    def encode(self, x: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Return a draw z (N, latents), and log p(x|z) - log q(z|x) (N,)."""
        mean, raw = self.encoder(2.0 * x - 1.0).chunk(2, 1)
        log_std = raw.clamp(-8.0, 4.0)
        noise = torch.randn_like(mean)
        log_q = -(0.5 * noise.square() + log_std + 0.5 * math.log(2.0 * math.pi)).sum(1)
        z = mean + log_std.exp() * noise
        log_p = log_prob_of_levels(x, *self._pixels(z)).flatten(1).sum(1)
        return [z], log_p - log_q

    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """Return the middle of p(x|z)."""
        (z,) = latents
        return self._pixels(z)[0]

    def _pixels(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return location and log-scale of every pixel."""
        raw_location, raw_scale = self.decoder(z).chunk(2, 1)
        low, high = map(math.log, _SCALES)
        return torch.sigmoid(raw_location), low + (high - low) * torch.sigmoid(raw_scale)


def log_prob_of_levels(x: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """Compute the log-density of pixels under a logistic distribution rounded to gray levels.

    Within a level the density is constant; the first and the last level have the tails. It is a
    density on [0, 1), like that of a flow of dequantized images.

    Parameters
    ----------
    x, location, log_scale : tensors of one shape
        Pixels in [0, 1), and the distribution's parameters.

    Returns
    -------
    tensor of that shape
    """
    level = (_LEVELS * x).floor().clamp(0, _LEVELS - 1)
    inverse = (-log_scale).exp()
    lower, upper = ((level + end) / _LEVELS - location for end in (0.0, 1.0))
    below_upper = functional.logsigmoid(upper * inverse)  # log of what lies below the upper end
    above_lower = functional.logsigmoid(-lower * inverse)
    # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b))
    width = torch.log(-torch.expm1(-inverse / _LEVELS))
    inner = below_upper + above_lower + width
    log_share = torch.where(
        level == 0, below_upper, torch.where(level == _LEVELS - 1, above_lower, inner)
    )
    return log_share + math.log(_LEVELS)
