"""The codec for flows of zuko."""

from typing import Any

from torch import Tensor

from fpigauss import InvalidInputError
from fpigauss_torch.codecs._codec import Codec, register_codec, summed

__all__ = ["ZukoCodec"]


@register_codec
class ZukoCodec(Codec):
    """For ``Flow`` and its subclasses, without a context.

    zuko takes labels (N,) as one context vector and then scores all rows under the first label.
    Therefore it is never given labels: they go to the Gaussians.

    Parameters
    ----------
    flow : zuko.lazy.Flow
        A flow built with ``context=0``.

    Raises
    ------
    InvalidInputError
        If the flow was built with a context.
    """

    flow_types = ("zuko.lazy.Flow", "zuko.flows.core.Flow")  # the second before zuko 1.2

    def __init__(self, flow: Any) -> None:
        """Register the transform, not the base."""
        super().__init__(flow)
        for path, part in flow.transform.named_modules():
            if _context_width(part) > 0:
                raise InvalidInputError(
                    f"flow was built with a context of width {_context_width(part)} (transform "
                    f"{path or type(part).__name__}), and none is passed; the labels belong to "
                    "the Gaussians, so build it with context=0"
                )
        self.transform = flow.transform

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode by the transform, built from the present parameters."""
        transform = self.transform(None)
        z, logdet = transform.call_and_ladj(x)
        batch = x.shape[: x.ndim - transform.domain.event_dim]
        return self.flattened(z), summed(logdet, batch, z)

    def decode(self, z: Tensor) -> Tensor:
        """Decode by the inverse of the transform."""
        x: Tensor = self.transform(None).inv(self.unflattened(z)[0])
        return x


def _context_width(part: Any) -> int:
    """Work out how many context features a lazy transform of zuko takes, which it does not say."""
    if hasattr(part, "ode"):  # continuous
        return int(part.ode[0].in_features - part.ode[-1].out_features - 2 * part.freqs.shape[0])
    if not hasattr(part, "hyper"):
        return 0
    inputs = int(part.hyper[0].in_features)
    if hasattr(part, "mask"):  # coupling
        return inputs - int(part.mask.sum())
    if hasattr(part, "passes"):  # autoregressive
        return inputs - int(part.hyper[-1].out_features) // int(part.total)
    return inputs  # elementwise: only a context makes its parameters
