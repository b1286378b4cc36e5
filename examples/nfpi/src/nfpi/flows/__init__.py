"""Flows of images, by name.

``mef`` is the matrix-exponential Glow, ``mef16`` to ``mef64`` its presets, ``coupling`` a small
flow for runs on a CPU; ``glow`` and ``residual`` are made of normflows. Each takes images in [0, 1)
(N, C, H, W) and preprocesses them itself, and its log-determinant includes that.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

from fpigauss import InvalidInputError
from torch import nn

from nfpi.flows.base import ImageCodec, ImageFlow, Shape
from nfpi.flows.coupling import CouplingFlow
from nfpi.flows.mef import PRESETS, MatrixExpFlow

__all__ = [
    "FLOW_NAMES",
    "PRESETS",
    "CouplingFlow",
    "ImageCodec",
    "ImageFlow",
    "MatrixExpFlow",
    "latent_dim",
    "make_flow",
]

FLOW_NAMES = ("coupling", "mef", *PRESETS, "glow", "residual")


def latent_dim(image_shape: Shape) -> int:
    """Dimensions of the latents: as many as of an image (C, H, W)."""
    return math.prod(image_shape)


def make_flow(name: str, image_shape: Shape, **options: Any) -> nn.Module:
    """A flow of images in [0, 1), its preprocessing included.

    Parameters
    ----------
    name : str
        One of ``FLOW_NAMES``.
    image_shape : tuple of int
        (C, H, W).
    **options
        Of the flow; what a preset sets can be overridden.

    Returns
    -------
    torch.nn.Module
        ``ClassFlow`` takes it as it is.

    Raises
    ------
    InvalidInputError
        If there is no such flow, or it has no such option, or cannot take such images.

    Examples
    --------
    >>> from fpigauss_torch import ClassFlow, LatentGaussians
    >>> flow = make_flow("coupling", (1, 8, 8), hidden=16)
    >>> model = ClassFlow(flow, LatentGaussians(n_classes=10, dim=latent_dim((1, 8, 8))))
    >>> model.sample([3, 7], seed=0).shape
    torch.Size([2, 1, 8, 8])
    """
    shape = tuple(image_shape)
    if len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise InvalidInputError(f"image_shape is {image_shape!r}; pass (channels, height, width)")
    maker = _maker(name)
    known = [
        p.name for p in inspect.signature(maker).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InvalidInputError(
            f"flow {name!r} has no option {', '.join(unknown)}; it has {', '.join(known)}"
        )
    return maker(shape, **{**PRESETS.get(name, {}), **options})


def _maker(name: str) -> Callable[..., nn.Module]:
    if name == "coupling":
        return CouplingFlow
    if name == "mef" or name in PRESETS:
        return MatrixExpFlow
    if name in ("glow", "residual"):
        from nfpi.flows import library  # normflows is needed by these alone

        return library.make_glow if name == "glow" else library.make_residual
    raise InvalidInputError(f"flow is {name!r}; pass one of {', '.join(FLOW_NAMES)}")
