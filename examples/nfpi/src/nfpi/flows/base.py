"""What every flow of images is, and the codec that lets ``ClassFlow`` find it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar, cast

from fpigauss import InvalidInputError
from fpigauss_torch import Codec, register_codec
from torch import Tensor, nn

__all__ = ["ImageCodec", "ImageFlow", "Layers"]

Shape = tuple[int, int, int]
LayerT = TypeVar("LayerT", bound=nn.Module)


class Layers(nn.ModuleList, Generic[LayerT]):
    """A list of layers that remembers their type, which torch's own list does not."""

    def __iter__(self) -> Iterator[LayerT]:
        return cast(Iterator[LayerT], super().__iter__())

    def __reversed__(self) -> Iterator[LayerT]:
        return reversed(list(self))


class ImageFlow(nn.Module, ABC):
    """A bijection between images in [0, 1] and latents, in one or several parts.

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
        """The parts of the latents, and log abs(det dz/dx) (N,), of images (N, C, H, W)."""

    @abstractmethod
    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """Images of latents."""


@register_codec
class ImageCodec(Codec):
    """Latents of an ``ImageFlow`` as one vector; it can decode before it has encoded anything."""

    flow_types = (f"{ImageFlow.__module__}.{ImageFlow.__qualname__}",)

    def __init__(self, flow: ImageFlow) -> None:
        """Register the flow: it has no base."""
        super().__init__(flow)
        self.bijection = flow
        self.shapes = flow.latent_shapes

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All parts, concatenated."""
        if x.shape[1:] != self.bijection.image_shape:
            raise InvalidInputError(
                f"x has images of shape {tuple(x.shape[1:])}, the flow was made for "
                f"{self.bijection.image_shape}; resize the images, or make a flow for them"
            )
        latents, logdet = self.bijection.encode(x)
        return self.flattened(latents), logdet

    def decode(self, z: Tensor) -> Tensor:
        """From the parts."""
        return self.bijection.decode(self.unflattened(z))
