"""The networks within the couplings of the matrix-exponential flow."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfpi.flows.base import Layers

__all__ = ["NormedConv", "ResidualNet"]


class NormedConv(nn.Module):
    """A convolution whose outputs have mean 0 and a given deviation on the batch it starts from.

    Scale and shift of a channel are learned; they are applied to the weights, not to the outputs.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    size : int
        Of the kernel, odd.
    """

    def __init__(self, n_in: int, n_out: int, size: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in, size, size))
        nn.init.kaiming_uniform_(self.weight)
        self.scale = nn.Parameter(torch.ones(n_out))
        self.shift = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) -> (N, n_out, H, W)."""
        weight = self.weight * self.scale[:, None, None, None]
        return functional.conv2d(x, weight, self.shift, padding=weight.shape[-1] // 2)

    @torch.no_grad()
    def initialize(self, x: Tensor, deviation: float = 1.0) -> Tensor:
        """Set scale and shift by a batch; gives its outputs."""
        raw = functional.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)
        std, mean = torch.std_mean(raw.float(), (0, 2, 3), correction=0)
        self.scale.copy_(deviation / std.clamp(min=1e-6))
        self.shift.copy_(-mean * self.scale)
        return self.forward(x)


class ResidualBlock(nn.Module):
    """x + (3x3, 1x1 and 3x3 convolutions of x), at the start x itself, then ELU."""

    def __init__(self, channels: int) -> None:
        """Make the convolutions."""
        super().__init__()
        self.first = NormedConv(channels, channels, 3)
        self.middle = NormedConv(channels, channels, 1)
        self.last = NormedConv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels, H, W)."""
        hidden = functional.elu(self.middle(functional.elu(self.first(x))))
        return functional.elu(x + self.last(hidden))

    def initialize(self, x: Tensor) -> Tensor:
        """Set the convolutions by a batch; gives its outputs."""
        hidden = functional.elu(self.first.initialize(x))
        hidden = functional.elu(self.middle.initialize(hidden))
        return functional.elu(x + self.last.initialize(hidden, deviation=0.0))


class ResidualNet(nn.Module):
    """A 3x3 convolution, residual blocks, and a last convolution that is zero at the start.

    Parameters
    ----------
    n_in, channels, n_out : int
        Channels of the input, of the blocks, and of the output.
    n_blocks : int
    """

    def __init__(self, n_in: int, channels: int, n_out: int, n_blocks: int) -> None:
        """Make the layers."""
        super().__init__()
        self.first = NormedConv(n_in, channels, 3)
        self.blocks: Layers[ResidualBlock] = Layers(
            ResidualBlock(channels) for _ in range(n_blocks)
        )
        self.last = nn.Conv2d(channels, n_out, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) -> (N, n_out, H, W)."""
        x = functional.elu(self.first(x))
        for block in self.blocks:
            x = block.forward(x)
        return self.last.forward(x)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the layers by a batch, one after the other."""
        x = functional.elu(self.first.initialize(x))
        for block in self.blocks:
            x = block.initialize(x)
