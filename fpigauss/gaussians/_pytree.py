"""Class Gaussians as a pytree of jax: what passes through jit, grad and vmap as an argument."""

import sys
from typing import Any

import numpy as np

__all__ = ["register"]

#: What is transformed, and what is compared: a function is compiled anew where it differs.
_CHILDREN = ("means", "covariances", "counts")
_STATIC = ("covariance", "tied", "family")

_REGISTERED: set[type] = set()


def register(kind: type) -> None:
    """Tell jax how to take apart the Gaussians of a class, once, if something has imported jax."""
    if kind in _REGISTERED or "jax" not in sys.modules:
        return
    from jax import tree_util

    def children(gaussians: Any) -> tuple[Any, ...]:
        return tuple(getattr(gaussians, name) for name in _CHILDREN)

    def static(gaussians: Any) -> tuple[Any, ...]:
        classes = gaussians.classes  # an array has neither a hash nor one answer to ==
        fields = tuple(getattr(gaussians, name) for name in _STATIC)
        return (*fields, classes.dtype.str, classes.tobytes())

    def with_keys(gaussians: Any) -> tuple[Any, Any]:
        keys = map(tree_util.GetAttrKey, _CHILDREN)
        return tuple(zip(keys, children(gaussians), strict=True)), static(gaussians)

    def put_together(aux: tuple[Any, ...], leaves: Any) -> Any:
        """Make the object without its checks: leaves may be anything that jax puts there."""
        *fields, dtype, labels = aux
        made: Any = object.__new__(kind)
        classes = np.frombuffer(labels, dtype=dtype).copy()
        for name, value in zip((*_CHILDREN, *_STATIC), (*leaves, *fields), strict=True):
            object.__setattr__(made, name, value)
        object.__setattr__(made, "classes", classes)
        return made

    tree_util.register_pytree_with_keys(
        kind, with_keys, put_together, lambda gaussians: (children(gaussians), static(gaussians))
    )
    _REGISTERED.add(kind)
