"""One variance for all axes."""

from dataclasses import dataclass
from typing import ClassVar

from fpigauss._array.linalg import inner_products
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.covariance._diagonal import Diagonal

__all__ = ["Isotropic"]


@dataclass(frozen=True)
class Isotropic(Diagonal):
    """A multiple of the identity: ``covariances`` are (K,), or () if tied.

    See Also
    --------
    Diagonal : one variance per axis.
    Dense : full covariances.
    """

    name: ClassVar[str] = "isotropic"

    def fold(self, x: Array) -> Array:
        return namespace(x).sum(x, axis=-1, keepdims=True)

    def outer(self, a: Array, b: Array) -> Array:
        return self.pooled(inner_products(a, b)[:, None])

    def multiplicity(self, dim: int) -> float:
        return float(dim)

    def entry_shape(self, dim: int) -> tuple[int, ...]:
        return ()

    def unpack(self, covariances: Array) -> Array:
        return super().unpack(covariances)[..., None]

    def pack(self, values: Array) -> Array:
        return super().pack(values[..., 0])

    def inflated_dim(self, dim: int) -> int:
        return dim
