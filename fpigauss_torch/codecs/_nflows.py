"""Flows of nflows."""

from typing import Any

from torch import Tensor, nn

from fpigauss import InvalidInputError
from fpigauss_torch.codecs._codec import Codec, refuse_context, register_codec, summed

__all__ = ["NflowsCodec"]


@register_codec
class NflowsCodec(Codec):
    """``Flow`` and what inherits from it, multi-scale transforms included.

    ``MultiscaleCompositeTransform`` gives one flat vector, the latents that are split off first at
    its beginning. A context is never passed, so transforms that take one must not need it.

    Parameters
    ----------
    flow : nflows.flows.Flow
        Its transform must have an inverse.

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
                "belong to the Gaussians, so build it without"
            )
        refuse_context(flow._transform)
        self.transform = flow._transform

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """By the transform."""
        z, logdet = self.transform(x)
        return self.flattened(z), summed(logdet, x.shape[:1], z)

    def decode(self, z: Tensor) -> Tensor:
        """By its inverse."""
        x: Tensor = self.transform.inverse(self.unflattened(z)[0])[0]
        return x
