"""Types shared by all modules."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Array", "Labels", "Mask", "PiFunction"]

#: An array of any namespace of the array API standard.
Array: TypeAlias = Any

#: Class labels on the host: integers or strings.
Labels: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: One truth value per class, on the host.
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

#: A user's own pi_KLD: takes the (K, K) divergences, returns a positive scalar or (K, K) matrix.
PiFunction: TypeAlias = Callable[[Array], Array]
