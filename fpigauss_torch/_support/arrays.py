"""Array-likes as tensors, and samples as a flow can take them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fpigauss import InvalidInputError

__all__ = ["as_samples", "as_tensor", "deciding_parameters", "not_encoded"]


def as_tensor(value: Any, name: str, remedy: str, dtype: torch.dtype | None = None) -> Tensor:
    """Convert an array-like of any library to a tensor; lists of integers too, to integers."""
    if isinstance(value, Tensor):
        return value
    try:
        if hasattr(value, "__array__"):  # a copy: torch takes no foreign byte order, nor views
            array = np.array(value, order="C")
            value = array.astype(array.dtype.newbyteorder("="), copy=False)
        # wherever tensors of this process are made by default: callers move them
        return torch.as_tensor(value, dtype=dtype, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"{name} cannot be converted to a tensor ({error}); {remedy}"
        ) from None


def deciding_parameters(codec: nn.Module) -> Iterator[nn.Parameter]:
    """Iterate over the parameters whose dtype is that of the flow's work.

    Scalars do not decide the dtype of a sum or product, and normflows keeps some in float64. They
    count only in a flow without other parameters.
    """
    scalars = []
    found = False
    for parameter in codec.parameters():
        if not parameter.is_floating_point():
            continue
        if parameter.ndim == 0:
            scalars.append(parameter)
        else:
            found = True
            yield parameter
    if not found:
        yield from scalars


def as_samples(x: Any, codec: nn.Module, elsewhere: Callable[[], torch.device]) -> Tensor:
    """Return samples on the device and in the floating dtype of the flow's parameters.

    Tensors stay as they are where these differ among themselves, or there are none; array-likes
    then go to the device that ``elsewhere`` gives. Integers stay integers: a flow may dequantize
    them itself.
    """
    floating = deciding_parameters(codec)
    first = None if torch.compiler.is_compiling() else next(floating, None)
    samples = _tensor(x, elsewhere, torch.get_default_dtype() if first is None else first.dtype)
    if first is None or (samples.dtype == first.dtype and samples.device == first.device):
        return samples
    others = list(floating)
    if first.device.type != "meta" and all(p.device == first.device for p in others):
        samples = samples.to(first.device)
    if _is_cast(samples) and all(p.dtype == first.dtype for p in others):
        samples = samples.to(first.dtype)
    return samples


def _tensor(x: Any, elsewhere: Callable[[], torch.device], dtype: torch.dtype) -> Tensor:
    """Convert samples to a tensor: numbers of Python to ``dtype``, others in their own."""
    if isinstance(x, Tensor):
        return x
    remedy = "pass samples (N, ...) as a tensor or an array of numbers"
    return as_tensor(x, "x", remedy, dtype if isinstance(x, list | tuple) else None).to(elsewhere())


def _is_cast(x: Tensor) -> bool:
    """Return whether samples take the flow's dtype; autocast decides itself, except on float64."""
    return x.is_floating_point() and (
        x.dtype == torch.float64 or not torch.is_autocast_enabled(x.device.type)
    )


def not_encoded(
    x: Tensor,
    dim: int,
    shapes: Sequence[tuple[int, ...]] | None = None,
    error: Exception | None = None,
) -> str | None:
    """Return what is wrong with samples that a flow could not encode, where that can be told.

    ``shapes`` are those of the flow's latents, if it has encoded samples before.
    """
    if x.ndim == 0 or (dim > 1 and (x.ndim == 1 or (x.shape[0] > 1 and x.numel() == dim))):
        return f"x has shape {tuple(x.shape)}; pass samples (N, ...), x[None] if it is one of them"
    if not (x.is_floating_point() or x.is_complex()):
        return (
            f"x has dtype {x.dtype}, which this flow does not encode; pass floating-point samples, "
            "scaled as in training: x / 255 for 8-bit images scaled to [0, 1]"
        )
    if isinstance(error, InvalidInputError):  # of a codec: it says what is wrong
        return None
    if error is not None and x.shape[1:].numel() == dim:
        fails = (
            f"x has shape {tuple(x.shape)}, and the flow fails ({type(error).__name__}: {error})"
        )
        if x.ndim > 2 and all(len(shape) == 1 for shape in shapes or ()):
            return f"{fails}; if it is a flow of vectors, flatten each sample: x.flatten(1)"
        if x.ndim == 2 and any(len(shape) > 1 for shape in shapes or ()):
            return f"{fails}; pass samples of the shape that it was trained on, images for example"
    return None
