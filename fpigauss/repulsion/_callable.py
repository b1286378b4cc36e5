"""A user's own pi, as a function."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fpigauss._array.blocks import PAIR_BYTES
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array, PiFunction
from fpigauss.errors import InvalidInputError
from fpigauss.repulsion._base import KnownRepulsion, checked_pi

__all__ = ["CallableRepulsion"]


@dataclass(frozen=True)
class CallableRepulsion(KnownRepulsion):
    """A function of the (K, K) matrix D that returns a positive scalar or (K, K) matrix.

    Parameters
    ----------
    function : callable
        Called at every evaluation; the diagonal of a matrix that it returns is not used.
    """

    function: PiFunction

    def __post_init__(self) -> None:
        """Check that it is a function."""
        if not callable(self.function):
            raise InvalidInputError(f"function is {self.function!r}; pass a function of D (K, K)")

    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        (divergences,) = blocks  # check_memory made sure that the matrix is one block

        def is_usable() -> bool:
            return 0.0 < float(namespace(divergences).sum(divergences)) < math.inf

        # a copy: the function may write to it
        pi = self.function(divergences + 0.0)
        return checked_pi(pi, n_classes, divergences, is_usable)

    def check_memory(self, n_classes: int, memory_limit: int) -> None:
        needed = PAIR_BYTES * n_classes**2
        if needed > memory_limit:
            raise InvalidInputError(
                f"memory_limit is {memory_limit} bytes, but a callable pi is given the whole "
                f"matrix D, which takes {needed}; raise memory_limit, or pass the name of a pi"
            )
