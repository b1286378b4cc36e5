"""Classes that are held as they are while the others are fitted."""

from dataclasses import dataclass

from fpigauss._array.linalg import per_class
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array

__all__ = ["Held"]


@dataclass(frozen=True)
class Held:
    """What is held, and what of Eq. 4 is therefore constant and left out of L."""

    #: The classes that are fitted (K,), bool.
    free: Array
    #: The classes whose likelihood depends on what is fitted (K,), bool: the free ones and, under
    #: a shared covariance that is updated, the held ones that have samples.
    weighed: Array
    #: Integers (K,): the KLD between two classes of one group is constant.
    group: Array

    @property
    def n_weighed(self) -> int:
        """The number of classes in the likelihood."""
        xp = namespace(self.weighed)
        return int(xp.sum(xp.astype(self.weighed, xp.int64)))

    def kept(self, new: Array, old: Array | float, rows: slice = slice(None)) -> Array:
        """Return ``new`` (n, ...) in the free classes of ``rows``, ``old`` in the held ones."""
        xp = namespace(new)
        old = xp.full_like(new, old) if isinstance(old, float) else old
        return xp.where(per_class(self.free[rows], new), new, old)

    def constant(self, rows: slice) -> Array:
        """Mark the pairs (R, K) of the classes ``rows`` whose KLD is constant."""
        return self.group[rows][:, None] == self.group[None, :]

    def both(self, rows: slice) -> Array:
        """Mark the pairs (R, K) of the classes ``rows`` of which both are held."""
        return ~(self.free[rows][:, None] | self.free[None, :])
