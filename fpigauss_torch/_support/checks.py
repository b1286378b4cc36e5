"""Input checks: what latents, encodings, seeds and statistics must be before they are used."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from fpigauss import ClassStatistics, InvalidInputError
from fpigauss.interface import as_integer
from fpigauss_torch._support.arrays import as_tensor

__all__ = [
    "ON_META",
    "as_generator",
    "as_integer",
    "as_latents",
    "check_statistics",
    "checked_encoding",
]

ON_META = (
    "the Gaussians are on the meta device, without values; call to_empty(device=...) on the model, "
    "then load a state"
)


def as_latents(latents: Any, dim: int, device: torch.device, *, name: str = "z") -> Tensor:
    """Check that latents are a floating-point (N, dim) tensor on ``device``.

    Arrays of other libraries, and lists, become one there. Values are not checked.
    """
    if device.type == "meta":
        raise InvalidInputError(ON_META)
    listed = torch.get_default_dtype() if isinstance(latents, list | tuple) else None
    remedy = f"pass latents (N, {dim}), a tensor or an array of numbers"
    z = as_tensor(latents, name, remedy, listed)
    z = z if z is latents else z.to(device)
    if z.ndim != 2 or z.shape[1] != dim:
        one = tuple(z.shape) == (dim,)
        remedy = f"pass {name}[None] for one row" if one else "flatten each sample's latents"
        if z.ndim == 1 and not one:
            remedy = f"pass one row per sample{'; are z and y swapped?' * (name == 'z')}"
        if z.ndim == 1 and dim == 1:
            remedy = f"pass {name}[:, None]"
        raise InvalidInputError(
            f"{name} has shape {tuple(z.shape)}, (N, {dim}) is needed; {remedy}"
        )
    if not z.is_floating_point():
        raise InvalidInputError(f"{name} has dtype {z.dtype}; pass floating-point latents")
    if z.device != device:
        raise InvalidInputError(
            f"{name} is on {z.device}, the Gaussians are on {device}; move one of them with .to()"
        )
    return z


def checked_encoding(encoded: Any, n_rows: int) -> tuple[Tensor, Tensor]:
    """Check what a codec returned for ``n_rows`` samples: latents (N, ...), log-determinants."""
    parts = encoded if isinstance(encoded, (tuple, list)) else (encoded,)
    if len(parts) != 2 or not all(isinstance(part, Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise InvalidInputError(
            f"codec encodes to ({kinds}); return the tensors (z, logdet), of shapes (N, ...) and "
            "(N,)"
        )
    z, logdet = parts
    # (N, 1) would broadcast to (N, N) later
    if z.shape[:1] != (n_rows,) or logdet.shape != (n_rows,):
        raise InvalidInputError(
            f"codec gives z of shape {tuple(z.shape)} and logdet of shape {tuple(logdet.shape)} "
            f"for {n_rows} samples; return one row and one number, summed over dimensions, per "
            "sample"
        )
    return z, logdet


def as_generator(seed: Any) -> torch.Generator | None:
    """Make a generator of ``seed``: an int makes one on the host, so that all devices agree."""
    if seed is None or isinstance(seed, torch.Generator):
        return seed
    number = as_integer(seed)
    if number is None or not 0 <= number < 2**63:
        raise InvalidInputError(
            f"seed is {seed!r}; pass an int from 0 to 2**63 - 1, a torch.Generator or None"
        )
    return torch.Generator("cpu").manual_seed(number)


def check_statistics(
    statistics: Any, n_classes: int, dim: int, *, frozen: Collection[Any] = ()
) -> None:
    """Raise an error unless ``statistics`` have these sizes, and samples of all but ``frozen``."""
    if not isinstance(statistics, ClassStatistics):
        raise InvalidInputError(
            f"statistics is a {type(statistics).__name__}; pass a ClassStatistics"
        )
    if (statistics.n_classes, statistics.dim) != (n_classes, dim):
        raise InvalidInputError(
            f"statistics have {statistics.n_classes} classes in {statistics.dim} dimensions, "
            f"the Gaussians {n_classes} in {dim}; gather them with classes=range(n_classes) "
            "from latents of this width"
        )
    without = (torch.as_tensor(statistics.counts, device="cpu") <= 0.0).nonzero()[:, 0].tolist()
    empty = [k for k in without if statistics.classes[k].item() not in frozen]
    if empty:
        named = ", ".join(map(str, empty[:6])) + (", ..." if len(empty) > 6 else "")
        raise InvalidInputError(
            f"statistics contain no sample of class {named}; give every class 0..{n_classes - 1} "
            "samples, or make the prior with fewer classes"
        )
