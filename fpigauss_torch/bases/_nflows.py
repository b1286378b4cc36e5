"""The base for nflows, and a transform of nflows without context."""

from typing import Any

from einops import rearrange, repeat
from nflows.distributions import Distribution
from nflows.transforms import Transform
from torch import Tensor

from fpigauss_torch.bases._base import LatentBase, class_labels, flattened

__all__ = ["NflowsBase", "WithoutContext"]


class NflowsBase(LatentBase, Distribution):
    """An ``nflows`` distribution; see ``as_base``. Labels are passed as the context."""

    def _log_prob(self, inputs: Tensor, context: Tensor | None) -> Tensor:
        return self.gaussians.log_prob(flattened(inputs, self.shape), self._labels(context))

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        labels = self._labels(context)
        if labels is None:
            return self._draw(num_samples)
        labels = repeat(labels, "rows ... -> (rows draws) ...", draws=num_samples)
        return rearrange(
            self._draw(labels), "(rows draws) ... -> rows draws ...", draws=num_samples
        )

    def _labels(self, context: Tensor | None) -> Tensor | None:
        return None if context is None else class_labels(context, self.gaussians.n_classes)


class WithoutContext(Transform):
    """An ``nflows`` transform that ignores the context; see ``without_context``."""

    def __init__(self, transform: Transform) -> None:
        """Register the transform."""
        super().__init__()
        self.transform = transform

    def forward(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Apply the transform without context."""
        outputs: tuple[Tensor, Tensor] = self.transform(inputs)
        return outputs

    def inverse(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Apply the inverse of the transform without context."""
        outputs: tuple[Tensor, Tensor] = self.transform.inverse(inputs)
        return outputs
