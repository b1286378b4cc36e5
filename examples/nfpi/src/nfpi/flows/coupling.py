"""A small flow for runs on a CPU: affine couplings of pixels, with fully connected networks."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from fpigauss import InvalidInputError
from torch import Tensor, nn

from nfpi.flows.base import ImageFlow, Layers, Shape
from nfpi.flows.preprocessing import make_preprocessing

__all__ = ["AffineCoupling", "CouplingFlow"]


class AffineCoupling(nn.Module):
    """Keeps half of a vector; a network of it scales and shifts the other half.

    Parameters
    ----------
    dim : int
        Dimension of the vector.
    hidden : int
        Units per hidden layer.
    n_hidden : int
        Number of hidden layers.
    bound : float
        The logarithm of a scale stays within (-bound, bound).
    """

    def __init__(self, dim: int, hidden: int, n_hidden: int, bound: float = 2.0) -> None:
        """Start at the identity: the last layer is zero."""
        super().__init__()
        self.n_kept = dim // 2
        self.bound = bound
        layers: list[nn.Module] = []
        width = self.n_kept
        for _ in range(n_hidden):
            layers += [nn.Linear(width, hidden), nn.ReLU(inplace=True)]
            width = hidden
        last = nn.Linear(width, 2 * (dim - self.n_kept))
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.net = nn.Sequential(*layers, last)

    def _parameters_from(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(kept).to(kept.dtype).chunk(2, 1)
        return self.bound * torch.tanh(raw / self.bound), shift

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector (N, dim), and the log-determinant (N,)."""
        kept, changed = x[:, : self.n_kept], x[:, self.n_kept :]
        log_scale, shift = self._parameters_from(kept)
        return torch.cat([kept, changed * log_scale.exp() + shift], 1), log_scale.sum(1)

    def decode(self, z: Tensor) -> Tensor:
        """Invert ``encode``."""
        kept, changed = z[:, : self.n_kept], z[:, self.n_kept :]
        log_scale, shift = self._parameters_from(kept)
        return torch.cat([kept, (changed - shift) * (-log_scale).exp()], 1)


class CouplingFlow(ImageFlow):
    """Affine couplings, with random permutations of the pixels in between.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W).
    n_couplings, hidden, n_hidden : int
        Number of couplings, units per hidden layer, and hidden layers per coupling.
    preprocessing : str
        "logit" or "scale".
    alpha, extent : float
        Options of "logit" and of "scale".
    seed : int
        Seeds the permutations, which are saved with the state.
    """

    orders: Tensor
    inverses: Tensor

    def __init__(
        self,
        image_shape: Shape,
        *,
        n_couplings: int = 10,
        hidden: int = 256,
        n_hidden: int = 2,
        preprocessing: str = "logit",
        alpha: float = 0.05,
        extent: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Build the couplings."""
        dim = math.prod(image_shape)
        if dim < 2:
            raise InvalidInputError(
                f"image_shape is {tuple(image_shape)}; couplings need at least two values per image"
            )
        super().__init__(image_shape, [(dim,)])
        option = {"alpha": alpha} if preprocessing == "logit" else {"extent": extent}
        self.preprocessing = make_preprocessing(preprocessing, **option)
        self.couplings: Layers[AffineCoupling] = Layers(
            AffineCoupling(dim, hidden, n_hidden) for _ in range(n_couplings)
        )
        generator = torch.Generator().manual_seed(seed)
        orders = torch.stack([torch.randperm(dim, generator=generator) for _ in self.couplings])
        self.register_buffer("orders", orders)
        self.register_buffer("inverses", orders.argsort(1))

    def encode(self, x: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Encode to one part, a vector."""
        z, logdet = self.preprocessing.encode(x)
        z = rearrange(z, "n c h w -> n (c h w)")
        for order, coupling in zip(self.orders, self.couplings, strict=True):
            z, change = coupling.encode(z.index_select(1, order))
            logdet = logdet + change
        return [z], logdet

    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """Invert ``encode``."""
        (z,) = latents
        channels, height, _ = self.image_shape
        for inverse, coupling in zip(
            reversed(self.inverses), reversed(self.couplings), strict=True
        ):
            z = coupling.decode(z).index_select(1, inverse)
        return self.preprocessing.decode(rearrange(z, "n (c h w) -> n c h w", c=channels, h=height))
