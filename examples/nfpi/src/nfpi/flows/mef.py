"""The matrix-exponential Glow of Xiao and Liu (2020), https://arxiv.org/abs/2007.09651."""

from collections.abc import Sequence

import torch
from einops import rearrange
from fpigauss import InvalidInputError
from torch import Tensor, nn

from nfpi.flows.base import ImageFlow, Layers, Shape
from nfpi.flows.layers import ActNorm, MatrixExpConv, MatrixExpCoupling
from nfpi.flows.preprocessing import make_preprocessing

__all__ = ["MEF_PRESETS", "MatrixExpFlow"]

#: Options of ``MatrixExpFlow`` by name. "mef32" is the paper's, for 32x32 color images.
MEF_PRESETS: dict[str, dict[str, object]] = {
    "mef16": {"steps": 4, "blocks": (1, 1), "channels": 32},
    "mef28": {"steps": 8, "blocks": (4, 2), "channels": 64},
    "mef32": {"steps": 8, "blocks": (8, 4, 2), "channels": 128},
    "mef64": {"steps": 8, "blocks": (8, 4, 2, 2), "channels": 128},
}


class _Step(nn.Module):
    """ActNorm, 1x1 convolution and coupling."""

    def __init__(self, shape: Shape, channels: int, n_blocks: int, matrix: str) -> None:
        super().__init__()
        self.norm = ActNorm(shape)
        self.mixing = MatrixExpConv(shape[0])
        self.coupling = MatrixExpCoupling(shape[0], channels, n_blocks, matrix)

    def initialize(self, x: Tensor) -> Tensor:
        """Set the layers from a batch, and return their output."""
        self.norm.initialize(x)
        x, _ = self.norm.encode(x)
        x, _ = self.mixing.encode(x)
        self.coupling.initialize(x)
        return self.coupling.encode(x)[0]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, of_norm = self.norm.encode(x)
        x, of_mixing = self.mixing.encode(x)
        x, of_coupling = self.coupling.encode(x)
        return x, of_coupling + (of_norm + of_mixing)

    def decode(self, z: Tensor) -> Tensor:
        return self.norm.decode(self.mixing.decode(self.coupling.decode(z)))


class MatrixExpFlow(ImageFlow):
    """Levels of actnorm, 1x1 convolution and coupling; the latter two use matrix exponentials.

    Each level starts by squeezing 2x2 pixels into channels; after every level but the last, half of
    the channels leave as latents.

    The first batch encoded in train mode, of 8 images or more, initializes the layers. With several
    processes, encode one before distributing the flow: otherwise each process uses its own.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W); H and W must be divisible by 2 once per level.
    blocks : sequence of int
        Residual blocks in each coupling's network, one number per level.
    steps : int
        Steps per level.
    channels : int
        Channels of the residual blocks.
    matrix : {"bounded", "released"}
        How a coupling's matrices follow from its network: squashed to a norm of 2, or by a tanh
        with trained numbers as in the authors' code.
    preprocessing : str
        "scale" or "logit".
    alpha, extent : float
        Options of "logit" and of "scale".
    """

    initialised: Tensor  # spelled as in saved states

    def __init__(
        self,
        image_shape: Shape,
        *,
        blocks: Sequence[int] = (8, 4, 2),
        steps: int = 8,
        channels: int = 128,
        matrix: str = "bounded",
        preprocessing: str = "scale",
        alpha: float = 0.05,
        extent: float = 0.5,
    ) -> None:
        """Build the levels."""
        n_channels, height, width = image_shape
        factor = 2 ** len(blocks)
        if height % factor or width % factor:
            raise InvalidInputError(
                f"image_shape is {tuple(image_shape)}: {len(blocks)} levels need height and width "
                f"to be multiples of {factor}; resize the images, or pass fewer blocks"
            )
        levels: list[Layers[_Step]] = []
        shapes: list[Shape] = []
        for level, n_blocks in enumerate(blocks, 1):
            shape = (4 * n_channels, height // 2**level, width // 2**level)
            levels.append(Layers(_Step(shape, channels, n_blocks, matrix) for _ in range(steps)))
            n_channels = shape[0] // 2
            shapes.append((n_channels, *shape[1:]) if level < len(blocks) else shape)
        super().__init__(image_shape, shapes)
        option = {"alpha": alpha} if preprocessing == "logit" else {"extent": extent}
        self.preprocessing = make_preprocessing(preprocessing, **option)
        self.levels: Layers[Layers[_Step]] = Layers(levels)
        self.register_buffer("initialised", torch.tensor(False))
        self._settled = False  # the buffer is read once: on a GPU each look at it would wait
        self.register_load_state_dict_post_hook(_unsettle)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set all layers from a batch of images."""
        x, _ = self.preprocessing.encode(x)
        for level, steps in enumerate(self.levels, 1):
            x = _squeezed(x)
            for step in steps:
                x = step.initialize(x)
            if level < len(self.levels):
                x, _ = x.chunk(2, 1)
        self.initialised.fill_(True)

    def encode(self, x: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Encode to the latents of every level, the finest first."""
        if self.training and not self._settled:
            if not self.initialised:
                self.initialize(x)
            self._settled = True
        x, logdet = self.preprocessing.encode(x)
        latents = []
        for level, steps in enumerate(self.levels, 1):
            x = _squeezed(x)
            for step in steps:
                x, change = step.encode(x)
                logdet = logdet + change
            if level < len(self.levels):
                x, leaving = x.chunk(2, 1)
                latents.append(leaving)
        return [*latents, x], logdet

    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """Invert ``encode``."""
        *leaving, x = latents
        for level, steps in reversed(list(enumerate(self.levels))):
            if level < len(leaving):
                x = torch.cat([x, leaving[level]], 1)
            for step in reversed(steps):
                x = step.decode(x)
            x = rearrange(x, "n (c a b) h w -> n c (h a) (w b)", a=2, b=2)
        return self.preprocessing.decode(x)


def _squeezed(x: Tensor) -> Tensor:
    """Return blocks of 2x2 pixels as channels."""
    return rearrange(x, "n c (h a) (w b) -> n (c a b) h w", a=2, b=2)


def _unsettle(flow: MatrixExpFlow, _: object) -> None:
    """Look at the buffer again: a loaded state may be from before the first batch, or after."""
    flow._settled = False
