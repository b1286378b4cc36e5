"""Floating-point flags: numpy's reports of what is harmless here, or is checked in the result."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

__all__ = ["unflagged"]

P = ParamSpec("P")
T = TypeVar("T")


def unflagged(function: Callable[P, T]) -> Callable[P, T]:
    """Compute without numpy's warnings and errors, whatever the caller has set by ``np.seterr``.

    Densities underflow to zero and logarithms of zero are minus infinity: these are answers. What
    must be finite is checked and refused by name.
    """

    @wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> T:
        with np.errstate(all="ignore"):  # anew for each call: it is not to be shared by threads
            return function(*args, **kwargs)

    return quiet
