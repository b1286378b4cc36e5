"""The codec for networks of FrEIA."""

from typing import Any

from torch import Tensor

from fpigauss import InvalidInputError
from fpigauss_torch.codecs._codec import Codec, register_codec, summed

__all__ = ["FreiaCodec"]


@register_codec
class FreiaCodec(Codec):
    """For ``SequenceINN``, ``GraphINN``, and every other ``InvertibleModule`` with one input.

    Several outputs are concatenated to one vector, in the order of the ``OutputNode`` s.

    Parameters
    ----------
    flow : FrEIA.modules.InvertibleModule
        A network without conditions.

    Raises
    ------
    InvalidInputError
        If it has conditions, or several inputs.
    """

    flow_types = ("FrEIA.modules.base.InvertibleModule",)

    def __init__(self, flow: Any) -> None:
        """Register the network, which has no base."""
        super().__init__(flow)
        in_sequence = any(cond is not None for cond in getattr(flow, "conditions", []))
        if flow.dims_c or in_sequence:
            raise InvalidInputError(
                "flow has conditions, and none are passed; the labels belong to the Gaussians, so "
                "build it without conditions"
            )
        if len(flow.dims_in) != 1:
            raise InvalidInputError(
                f"flow has {len(flow.dims_in)} inputs; concatenate them, and split within the flow"
            )
        self.network = flow

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode by the forward pass."""
        latents, logdet = self.network((x,))
        z = self.flattened(latents)
        return z, summed(logdet, x.shape[:1], z)

    def decode(self, z: Tensor) -> Tensor:
        """Decode by the reverse pass."""
        outputs, _ = self.network(tuple(self.unflattened(z)), rev=True)
        x: Tensor = outputs if isinstance(outputs, Tensor) else outputs[0]
        return x
