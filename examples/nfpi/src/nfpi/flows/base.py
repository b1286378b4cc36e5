"""The base class of image flows, and the codec through which ``ClassFlow`` uses them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar, cast

from fpigauss import InvalidInputError
from fpigauss_torch import Codec, register_codec
from torch import Tensor, nn

__all__ = ["ImageCodec", "ImageFlow", "Layers", "without_log_determinants"]

Shape = tuple[int, int, int]
LayerT = TypeVar("LayerT", bound=nn.Module)


class Layers(nn.ModuleList, Generic[LayerT]):
    """A list of layers with a known type, which torch's own list does not keep."""

    def __iter__(self) -> Iterator[LayerT]:
        """Iterate from the first layer to the last."""
        return cast(Iterator[LayerT], super().__iter__())

    def __reversed__(self) -> Iterator[LayerT]:
        """Iterate from the last layer to the first."""
        return reversed(list(self))


class ImageFlow(nn.Module, ABC):
    """A bijection between images in [0, 1] and latents in one or several parts.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W).
    latent_shapes : sequence of tuple of int
        Shapes of the parts.
    """

    def __init__(self, image_shape: Shape, latent_shapes: Sequence[tuple[int, ...]]) -> None:
        """Keep the shapes."""
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.latent_shapes = [tuple(shape) for shape in latent_shapes]

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Encode images (N, C, H, W): parts of the latents, and log abs(det dz/dx) (N,)."""

    @abstractmethod
    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """Decode latents to images."""


@register_codec
class ImageCodec(Codec):
    """Flattens the latents of an ``ImageFlow``; can decode before it has encoded anything."""

    flow_types = (f"{ImageFlow.__module__}.{ImageFlow.__qualname__}",)

    def __init__(self, flow: ImageFlow) -> None:
        """Register the flow: it has no base."""
        super().__init__(flow)
        self.bijection = flow
        self.shapes = flow.latent_shapes

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode to all parts, concatenated."""
        if x.shape[1:] != self.bijection.image_shape:
            raise InvalidInputError(
                f"x has images of shape {tuple(x.shape[1:])}, the flow was made for "
                f"{self.bijection.image_shape}; resize the images, or make a flow for them"
            )
        latents, logdet = self.bijection.encode(x)
        return self.flattened(latents), logdet

    def decode(self, z: Tensor) -> Tensor:
        """Decode the concatenated parts."""
        return self.bijection.decode(self.unflattened(z))


@contextmanager
def without_log_determinants(flow: nn.Module) -> Iterator[None]:
    """Leave out log-determinants that cost more than the latents, where only these are needed.

    Parameters
    ----------
    flow : nn.Module
        Any module. Layers with an attribute ``without_logdet`` return zeros; all others stay as
        they are.
    """
    layers = [layer for layer in flow.modules() if hasattr(layer, "without_logdet")]
    _set(layers, True)
    try:
        yield
    finally:
        _set(layers, False)


def _set(layers: Sequence[nn.Module], without_logdet: bool) -> None:
    for layer in layers:
        vars(layer)["without_logdet"] = without_logdet
