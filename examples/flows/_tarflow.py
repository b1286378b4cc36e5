"""TarFlow, an autoregressive flow of patches, from the equations of its paper.

Zhai et al. (2024), "Normalizing Flows are Capable Generative Models",
https://arxiv.org/abs/2412.06329. The interface is the one that `TarFlowCodec` is for: ``forward``
returns log-determinants divided by the number of dimensions, ``reverse`` takes latents to images.
"""

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional


class Layer(nn.Module):
    """A layer of a transformer in which a patch sees itself and those before it."""

    def __init__(self, width, heads):
        """Build attention and network."""
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.net = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, h, cache=None):
        """Map (N, T, width). With a cache, a list of keys and values, h is the next patch alone."""
        parts = "n t (three heads c) -> three n heads t c"
        query, *seen = rearrange(self.attention(self.norm(h)), parts, three=3, heads=self.heads)
        if cache is not None:
            seen = [torch.cat(both, 2) for both in zip(cache, seen, strict=True)] if cache else seen
            cache[:] = seen
        attended = functional.scaled_dot_product_attention(query, *seen, is_causal=cache is None)
        h = h + self.merge(rearrange(attended, "n heads t c -> n t (heads c)"))
        return h + self.net(h)


class Block(nn.Module):
    """The affine map z_0 = x_0, z_t = (x_t - mu(x_<t)) exp(-alpha(x_<t)) of patches x_t."""

    def __init__(self, n_patches, patch_dim, *, width, n_layers, heads, backward):
        """Start at the identity: the last layer is zero."""
        super().__init__()
        self.backward_order = backward
        self.enter = nn.Linear(patch_dim, width)
        self.places = nn.Parameter(0.02 * torch.randn(n_patches, width))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(n_layers))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * patch_dim))
        for parameter in self.leave[1].parameters():
            nn.init.zeros_(parameter)

    def ordered(self, x):
        """Reverse the patches in every other block: what came first there comes last here."""
        return x.flip(1) if self.backward_order else x

    def predict(self, x, caches=None, first=0):
        """Return mu and alpha of the patch after each of x (N, T, C)."""
        h = self.enter(x) + self.places[first : first + x.shape[1]]
        for layer, cache in zip(self.layers, caches or [None] * len(self.layers), strict=True):
            h = layer(h, cache)
        return self.leave(h).chunk(2, 2)

    def forward(self, x):
        """Return z (N, T, C), and its log-determinant over T C dimensions, all in one pass."""
        x = self.ordered(x)
        mu, alpha = (functional.pad(each, (0, 0, 1, 0)) for each in self.predict(x[:, :-1]))
        return self.ordered((x - mu) * (-alpha).exp()), -alpha.mean((1, 2))

    def reverse(self, z, cached=True):
        """Return x, patch by patch; with a cache every pass is over one patch, not over all."""
        z = self.ordered(z)
        x, caches = z[:, :1], [[] for _ in self.layers]
        for t in range(1, z.shape[1]):
            mu, alpha = self.predict(x[:, -1:], caches, t - 1) if cached else self.predict(x)
            x = torch.cat([x, z[:, t : t + 1] * alpha[:, -1:].exp() + mu[:, -1:]], 1)
        return self.ordered(x)


class TarFlow(nn.Module):
    """Blocks in alternating order, of gray images as vectors (N, size * size).

    Parameters
    ----------
    size, patch : int
        Width of an image and of a patch.
    n_blocks, n_layers, width, heads : int
        Blocks; layers, width and heads of the transformer in each.
    """

    def __init__(self, size=8, patch=2, *, n_blocks=4, n_layers=2, width=64, heads=4):
        """Build the blocks."""
        super().__init__()
        self.size, self.patch = size, patch
        n_patches, patch_dim = (size // patch) ** 2, patch**2
        shape = {"width": width, "n_layers": n_layers, "heads": heads}
        self.blocks = nn.ModuleList(
            Block(n_patches, patch_dim, **shape, backward=i % 2 == 1) for i in range(n_blocks)
        )

    def patchify(self, x):
        """Cut images into patches (N, T, C)."""
        cut = "n (h a w b) -> n (h w) (a b)"
        return rearrange(x, cut, a=self.patch, b=self.patch, h=self.size // self.patch)

    def unpatchify(self, patches):
        """Join patches to images."""
        join = "n (h w) (a b) -> n (h a w b)"
        return rearrange(patches, join, a=self.patch, h=self.size // self.patch)

    def forward(self, x, y=None):
        """Return latents (N, T, C), those after each block, and log-determinants: their mean."""
        z, outputs, logdets = self.patchify(x), [], 0.0
        for block in self.blocks:
            z, logdet = block(z)
            outputs.append(z)
            logdets = logdets + logdet
        return z, outputs, logdets

    def reverse(self, z, y=None, cached=True):
        """Return the images of latents (N, T, C)."""
        for block in reversed(self.blocks):
            z = block.reverse(z, cached)
        return self.unpatchify(z)
