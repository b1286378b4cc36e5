"""The base for zuko, and a transform of zuko without context."""

from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Transform
from zuko.lazy import LazyDistribution, LazyTransform

from fpigauss import InvalidInputError
from fpigauss_torch.bases._base import LatentBase
from fpigauss_torch.bases._distributions import ClassDistribution, conditioned

__all__ = ["WithoutContext", "ZukoBase"]


class ZukoBase(LatentBase, LazyDistribution):
    """A ``zuko`` lazy distribution; see ``as_base``. Labels are passed as the context c."""

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Make the distributions of labels ``c`` (..., 1) or weights (..., K); None: the mixture.

        Raises
        ------
        InvalidInputError
            If ``c`` is a vector of labels: zuko takes that as the context of a single sample, and
            would score every row under its first label.
        """
        if c is not None and c.ndim < 2:
            raise InvalidInputError(
                f"c has shape {tuple(c.shape)}, (N, 1) is needed: zuko takes a vector as the "
                "context of a single sample; pass c[:, None]"
            )
        return conditioned(self, c, ClassDistribution)


class WithoutContext(LazyTransform):
    """A ``zuko`` transform that ignores the context; see ``without_context``."""

    def __init__(self, transform: LazyTransform) -> None:
        """Register the transform."""
        super().__init__()
        self.transform = transform

    def forward(self, c: Any = None) -> Transform:
        """Build the transform without context."""
        transform: Transform = self.transform()
        return transform
