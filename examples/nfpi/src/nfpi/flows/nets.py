"""Networks inside the couplings of the matrix-exponential flow."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfpi.flows.base import Layers

__all__ = ["NormedConv", "ResidualNet"]


class NormedConv(nn.Module):
    """A convolution whose outputs have mean 0 and a given deviation on its first batch.

    Scale and shift per channel are learned, and are applied to the weights, not to the outputs.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    size : int
        Size of the kernel, an odd number.
    """

    def __init__(self, n_in: int, n_out: int, size: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in, size, size))
        nn.init.kaiming_uniform_(self.weight)
        self.scale = nn.Parameter(torch.ones(n_out))
        self.shift = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, H, W) to (N, n_out, H, W)."""
        weight = self.weight * self.scale[:, None, None, None]
        return functional.conv2d(x, weight, self.shift, padding=weight.shape[-1] // 2)

    @torch.no_grad()
    def initialize(self, x: Tensor, deviation: float = 1.0) -> Tensor:
        """Set scale and shift from a batch, and return its outputs."""
        raw = functional.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)
        std, mean = torch.std_mean(raw.float(), (0, 2, 3), correction=0)
        self.scale.copy_(deviation / std.clamp(min=1e-6))
        self.shift.copy_(-mean * self.scale)
        return self.forward(x)


class ResidualBlock(nn.Module):
    """ELU of x + (3x3, 1x1 and 3x3 convolutions of x), which starts as ELU of x."""

    def __init__(self, channels: int) -> None:
        """Build the convolutions."""
        super().__init__()
        self.first = NormedConv(channels, channels, 3)
        self.middle = NormedConv(channels, channels, 1)
        self.last = NormedConv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, channels, H, W)."""
        hidden = functional.elu(self.middle(functional.elu(self.first(x))))
        return functional.elu(x + self.last(hidden))

    def initialize(self, x: Tensor) -> Tensor:
        """Set the convolutions from a batch, and return its outputs."""
        hidden = functional.elu(self.first.initialize(x))
        hidden = functional.elu(self.middle.initialize(hidden))
        return functional.elu(x + self.last.initialize(hidden, deviation=0.0))


class ResidualNet(nn.Module):
    """A 3x3 convolution, residual blocks, and a last convolution that starts at zero.

    Parameters
    ----------
    n_in, channels, n_out : int
        Channels of input, blocks and output.
    n_blocks : int
    """

    def __init__(self, n_in: int, channels: int, n_out: int, n_blocks: int) -> None:
        """Build the layers."""
        super().__init__()
        self.first = NormedConv(n_in, channels, 3)
        self.blocks: Layers[ResidualBlock] = Layers(
            ResidualBlock(channels) for _ in range(n_blocks)
        )
        self.last = nn.Conv2d(channels, n_out, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, H, W) to (N, n_out, H, W)."""
        x = functional.elu(self.first(x))
        for block in self.blocks:
            x = block.forward(x)
        return self.last.forward(x)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the layers from a batch, one after the other."""
        x = functional.elu(self.first.initialize(x))
        for block in self.blocks:
            x = block.initialize(x)
