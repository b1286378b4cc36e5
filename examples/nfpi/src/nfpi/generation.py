"""Generate 8-bit images from a flow, to train a classifier for CNN-Acc."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentPrior
from torch import nn

from nfpi.data import ImageSet

__all__ = ["check_generation", "evaluating", "generate_images"]

#: Images generated at once.
_AT_ONCE = 500


@torch.no_grad()
def generate_images(
    model: ClassFlow,
    n_images: int,
    temperature: float = 1.0,
    *,
    seed: int = 0,
    sample: LatentPrior | None = None,
) -> ImageSet:
    """Generate images in 256 gray levels, equally many per class, up to one.

    Parameters
    ----------
    model : ClassFlow
        A flow over images (C, H, W) in [0, 1).
    n_images : int
        How many.
    temperature : float
        Multiplies the latents' standard deviations.
    seed : int
        Seeds the latents.
    sample : LatentPrior, optional
        Source of the latents; by default the model's own Gaussians.

    Returns
    -------
    ImageSet
        Pixels outside [0, 1) are clipped; NaN becomes gray, with a warning.
    """
    prior = model.gaussians if sample is None else sample
    ours, theirs = ((p.n_classes, p.dim) for p in (model.gaussians, prior))
    if ours != theirs:
        raise InvalidInputError(
            f"sample has {theirs[0]} classes in {theirs[1]} dimensions, the flow's Gaussians "
            f"{ours[0]} in {ours[1]}; estimate it from the flow's own latents"
        )
    check_generation(prior.n_classes, n_images, temperature)
    labels = torch.arange(n_images) % prior.n_classes
    # scalars do not decide the dtype of a sum: normflows keeps some in float64
    floating = (p.dtype for p in model.codec.parameters() if p.is_floating_point() and p.ndim)
    dtype = next(floating, torch.get_default_dtype())
    generator = torch.Generator().manual_seed(seed)
    parts, n_broken = [], 0
    with evaluating(model):
        for part in labels.split(_AT_ONCE):
            x = model.decode(prior.sample(part, temperature, generator, dtype=dtype)).float()
            n_broken += int(x.flatten(1).isnan().any(1).sum())
            levels = (256.0 * x.nan_to_num(0.5, 1.0, 0.0)).floor().clamp(0.0, 255.0)
            parts.append(levels.to(torch.uint8).cpu())
    if n_broken:
        warnings.warn(
            f"{n_broken} of {n_images} generated images have pixels that are not numbers; they "
            "are gray instead. Lower the temperature, or train the flow for longer",
            RuntimeWarning,
            stacklevel=2,
        )
    return ImageSet(torch.cat(parts), labels, prior.n_classes, "generated images")


def check_generation(n_classes: int, n_images: int, temperature: float) -> None:
    """Refuse arguments of ``generate_images`` before a flow is trained for them."""
    if n_images < n_classes:
        raise InvalidInputError(
            f"n_images is {n_images}; pass at least one for each of {n_classes} classes"
        )
    if not 0.0 <= temperature < math.inf:
        raise InvalidInputError(f"temperature is {temperature}; pass a finite number >= 0")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to eval mode, and restore every module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
