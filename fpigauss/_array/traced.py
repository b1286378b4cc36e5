"""Arrays of jax inside its transformations (jit, grad, vmap): they have shapes, but no values.

Checks of values are skipped for them, and where values decide what is computed, jax decides.
"""

import sys
from collections.abc import Callable
from typing import Any

from fpigauss._array.typing import Array, Labels
from fpigauss.errors import InvalidInputError

__all__ = ["as_traceable", "check_concrete", "check_valued", "is_traced", "mended", "positions_of"]


def is_traced(*arrays: Any) -> bool:
    """Say whether one of the arrays stands for values that a transformation does not know yet."""
    kinds: list[Any] = [type(x) for x in arrays]
    return any(map(_is_tracer, kinds))


def _is_tracer(kind: type) -> bool:
    jax = sys.modules.get("jax")
    tracer = getattr(getattr(jax, "core", None), "Tracer", None)
    return tracer is not None and issubclass(kind, tracer)


def check_valued(x: object, name: str) -> None:
    """Refuse an array that will never have values, as those of torch's meta device."""
    if getattr(x, "is_meta", False):
        raise InvalidInputError(
            f"{name} is on the meta device, without values; pass one with values"
        )


def check_concrete(x: object, name: str) -> None:
    """Refuse an array that has no values, or none yet, where they are needed."""
    check_valued(x, name)
    if is_traced(x):
        raise InvalidInputError(
            f"{name} is an array inside a transformation of jax (jit, grad, vmap), which has no "
            "values yet; make this call outside of it"
        )


def mended(
    raw: Array, lost: Array, exact: Callable[[Array, Array], Array], *, row_bytes: int, limit: int
) -> Array:
    """Recompute the entries of ``raw`` (N, K) that ``lost`` marks by ``exact(rows, columns)``.

    How many there are is not known, so a block is recomputed as a whole if it has one; all blocks
    are under ``vmap``, where ``lax.cond`` computes both of its branches. A derivative computes the
    blocks again instead of keeping their differences.
    """
    import jax
    import jax.numpy as jnp

    length = raw.shape[0] * raw.shape[1]
    if length == 0:
        return raw
    size = min(length, max(1, limit // max(1, row_bytes)))
    n_blocks = -(-length // size)

    def block(numbers: tuple[Array, Array, Array]) -> Array:
        place, values, marks = numbers

        def recomputed() -> Array:
            return jnp.where(marks, exact(place // raw.shape[1], place % raw.shape[1]), values)

        return jax.lax.cond(jnp.any(marks), recomputed, lambda: values)

    def in_blocks(x: Array) -> Array:
        padded = jnp.pad(jnp.reshape(x, (-1,)), (0, n_blocks * size - length))
        return jnp.reshape(padded, (n_blocks, size))

    places = in_blocks(jnp.arange(length))  # what is padded is entry 0, not marked
    pieces = jax.lax.map(jax.checkpoint(block), (places, in_blocks(raw), in_blocks(lost)))
    return jnp.reshape(jnp.reshape(pieces, (-1,))[:length], raw.shape)


def positions_of(labels: Array, classes: Array) -> tuple[Array, Array]:
    """Return the positions (N,) of ``labels`` in ``classes``, and which of them are there.

    Both are arrays of jax, ``classes`` (K,) in ascending order. Positions of unknown labels are of
    some class.
    """
    import jax.numpy as jnp

    codes = jnp.clip(jnp.searchsorted(classes, labels), 0, classes.shape[0] - 1)
    return codes, classes[codes] == labels


def as_traceable(classes: Labels) -> Array:
    """Convert classes (K,) to an array of jax that labels without values can be found in."""
    import jax.numpy as jnp

    if classes.dtype.kind == "U":
        raise InvalidInputError(
            "labels are numbers, but the classes are strings; inside a transformation of jax, pass "
            "Gaussians with integer classes"
        )
    widest = jnp.zeros((), dtype=int).dtype
    if bool((classes != classes.astype(widest)).any()):
        raise InvalidInputError(
            f"classes do not fit {widest}, which labels are inside a transformation of jax; "
            "set jax_enable_x64, or pass Gaussians with smaller labels"
        )
    return jnp.asarray(classes.astype(widest))
