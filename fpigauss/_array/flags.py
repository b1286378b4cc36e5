"""Floating-point flags: numpy's reports of what is harmless here, or is checked in the result."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

__all__ = ["unflagged", "without_flags"]

P = ParamSpec("P")
T = TypeVar("T")


def unflagged(function: Callable[P, T]) -> Callable[P, T]:
    """Compute without numpy's warnings and errors, whatever the caller has set by ``np.seterr``.

    Densities underflow to zero and logarithms of zero are minus infinity: these are answers. What
    must be finite is checked and refused by name.
    """

    @wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> T:
        return without_flags(function, *args, **kwargs)

    return quiet


def without_flags(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function as ``unflagged`` does.

    Ctrl-C may end ``np.errstate`` as it begins or ends, before it has put back what was set.
    """
    before = np.geterr()
    try:
        with np.errstate(all="ignore"):  # anew for each call: it is not to be shared by threads
            return function(*args, **kwargs)
    finally:
        np.seterr(**before)
