"""The causal transformer inside the blocks of the autoregressive flow of patches."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from nfpi.flows.base import Layers

__all__ = ["CausalTransformer", "Memory"]


class Memory:
    """Keys and values of the patches that a layer has seen, so that none is computed twice."""

    def __init__(self) -> None:
        """Start before the first patch."""
        self._seen: tuple[Tensor, Tensor] | None = None

    def extended(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of the next patches, (N, heads, patches, width), and return all."""
        if self._seen is not None:
            keys, values = (
                torch.cat(pair, 2) for pair in zip(self._seen, (keys, values), strict=True)
            )
        self._seen = keys, values
        return keys, values


class _Layer(nn.Module):
    """Causal attention and a fully connected network, each added to what it takes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.net = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, h: Tensor, memory: Memory | None) -> Tensor:
        """Map (N, patches, width); with a memory these are the next patch alone."""
        queries, keys, values = rearrange(
            self.attention(self.norm(h)),
            "n t (three heads c) -> three n heads t c",
            three=3,
            heads=self.heads,
        )
        if memory is not None:
            keys, values = memory.extended(keys, values)
        attended = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=memory is None
        )
        h = h + self.merge(rearrange(attended, "n heads t c -> n t (heads c)"))
        refined: Tensor = h + self.net(h)
        return refined


class CausalTransformer(nn.Module):
    """Predicts two vectors for the patch after each patch, from it and those before it.

    Parameters
    ----------
    n_patches, patch_dim : int
        Patches per image, and numbers per patch.
    width, n_layers, heads : int
        Width, number of layers, and heads of the attention, which divide the width.
    """

    def __init__(
        self, n_patches: int, patch_dim: int, *, width: int, n_layers: int, heads: int
    ) -> None:
        """Start with predictions of zero: the last layer is zero."""
        super().__init__()
        self.enter = nn.Linear(patch_dim, width)
        self.places = nn.Parameter(0.02 * torch.randn(n_patches, width))
        self.layers: Layers[_Layer] = Layers(_Layer(width, heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, 2 * patch_dim)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, x: Tensor, memories: list[Memory] | None = None, first: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Map patches (N, T, patch_dim) to two predictions (N, T, patch_dim).

        With memories, one per layer, pass one patch at a time, with its place as ``first``.
        """
        h = self.enter(x) + self.places[first : first + x.shape[1]]
        each = [None] * len(self.layers) if memories is None else memories
        for layer, memory in zip(self.layers, each, strict=True):
            h = layer.forward(h, memory)
        one, two = self.leave(self.norm(h)).to(x.dtype).chunk(2, 2)
        return one, two
