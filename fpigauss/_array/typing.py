"""Types shared by all modules."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

__all__ = ["Array", "HostArray", "Labels", "Mask", "NumpyArray", "PiFunction", "Tensor", "TensorT"]

#: An array of any namespace of the array API standard.
Array: TypeAlias = Any

#: What is returned for a ``HostArray``.
NumpyArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Frame(Protocol):
    """What data frames have, for type checkers."""

    @property
    def columns(self) -> Any:
        """The names of the columns."""


#: Arrays of numpy, and what is taken as one. A checker knows nothing of what else has an
#: ``__array__``: tensors have one too.
HostArray: TypeAlias = NumpyArray | Sequence[Any] | Frame


class Tensor(Protocol):
    """What arrays of all other namespaces have, for type checkers: torch, jax, array_api_strict.

    No framework is named, so types are checked whether it is installed or not.
    """

    @property
    def shape(self) -> Any:
        """The shape."""

    @property
    def dtype(self) -> Any:
        """The type of the entries."""

    @property
    def device(self) -> Any:
        """The device, which lists and data frames do not have."""


#: A function of latents returns the type that it is given. Where strings would come back as
#: numpy's, or a setting of scikit-learn decides, it is declared as ``TensorT | Any``.
TensorT = TypeVar("TensorT", bound=Tensor)

#: Class labels on the host: integers or strings.
Labels: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: One truth value per class, on the host.
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

#: A user's own pi_KLD: takes the (K, K) divergences, returns a positive scalar or (K, K) matrix.
PiFunction: TypeAlias = Callable[[Array], Array]
