"""A small flow of our own, of affine couplings, and its codec."""

import torch
from torch import Tensor, nn

from fpigauss_torch import ClassFlow, Codec, LatentGaussians


class Coupling(nn.Module):
    """Affine couplings between halves of a vector, x (N, dim) -> z (N, dim); the same for a seed.

    ``offset`` is added to the latents, so that they can lie far from the origin.
    """

    def __init__(
        self,
        dim: int = 4,
        n_layers: int = 2,
        hidden: int = 16,
        seed: int = 0,
        *,
        offset: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.n_first = dim // 2
        self.n_second = dim - self.n_first
        self.offset = offset
        inner, outer = [], []
        for layer in range(n_layers):
            n_in, n_out = (
                (self.n_first, self.n_second) if layer % 2 == 0 else (self.n_second, self.n_first)
            )
            inner.append(nn.Linear(n_in, hidden, dtype=dtype))
            outer.append(nn.Linear(hidden, 2 * n_out, dtype=dtype))
        self.inner, self.outer = nn.ModuleList(inner), nn.ModuleList(outer)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(0.3 * noise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (N, dim), and log |det dz/dx| (N,)."""
        a, b = x[:, : self.n_first], x[:, self.n_first :]
        logdet = x.new_zeros(x.shape[0])
        for layer in range(len(self.inner)):
            if layer % 2 == 0:
                log_scale, shift = self._conditioned(layer, a)
                b = b * log_scale.exp() + shift
            else:
                log_scale, shift = self._conditioned(layer, b)
                a = a * log_scale.exp() + shift
            logdet = logdet + log_scale.sum(1)
        return torch.cat([a, b], 1) + self.offset, logdet

    def inverse(self, z: Tensor) -> Tensor:
        """Samples (N, dim) of latents."""
        z = z - self.offset
        a, b = z[:, : self.n_first], z[:, self.n_first :]
        for layer in reversed(range(len(self.inner))):
            if layer % 2 == 0:
                log_scale, shift = self._conditioned(layer, a)
                b = (b - shift) * (-log_scale).exp()
            else:
                log_scale, shift = self._conditioned(layer, b)
                a = (a - shift) * (-log_scale).exp()
        return torch.cat([a, b], 1)

    def _conditioned(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.outer[layer](torch.tanh(self.inner[layer](x))).chunk(2, 1)
        return torch.tanh(raw), shift


class CouplingCodec(Codec):
    """Over a ``Coupling``."""

    def __init__(self, flow: Coupling) -> None:
        super().__init__(flow)
        self.module = flow

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.module(x)
        return self.flattened(z), logdet

    def decode(self, z: Tensor) -> Tensor:
        return self.module.inverse(self.unflattened(z)[0])


def coupling_model(
    n_classes: int = 3,
    dim: int = 4,
    covariance: str = "diagonal",
    tied: bool = False,
    **of_flow: object,
) -> ClassFlow:
    """A ``ClassFlow`` over a ``Coupling``, the same for the same arguments."""
    flow = Coupling(dim, **of_flow)  # type: ignore[arg-type]
    return ClassFlow(flow, LatentGaussians(n_classes, dim, covariance, tied), codec=CouplingCodec)
