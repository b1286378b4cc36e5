"""Latents that belong to Gaussians, and what is computed of them a block of rows at a time."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fpigauss._array.blocks import blocks, joined
from fpigauss._array.checks import check_finite_rows, check_width
from fpigauss._array.namespaces import (
    as_floating_like,
    detached,
    is_on_host,
    namespace,
    working_dtype,
)
from fpigauss._array.typing import Array
from fpigauss.gaussians._density import Density

if TYPE_CHECKING:
    from fpigauss.gaussians._densities import Densities

__all__ = ["by_blocks", "latents", "narrowed", "widened"]

#: Bytes that a block of rows takes in the densities, temporaries included: they stay in cache,
_BLOCK_BYTES = 2**24
#: or on an accelerator, where each call costs as much as many rows,
_BLOCK_BYTES_AWAY = 2**28
#: unless that is too few rows for a fast matrix product.
_BLOCK_ROWS = 512


def latents(gaussians: "Densities", z: Any, *, finite: bool = True) -> Array:
    """Check latents (N, d) against the Gaussians; ``finite`` says whether all must be finite."""
    remedy = "convert them with gaussians.to(z)"
    z = as_floating_like(z, "z", gaussians.means, than="the Gaussians", remedy=remedy)
    check_width(z, gaussians.dim)
    if finite:
        check_finite_rows(detached(z))
    return z


def by_blocks(
    gaussians: "Densities", z: Array, function: Callable[[Density, Array], Array]
) -> Array:
    """Apply ``function`` to the densities and to blocks of the rows of checked latents."""
    density = Density.of(gaussians.family, *gaussians.working(), z)
    row_bytes = 8 * (8 * gaussians.n_classes + 6 * gaussians.dim)
    block_bytes = _BLOCK_BYTES if is_on_host(z) else _BLOCK_BYTES_AWAY
    limit = max(block_bytes, _BLOCK_ROWS * row_bytes)
    rows = list(blocks(z.shape[0], row_bytes, limit)) or [slice(0, 0)]
    pieces = [function(density, z[block, :]) for block in rows]
    return joined(pieces)


def widened(z: Array) -> Array:
    """Convert latents to float64, where their device supports it."""
    return namespace(z).astype(z, working_dtype(z), copy=False)


def narrowed(x: Array, z: Array) -> Array:
    """Convert what was computed of widened ``z`` to the dtype of ``z``; float32 for half."""
    xp = namespace(z)
    return xp.astype(x, z.dtype if xp.finfo(z.dtype).bits >= 32 else xp.float32, copy=False)
