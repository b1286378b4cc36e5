"""A fold over a stream of batches; a fault on the way keeps what was gathered before it."""

import reprlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from fpigauss._array.namespaces import is_array, namespace
from fpigauss._progress import progress_bar
from fpigauss.errors import InvalidInputError
from fpigauss.statistics._rows import as_rows, prototype_of

__all__ = ["folded"]

S = TypeVar("S")


def folded(
    batches: Iterable[Any], add: Callable[[S | None, Any, Any, Any], S], *, progress: bool
) -> S:
    """Fold ``total = add(total, z, y, sample_weight)`` over the batches.

    Any exception on the way, from a batch, the iterator or the user's interrupt, carries the total
    so far as its attribute ``statistics``.
    """
    if not isinstance(batches, Iterable):
        raise InvalidInputError(
            f"batches is {reprlib.repr(batches)}; pass an iterable of (z, y) or (z, y, "
            "sample_weight), such as a list or a generator"
        )
    total: S | None = None
    n_batches = 0
    dtype = ""
    try:
        with progress_bar(batches, progress, "statistics") as stream:
            for batch in stream:
                try:
                    z, y, weight = _unpacked(batch)
                    dtype = _same_dtype(z, dtype)
                    # one assignment: an interrupt finds both, or neither
                    total, n_batches = add(total, z, y, weight), n_batches + 1
                except InvalidInputError as error:
                    raise InvalidInputError(f"batch {n_batches}: {error}") from error
    except BaseException as error:
        _carry(error, total, n_batches)
        raise
    if total is None:
        raise InvalidInputError("batches is empty; pass at least one (z, y)")
    return total


def _unpacked(batch: Any) -> tuple[Any, Any, Any]:
    """Split a batch into latents, labels and weights (or None)."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise InvalidInputError(
            "batches yields something other than (z, y) or (z, y, sample_weight) here; "
            "wrap the loader in a generator that yields these"
        )
    z, y, *weight = batch
    return as_rows(z), y, weight[0] if weight else None


def _same_dtype(z: Any, before: str) -> str:
    """Return the namespace and dtype of ``z``, which must be those of the batches before."""
    module = namespace(z if is_array(z) else prototype_of(z)).__name__
    library = module.removeprefix("array_api_compat.")  # "numpy", which "jax.numpy" is not
    dtype = f"{library} {str(z.dtype).rpartition('.')[2]}"
    if before and dtype != before:
        raise InvalidInputError(
            f"z is {dtype}, but the batches before were {before}; "
            "convert all batches to one namespace and dtype"
        )
    return dtype


def _carry(error: BaseException, statistics: Any, n_batches: int) -> None:
    """Attach ``statistics`` to an exception, with a note that its traceback shows."""
    with suppress(AttributeError, TypeError):  # an exception may refuse new attributes
        error.statistics = statistics  # type: ignore[attr-defined]
        if statistics is not None:
            error.add_note(
                f"The statistics of the batches before ({n_batches}) are in the attribute "
                "`statistics` of this exception."
            )
