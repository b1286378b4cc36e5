"""Latents read a chunk of rows at a time, wherever they are: in memory, mapped, or in a store."""

from collections.abc import Iterator
from typing import Any

import array_api_compat
import numpy as np

from fpigauss._array.blocks import blocks
from fpigauss._array.checks import check_matrix
from fpigauss._array.namespaces import (
    as_floating,
    check_dense,
    detached,
    is_array,
    is_on_host,
    precise,
)
from fpigauss._array.traced import check_concrete
from fpigauss._array.typing import Array
from fpigauss.errors import InvalidInputError

__all__ = ["as_rows", "prototype_of", "results_like", "row_chunks", "seen_by_numpy"]

#: Bytes of latents that are read, and again of those that are converted, at a time.
_CHUNK_BYTES = 2**24


def as_rows(z: Any) -> Any:
    """Return ``z`` (N, d) as real numbers to slice rows from; nothing is read yet.

    An array keeps its namespace, and a store (zarr, h5py: anything with a shape and a dtype that
    can be sliced) stays a store; anything else, such as a list or a DataFrame, becomes numpy.
    """
    if array_api_compat.is_dask_array(z):
        raise InvalidInputError("z is a dask array; pass it to ClassStatistics.from_dask")
    check_dense(z, "z")
    if isinstance(z, np.generic) or not (is_array(z) or _is_store(z)):
        z = as_floating(z, "z")
    check_concrete(z, "z")
    z = detached(z)
    check_matrix(z, "z")
    prototype_of(z)
    return precise(z) if is_array(z) else z


def prototype_of(rows: Any) -> Array:
    """Return an empty array in the namespace, device and floating dtype of ``rows``."""
    return as_floating(rows[:0, :], "z")


def results_like(z: Any, rows: Any) -> Array:
    """Return an empty array like the results for ``z``, of which ``rows`` are read."""
    return prototype_of(z if is_array(z) and not isinstance(z, np.generic) else rows)


def seen_by_numpy(rows: Any) -> Any:
    """Return numpy's view of ``rows`` that lie in the host's memory; any others as they are.

    The same memory, but numpy can work in place, and its threads outside the interpreter's lock.
    """
    if isinstance(rows, np.ndarray) or not is_array(rows) or not is_on_host(rows):
        return rows
    try:
        # not by DLPack: torch exports memory in which a sign, or zeros, are not written out yet
        seen = np.asarray(rows)
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return rows
    return seen if seen.dtype.kind in "buif" else rows  # numpy has no bfloat16


def row_chunks(rows: Any) -> Iterator[tuple[slice, Array]]:
    """Yield ``rows`` in floating chunks, each with its place; copy no more than a chunk at a time.

    Floating arrays in memory come whole, as they are, if rows lie one after the other. A store is
    read in multiples of its own chunks, so that each is read (and decompressed) once.
    """
    n_rows, dim = rows.shape
    floating = prototype_of(rows).dtype == rows.dtype
    in_memory = is_array(rows) and not _is_mapped(rows)
    if in_memory and floating and not _is_strided(rows):
        yield slice(0, n_rows), rows
        return
    itemsize = getattr(rows.dtype, "itemsize", 8)
    stored_rows = _stored_rows(rows)
    step = max(1, _CHUNK_BYTES // (dim * itemsize * stored_rows)) * stored_rows
    for slab in blocks(n_rows, 1, step):
        read = rows[slab, :] if in_memory else np.asarray(rows[slab, :])
        for piece in blocks(read.shape[0], dim * (itemsize if floating else 8), _CHUNK_BYTES):
            place = slice(slab.start + piece.start, slab.start + piece.stop)
            yield place, as_floating(_whole(read[piece, :]), "z")


def _is_store(z: Any) -> bool:
    """Say whether ``z`` is read by slicing it."""
    names = ("shape", "ndim", "dtype", "__getitem__")
    return not isinstance(z, type) and all(hasattr(z, name) for name in names)


def _is_strided(z: Any) -> bool:
    """Say whether numpy would copy all of ``z`` in order to take a few rows."""
    return isinstance(z, np.ndarray) and not z.flags.c_contiguous


def _whole(rows: Any) -> Any:
    """Return ``rows`` with the numbers of each row side by side."""
    return np.ascontiguousarray(rows) if _is_strided(rows) else rows


def _is_mapped(z: Any) -> bool:
    """Say whether ``z`` is, or is a view of, a file mapped to memory."""
    while isinstance(z, np.ndarray):
        if isinstance(z, np.memmap):
            return True
        z = z.base
    return False


def _stored_rows(z: Any) -> int:
    """Return the number of rows that a store keeps together."""
    chunks = getattr(z, "chunks", None)
    return chunks[0] if chunks and isinstance(chunks[0], int) else 1
