"""Flows built from normflows with the same preprocessing; ``ClassFlow`` has codecs for them."""

import normflows
import torch
from fpigauss import InvalidInputError
from torch import Tensor, nn

from nfpi.flows.base import Shape
from nfpi.flows.preprocessing import Preprocessing, make_preprocessing

__all__ = ["make_glow", "make_residual"]


class Pixels(normflows.flows.Flow):
    """Preprocessing as a layer of normflows, whose flows map latents to images."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        """Keep the preprocessing."""
        super().__init__()
        self.preprocessing = preprocessing

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map to pixels."""
        x = self.preprocessing.decode(z)
        return x, -self.preprocessing.encode(x)[1]

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map from pixels."""
        return self.preprocessing.encode(x)


class SpectralResidual(normflows.flows.Residual):
    """x + g(x), with Lipschitz bounds updated before every training batch.

    Attributes
    ----------
    trains_logdet : bool
        Whether log-determinants are estimated in train mode, or are 0.
    without_logdet : bool
        Whether they are 0 in every mode, see ``without_log_determinants``.
    judged_terms : int or None
        Terms of the series that eval mode always has, before those that are drawn; None for the
        20 of normflows. The estimate is unbiased with any number.
    """

    trains_logdet = True
    without_logdet = False
    judged_terms: int | None = None

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map from pixels, in train mode after some power iterations."""
        if self.training:
            normflows.utils.update_lipschitz(self, n_iterations=5)
        if self.without_logdet or (self.training and not self.trains_logdet):
            return self.iresblock(z), z.new_zeros(len(z))
        if not self.training and self.judged_terms is not None:
            return self._judged(z, self.judged_terms)
        x, logdet = super().inverse(z)
        return x, logdet

    def _judged(self, z: Tensor, n_always: int) -> tuple[Tensor, Tensor]:
        """Estimate by Hutchinson's trace of sum_k (-1)^(k+1) J^k / k, with a drawn end."""
        # a term after the first n_always is there with probability 1/2 of the one before it
        n_terms = n_always + int(torch.distributions.Geometric(0.5).sample()) + 1
        with torch.enable_grad():
            x = z.detach().requires_grad_()
            change = self.iresblock.nnet(x)
            noise = along = torch.randn_like(x)
            logdet = z.new_zeros(len(z))
            for k in range(1, n_terms + 1):
                (along,) = torch.autograd.grad(change, x, along, retain_graph=k < n_terms)
                weight = (-1) ** (k + 1) / k * 2.0 ** max(0, k - n_always - 1)
                logdet = logdet + weight * (along * noise).flatten(1).sum(1)
        return z + self.iresblock.nnet(z), logdet.detach()


def _check_divisible(image_shape: Shape, levels: int) -> None:
    if image_shape[1] % 2**levels or image_shape[2] % 2**levels:
        raise InvalidInputError(
            f"image_shape is {tuple(image_shape)}: {levels} levels need height and width to be "
            f"multiples of {2**levels}; resize the images, or pass fewer levels"
        )


def make_glow(
    image_shape: Shape,
    *,
    levels: int = 2,
    steps: int = 8,
    channels: int = 64,
    preprocessing: str = "scale",
    alpha: float = 0.05,
    extent: float = 0.5,
) -> normflows.MultiscaleFlow:
    """Build Glow: affine couplings of channels, LU 1x1 convolutions, a split after every level.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W); H and W must be divisible by 2 once per level.
    levels, steps, channels : int
        Levels, steps per level, and hidden channels of the couplings' networks.
    preprocessing, alpha, extent
        As in ``MatrixExpFlow``.

    Returns
    -------
    normflows.MultiscaleFlow
    """
    _check_divisible(image_shape, levels)
    n_channels, height, width = image_shape
    bases, flows, merges = [], [], []
    for i in range(levels):  # the deepest first
        depth = levels - i
        n_squeezed = n_channels * 2 ** (depth + 1)
        blocks = [normflows.flows.GlowBlock(n_squeezed, channels) for _ in range(steps)]
        flows.append([*blocks, normflows.flows.Squeeze()])
        n_latent = n_squeezed if i == 0 else n_squeezed // 2
        shape = (n_latent, height // 2**depth, width // 2**depth)
        bases.append(normflows.distributions.DiagGaussian(shape, trainable=False))
        if i > 0:
            merges.append(normflows.flows.Merge())
    pixels = Pixels(_preprocessing(preprocessing, alpha, extent))
    return normflows.MultiscaleFlow(bases, flows, merges, transform=pixels)


def make_residual(
    image_shape: Shape,
    *,
    levels: int = 2,
    steps: int = 4,
    channels: int = 64,
    lipschitz: float = 0.9,
    trains_logdet: bool = True,
    judged_terms: int | None = None,
    preprocessing: str = "scale",
    alpha: float = 0.05,
    extent: float = 0.5,
) -> normflows.NormalizingFlow:
    """Build a residual flow: x + g(x) with Lipschitz-bounded convolutions, a squeeze per level.

    Its log-determinants are unbiased estimates, random in eval mode too; its latents are exact. It
    decodes by fixed-point iteration.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W); H and W must be divisible by 2 once per level.
    levels, steps, channels : int
        Levels, residual layers per level, and hidden channels.
    lipschitz : float
        Bound on each convolution, below 1.
    trains_logdet : bool
        Estimate log-determinants in train mode too. A loss without likelihood does not need them.
    judged_terms : int, optional
        Terms of their series that eval mode always has, before those that are drawn; 20 by default.
    preprocessing, alpha, extent
        As in ``MatrixExpFlow``.

    Returns
    -------
    normflows.NormalizingFlow
    """
    _check_divisible(image_shape, levels)
    n_channels, height, width = image_shape
    layers: list[nn.Module] = [Pixels(_preprocessing(preprocessing, alpha, extent))]
    for level in range(1, levels + 1):
        n_squeezed = n_channels * 4**level
        layers.append(normflows.flows.Squeeze())
        for _ in range(steps):
            net = normflows.nets.LipschitzCNN(
                [n_squeezed, channels, channels, n_squeezed],
                [3, 1, 3],
                lipschitz_const=lipschitz,
                max_lipschitz_iter=None,
                lipschitz_tolerance=1e-3,
            )
            _measure_on(net, height // 2**level, width // 2**level)
            residual = SpectralResidual(net, reverse=True, reduce_memory=True)
            residual.trains_logdet, residual.judged_terms = trains_logdet, judged_terms
            layers += [normflows.flows.ActNorm((n_squeezed, 1, 1)), residual]
    shape = (n_channels * 4**levels, height // 2**levels, width // 2**levels)
    base = normflows.distributions.DiagGaussian(shape, trainable=False)
    return normflows.NormalizingFlow(base, layers[::-1])  # from latents to images


def _measure_on(net: nn.Module, height: int, width: int) -> None:
    """Measure the norms of convolutions on images of this size, and not of one pixel.

    Normflows takes the size from the first batch, unless norms are updated before that. Vectors of
    the final size let a state be loaded before the first batch.
    """
    for layer in net.modules():
        if isinstance(layer, normflows.nets.lipschitz.InducedNormConv2d):
            layer.spatial_dims.copy_(torch.tensor([height, width]))
    normflows.utils.update_lipschitz(net, n_iterations=5)


def _preprocessing(name: str, alpha: float, extent: float) -> Preprocessing:
    return make_preprocessing(name, **({"alpha": alpha} if name == "logit" else {"extent": extent}))
