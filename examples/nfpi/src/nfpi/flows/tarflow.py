"""The autoregressive transformer flow of Zhai et al. (2024), https://arxiv.org/abs/2412.06329."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from fpigauss import InvalidInputError
from torch import Tensor, nn
from torch.nn import functional

from nfpi.flows.base import ImageFlow, Layers, Shape
from nfpi.flows.preprocessing import make_preprocessing
from nfpi.flows.transformer import CausalTransformer, Memory

__all__ = ["TARFLOW_PRESETS", "TarFlow"]

#: Options of ``TarFlow`` by name: "tarflow16" is for gray images of 16x16 on a CPU.
TARFLOW_PRESETS: dict[str, dict[str, object]] = {
    "tarflow16": {"patch": 2, "n_blocks": 4, "n_layers": 1, "width": 64, "heads": 4},
}


class _Block(nn.Module):
    """z_0 = x_0, z_t = (x_t - mu) exp(-alpha): mu and alpha depend on the patches before t."""

    def __init__(self, transformer: CausalTransformer, *, backward: bool) -> None:
        super().__init__()
        self.transformer = transformer
        self.order = -1 if backward else 1

    def _ordered(self, x: Tensor) -> Tensor:
        return x.flip(1) if self.order < 0 else x

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return patches (N, T, C), and the log-determinant (N,): all patches in one pass."""
        x = self._ordered(x)
        mu, alpha = self.transformer.forward(x[:, :-1])
        # nothing precedes the first patch, which stays as it is
        mu, alpha = (functional.pad(each, (0, 0, 1, 0)) for each in (mu, alpha))
        return self._ordered((x - mu) * (-alpha).exp()), -alpha.sum((1, 2))

    def decode(self, z: Tensor) -> Tensor:
        """Invert ``encode``, one patch after the other."""
        z = self._ordered(z)
        memories = [Memory() for _ in self.transformer.layers]
        patches = [z[:, :1]]
        for place in range(z.shape[1] - 1):
            mu, alpha = self.transformer.forward(patches[-1], memories, place)
            patches.append(z[:, place + 1 : place + 2] * alpha.exp() + mu)
        return self._ordered(torch.cat(patches, 1))


class TarFlow(ImageFlow):
    """Blocks that map each patch of an image given the patches before it, in alternating order.

    Decoding is sequential: a pass per patch and block, each over one patch.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W).
    patch : int
        Width and height of a patch, which divide those of the image.
    n_blocks, n_layers : int
        Number of blocks, and of layers in the transformer of each.
    width, heads : int
        Width of the transformers, and heads of their attention, which divide it.
    preprocessing : str
        "logit" or "scale".
    alpha, extent : float
        Options of "logit" and of "scale".
    """

    def __init__(
        self,
        image_shape: Shape,
        *,
        patch: int = 2,
        n_blocks: int = 4,
        n_layers: int = 2,
        width: int = 64,
        heads: int = 4,
        preprocessing: str = "logit",
        alpha: float = 0.05,
        extent: float = 1.0,
    ) -> None:
        """Build the blocks."""
        _, height, length = image_shape
        if height % patch or length % patch:
            raise InvalidInputError(
                f"image_shape is {tuple(image_shape)}: patches of {patch}x{patch} need height and "
                f"width to be multiples of {patch}; resize the images, or pass another patch"
            )
        if width % heads:
            raise InvalidInputError(
                f"width is {width}, not a multiple of heads, {heads}; pass a multiple"
            )
        dim = math.prod(image_shape)
        n_patches = (height // patch) * (length // patch)
        if n_patches < 2:
            raise InvalidInputError(
                f"image_shape is {tuple(image_shape)}: one patch of {patch}x{patch} has nothing to "
                "depend on; pass a smaller patch"
            )
        super().__init__(image_shape, [(n_patches, dim // n_patches)])
        self.patch = patch
        option = {"alpha": alpha} if preprocessing == "logit" else {"extent": extent}
        self.preprocessing = make_preprocessing(preprocessing, **option)
        size = {"width": width, "n_layers": n_layers, "heads": heads}
        self.blocks: Layers[_Block] = Layers(
            _Block(CausalTransformer(n_patches, dim // n_patches, **size), backward=i % 2 > 0)
            for i in range(n_blocks)
        )

    def encode(self, x: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Encode to one part, the latents of all patches."""
        z, logdet = self.preprocessing.encode(x)
        z = rearrange(z, "n c (h a) (w b) -> n (h w) (a b c)", a=self.patch, b=self.patch)
        for block in self.blocks:
            z, change = block.encode(z)
            logdet = logdet + change
        return [z], logdet

    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """Invert ``encode``."""
        (x,) = latents
        for block in reversed(self.blocks):
            x = block.decode(x)
        height = self.image_shape[1] // self.patch
        x = rearrange(x, "n (h w) (a b c) -> n c (h a) (w b)", h=height, a=self.patch, b=self.patch)
        return self.preprocessing.decode(x)
