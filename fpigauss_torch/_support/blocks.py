"""Class densities of many rows, a block of rows at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

from fpigauss.interface import check_positive_integer
from fpigauss_torch._support.functional import is_wrapped

__all__ = ["MEMORY_LIMIT", "by_blocks"]

#: Bytes that the class densities of a block may take, temporaries included.
MEMORY_LIMIT = 2**30

#: Bytes beyond which a block is slower on a processor, as it leaves its cache: half as fast at
#: 2**30, measured with 1000 classes in 64 dimensions.
_IN_CACHE = 2**26

#: Numbers of a row while its densities are computed: per class, and per dimension.
_PER_CLASS, _PER_DIM = 8, 8


def by_blocks(
    function: Callable[..., Tensor],
    z: Tensor,
    n_classes: int,
    memory_limit: int = MEMORY_LIMIT,
    along: tuple[Tensor, ...] = (),
) -> Tensor:
    """Apply ``function`` to as many rows of ``z`` (N, d) at a time as the limit lets.

    It gives a result per row, whose memory is not counted; rows of the tensors ``along`` (N, ...)
    are passed with those of ``z``. No gradients flow through more than one block. Within a compiled
    graph, or a transform of ``torch.func``, all rows are one block.
    """
    memory_limit = check_positive_integer(memory_limit, "memory_limit")
    if torch.compiler.is_compiling() or is_wrapped(z):
        return function(z, *along)
    width = max(4, z.element_size())
    row_bytes = width * (_PER_CLASS * n_classes + _PER_DIM * z.shape[1])
    limit = min(memory_limit, _IN_CACHE) if z.device.type == "cpu" else memory_limit
    n_rows = max(1, limit // row_bytes)
    if z.shape[0] <= n_rows:
        return function(z, *along)
    first = function(*(x[:n_rows] for x in (z, *along)))
    results = first.new_empty((z.shape[0], *first.shape[1:]))  # concatenated, they would be twice
    results[:n_rows] = first
    for start in range(n_rows, z.shape[0], n_rows):
        results[start : start + n_rows] = function(
            *(x[start : start + n_rows] for x in (z, *along))
        )
    return results
