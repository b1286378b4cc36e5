"""Several processes that act as one: statistics are summed, errors shared, tensors broadcast.

In a single process no function here has an effect.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from einops import einsum
from torch import Tensor, nn

from fpigauss import ClassGaussians, ClassStatistics, InvalidInputError

__all__ = ["check_alike", "combined", "is_first", "of_first", "raised_together", "take_over_first"]


def _are_many() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first() -> bool:
    """Return whether this process is the one that shows progress."""
    return not _are_many() or dist.get_rank() == 0


@contextmanager
def raised_together() -> Iterator[None]:
    """Raise at the end of the block, in every process, what one process raised inside.

    No process may wait for another inside the block: the one that failed would never arrive.
    """
    if not _are_many():
        yield
        return
    own: Exception | None = None
    try:
        yield
    except Exception as error:  # noqa: BLE001  (it is raised again, in all of them)
        own = error
    told: list[tuple[bool, str] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(told, None if own is None else _described(own))
    if own is not None:
        own.add_note(f"Raised on rank {dist.get_rank()} of {dist.get_world_size()}.")
        raise own
    for rank, description in enumerate(told):
        if description is not None:
            of_input, message = description
            kind = InvalidInputError if of_input else RuntimeError
            raise kind(f"rank {rank}: {message}")


def check_alike(what: str, own: Any) -> None:
    """Raise an error unless ``own`` is the same in all processes.

    All of them have to call this, since each waits for the others.
    """
    if not _are_many():
        return
    told: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(told, own)
    for rank, theirs in enumerate(told):
        if theirs != told[0]:
            raise InvalidInputError(
                f"{what} are {theirs} on rank {rank} and {told[0]} on rank 0; "
                "call it with the same models and copies in all processes"
            )


def _described(error: Exception) -> tuple[bool, str]:
    """Return whether the input is at fault, and the message: not every error can be pickled."""
    if isinstance(error, InvalidInputError):
        return True, str(error)
    return False, f"{type(error).__name__}: {error}"


def combined(statistics: ClassStatistics) -> ClassStatistics:
    """Combine the statistics of every process, which have the same classes.

    Differences from a common center are summed: far from the origin, sums of the latents
    themselves, or of their squares, would lose the digits of their spread.
    """
    if not _are_many():
        return statistics
    counts, means = statistics.counts, statistics.means
    sums = _summed(torch.cat([counts[:, None], counts[:, None] * means], 1))  # (K, 1 + d)
    total = sums[:, :1]
    weight = counts[:, None] / total.clamp_min(1.0)  # (K, 1); zeros where no process has a sample
    center = sums[:, 1:] / total.clamp_min(1.0)  # the mean, up to the rounding of large sums
    mean = center + _summed(weight * (means - center))
    offset = means - mean
    if statistics.covariance == "dense":
        between = einsum(offset, offset, "k i, k j -> k i j")
        scatter = _summed(weight[:, :, None] * (statistics.covariances + between))
        scatter = (scatter + scatter.mT) / 2.0  # its two halves may be summed in different orders
    else:
        scatter = _summed(weight * (statistics.covariances + offset.square()))
    return ClassStatistics(
        total[:, 0], mean, scatter, classes=statistics.classes, closed=statistics.closed
    )


def _summed(part: Tensor) -> Tensor:
    """Sum over all processes."""
    total: Tensor = part.contiguous()
    dist.all_reduce(total)
    return total


def of_first(gaussians: ClassGaussians) -> ClassGaussians:
    """Return the first process's Gaussians: processors may round differently."""
    if not _are_many():
        return gaussians
    fields: dict[str, Any] = {}
    for name in ("means", "covariances"):
        fields[name] = getattr(gaussians, name).contiguous().clone()
        dist.broadcast(fields[name], 0)
    return replace(gaussians, **fields)


@torch.no_grad()
def take_over_first(module: nn.Module) -> None:
    """Copy parameters and buffers from the first process."""
    if _are_many():
        for tensor in (*module.parameters(), *module.buffers()):
            value = tensor.detach().contiguous()
            dist.broadcast(value, 0)
            tensor.copy_(value)
