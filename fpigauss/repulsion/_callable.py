"""A user's own pi, as a function."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fpigauss._array.blocks import PAIR_BYTES
from fpigauss._array.linalg import eye_like
from fpigauss._array.namespaces import as_floating, cast_like, namespace
from fpigauss._array.typing import Array, PiFunction
from fpigauss.errors import InvalidInputError
from fpigauss.repulsion._base import Repulsion

__all__ = ["CallableRepulsion"]


@dataclass(frozen=True)
class CallableRepulsion(Repulsion):
    """A function of the (K, K) matrix D that returns a positive scalar or (K, K) matrix.

    Parameters
    ----------
    function : callable
        Called at every evaluation; the diagonal of a matrix that it returns is not used.
    """

    function: PiFunction

    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        (divergences,) = blocks  # check_memory made sure that the matrix is one block
        xp = namespace(divergences)
        result = self.function(divergences + 0.0)  # a copy: it may write to it
        if result is None:
            raise InvalidInputError("pi returned None; return a number or a (K, K) matrix")
        pi = cast_like(as_floating(result, "pi"), divergences)
        if tuple(pi.shape) not in ((), (n_classes, n_classes)):
            raise InvalidInputError(
                f"pi returned an array of shape {tuple(pi.shape)}; return a number or a "
                f"({n_classes}, {n_classes}) matrix"
            )
        if pi.ndim == 2:
            own = eye_like(n_classes, pi) > 0.0  # the diagonal is never used
            pi = xp.where(own, xp.ones_like(pi), pi)
        if not bool(xp.all(xp.isfinite(pi) & (pi > 0.0))):
            raise InvalidInputError(
                "pi returned a number that is not positive and finite; "
                "return positive, finite numbers for all pairs of different classes"
            )
        return pi if pi.ndim == 2 else float(pi)

    def check_memory(self, n_classes: int, memory_limit: int) -> None:
        needed = PAIR_BYTES * n_classes**2
        if needed > memory_limit:
            raise InvalidInputError(
                f"memory_limit is {memory_limit} bytes, but a callable pi is given the whole "
                f"matrix D, which takes {needed}; raise memory_limit, or pass the name of a pi"
            )
