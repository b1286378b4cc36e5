"""The codecs for flows of normflows."""

import inspect
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from fpigauss import InvalidInputError
from fpigauss_torch.codecs._codec import Codec, refuse_context, register_codec, summed

__all__ = ["NormflowsCodec", "NormflowsMultiscaleCodec"]


@register_codec
class NormflowsCodec(Codec):
    """For ``NormalizingFlow``, ``ClassCondFlow``, and ``ConditionalNormalizingFlow``.

    No context is passed. Encodes layer by layer, since ``ClassCondFlow`` has no method for it and
    ``inverse_and_log_det`` sums only in float32. The base ``q0`` is not used.

    Parameters
    ----------
    flow : normflows flow
        A flow whose layers are bijections with an ``inverse``.

    Raises
    ------
    InvalidInputError
        If a layer needs a context or labels.
    """

    flow_types = (
        "normflows.core.NormalizingFlow",
        "normflows.core.ClassCondFlow",
        "normflows.core.ConditionalNormalizingFlow",
    )

    def __init__(self, flow: Any) -> None:
        """Register the layers."""
        super().__init__(flow)
        _check_layers(flow.flows)
        self.layers = flow.flows

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode by the inverses of the layers, last layer first."""
        z, logdet = _through(reversed(self.layers), x, x.new_zeros(x.shape[0]), inverse=True)
        return self.flattened(z), logdet

    def decode(self, z: Tensor) -> Tensor:
        """Decode by the layers."""
        (x,) = self.unflattened(z)
        return _through(self.layers, x, x.new_zeros(x.shape[0]))[0]


@register_codec
class NormflowsMultiscaleCodec(Codec):
    """For ``MultiscaleFlow``: the latents of all levels as one vector, the deepest level first.

    One Gaussian per class spans the levels, so the density of a level cannot depend on the sample's
    other latents. Glow's learned split prior N(m(z1), s(z1)) of a level is such a dependence; like
    every base it is left out. To keep it, add the equivalent affine coupling, which takes z2 to
    (z2 - m(z1)) / s(z1), to the flow's layers.

    ``class_cond`` has no effect, since the labels go to the Gaussians.

    Parameters
    ----------
    flow : MultiscaleFlow

    Raises
    ------
    InvalidInputError
        If a layer needs a context or labels.
    """

    flow_types = ("normflows.core.MultiscaleFlow",)

    def __init__(self, flow: Any) -> None:
        """Register the layers, the merges and the transform of the input."""
        super().__init__(flow)
        for layers in flow.flows:
            _check_layers(layers)
        self.levels = flow.flows
        self.merges = flow.merges
        self.transform = flow.transform

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode from the image to the deepest level, splitting off half after each."""
        logdet = x.new_zeros(x.shape[0])
        if self.transform is not None:
            x, logdet = _through([self.transform], x, logdet, inverse=True)
        latents = []
        for level in reversed(range(len(self.levels))):
            x, logdet = _through(reversed(self.levels[level]), x, logdet, inverse=True)
            if level > 0:
                (x, split), change = self.merges[level - 1].inverse(x)
                logdet = logdet + summed(change, x.shape[:1], x)
                latents.append(split)
        return self.flattened([x, *reversed(latents)]), logdet

    def decode(self, z: Tensor) -> Tensor:
        """Decode from the deepest level to the image."""
        x, *others = self.unflattened(z)
        logdet = x.new_zeros(x.shape[0])
        for level, layers in enumerate(self.levels):
            if level > 0:
                x, _ = self.merges[level - 1]([x, others[level - 1]])
            x, _ = _through(layers, x, logdet)
        return x if self.transform is None else self.transform(x)[0]


def _through(
    layers: Iterable[Any], x: Tensor, logdet: Tensor, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Pass ``x`` through layers, and add their log-determinants to ``logdet`` (N,)."""
    for layer in layers:
        x, change = layer.inverse(x) if inverse else layer(x)
        logdet = logdet + summed(change, logdet.shape, x)
    return x, logdet


def _check_layers(layers: nn.ModuleList) -> None:
    refuse_context(layers)
    layer: Any
    for layer in layers:
        _, *others = inspect.signature(layer.inverse).parameters.values()
        needed = [p.name for p in others if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
        if needed:
            raise InvalidInputError(
                f"flow has a {type(layer).__name__} that needs {', '.join(needed)}, and none is "
                "passed; the labels belong to the Gaussians, so build it of layers without them"
            )
