"""What a tensor has to be before anything is computed with it."""

from typing import Any

import torch
from torch import Tensor

from fpigauss import ClassStatistics, InvalidInputError

__all__ = [
    "as_generator",
    "check_latents",
    "check_statistics",
    "checked_encoding",
]


def check_latents(z: Any, dim: int, device: torch.device) -> None:
    """``z`` is a floating (N, dim) tensor on ``device``; its numbers are not looked at."""
    if device.type == "meta":
        raise InvalidInputError(
            "the Gaussians lie on the meta device, without numbers; to_empty(device=...) the "
            "model, then load a state"
        )
    if not isinstance(z, Tensor):
        raise InvalidInputError(f"z is a {type(z).__name__}; pass a tensor")
    if z.ndim != 2 or z.shape[1] != dim:
        raise InvalidInputError(
            f"z has shape {tuple(z.shape)}, (N, {dim}) is needed; flatten the latents of a sample"
        )
    if not z.is_floating_point():
        raise InvalidInputError(f"z has dtype {z.dtype}; pass floating-point latents")
    if z.device != device:
        raise InvalidInputError(
            f"z lies on {z.device}, the Gaussians on {device}; move one of them with .to()"
        )


def checked_encoding(encoded: Any, n_rows: int) -> tuple[Tensor, Tensor]:
    """What a codec gave for ``n_rows`` samples: latents (N, ...) and log-determinants (N,)."""
    parts = encoded if isinstance(encoded, (tuple, list)) else (encoded,)
    if len(parts) != 2 or not all(isinstance(part, Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise InvalidInputError(
            f"codec encodes to ({kinds}); return the tensors (z, logdet), of shapes (N, ...) and "
            "(N,)"
        )
    z, logdet = parts
    # (N, 1) would broadcast to (N, N) further on
    if z.shape[:1] != (n_rows,) or logdet.shape != (n_rows,):
        raise InvalidInputError(
            f"codec gives z of shape {tuple(z.shape)} and logdet of shape {tuple(logdet.shape)} "
            f"for {n_rows} samples; give a row and a number, summed over dimensions, a sample"
        )
    return z, logdet


def as_generator(seed: Any) -> torch.Generator | None:
    """A generator of ``seed``: an int makes one on the host, so that devices agree."""
    if seed is None or isinstance(seed, torch.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InvalidInputError(
            f"seed is {seed!r}; pass an int from 0 to 2**63 - 1, a torch.Generator or None"
        )
    return torch.Generator().manual_seed(seed)


def check_statistics(statistics: Any, n_classes: int, dim: int) -> None:
    """``statistics`` are of these sizes, with samples of every class."""
    if not isinstance(statistics, ClassStatistics):
        raise InvalidInputError(
            f"statistics is a {type(statistics).__name__}; pass a ClassStatistics"
        )
    if (statistics.n_classes, statistics.dim) != (n_classes, dim):
        raise InvalidInputError(
            f"statistics are of {statistics.n_classes} classes in {statistics.dim} dimensions, "
            f"the Gaussians of {n_classes} in {dim}; gather them with classes=range(n_classes) "
            "from latents of this width"
        )
    empty = (torch.as_tensor(statistics.counts) <= 0.0).nonzero()[:, 0].tolist()
    if empty:
        named = ", ".join(map(str, empty[:6])) + (", ..." if len(empty) > 6 else "")
        raise InvalidInputError(
            f"statistics hold no sample of class {named}; give every class 0..{n_classes - 1} "
            "samples, or make the prior with fewer classes"
        )
