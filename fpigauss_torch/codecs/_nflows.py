"""The codec for flows of nflows."""

from typing import Any

from torch import Tensor, nn

from fpigauss import InvalidInputError
from fpigauss_torch.codecs._codec import Codec, refuse_context, register_codec, summed

__all__ = ["NflowsCodec"]


@register_codec
class NflowsCodec(Codec):
    """For ``Flow`` and its subclasses, also with multi-scale transforms.

    ``MultiscaleCompositeTransform`` returns one flat vector, which begins with the latents that are
    split off first. A context is never passed, so transforms that accept one must not need it.

    Parameters
    ----------
    flow : nflows.flows.Flow
        A flow whose transform has an inverse.

    Raises
    ------
    InvalidInputError
        If the transform or an embedding net takes a context.
    """

    flow_types = ("nflows.flows.base.Flow",)

    def __init__(self, flow: Any) -> None:
        """Register the transform, not the base."""
        super().__init__(flow)
        if not isinstance(flow._embedding_net, nn.Identity):
            raise InvalidInputError(
                "flow has an embedding_net for its context, and no context is passed; the labels "
                "belong to the Gaussians, so build it without one"
            )
        refuse_context(flow._transform)
        self.transform = flow._transform

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode by the transform."""
        z, logdet = self.transform(x)
        return self.flattened(z), summed(logdet, x.shape[:1], z)

    def decode(self, z: Tensor) -> Tensor:
        """Decode by the inverse of the transform."""
        x: Tensor = self.transform.inverse(self.unflattened(z)[0])[0]
        return x
