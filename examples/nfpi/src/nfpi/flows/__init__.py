"""Build flows of images by name.

``mef`` is the matrix-exponential Glow, ``mef16`` to ``mef64`` are its presets; ``tarflow`` is the
autoregressive transformer flow, ``tarflow16`` its preset; ``coupling`` is a small flow for runs on
a CPU; ``glow`` and ``residual`` are built from normflows; ``vae`` is a variational autoencoder,
which bounds the density. Each takes images (N, C, H, W) in [0, 1) and preprocesses them; its
log-determinant includes the preprocessing. With the option ``autoencoder`` a flow is one of the
latents of any encoder, see ``encoded``.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

from fpigauss import InvalidInputError
from torch import nn

from nfpi.flows.base import ImageCodec, ImageFlow, Shape, without_log_determinants
from nfpi.flows.coupling import CouplingFlow
from nfpi.flows.encoded import EncodedFlow, make_autoencoder
from nfpi.flows.mef import MEF_PRESETS, MatrixExpFlow
from nfpi.flows.tarflow import TARFLOW_PRESETS, TarFlow
from nfpi.flows.variational import VariationalFlow

__all__ = [
    "FLOW_NAMES",
    "PRESETS",
    "CouplingFlow",
    "EncodedFlow",
    "ImageCodec",
    "ImageFlow",
    "MatrixExpFlow",
    "TarFlow",
    "VariationalFlow",
    "density_dim",
    "latent_dim",
    "make_flow",
    "without_log_determinants",
]

#: Options by the name of a preset, for ``mef`` and ``tarflow``.
PRESETS = {**MEF_PRESETS, **TARFLOW_PRESETS}

FLOW_NAMES = (
    "coupling", "mef", *MEF_PRESETS, "tarflow", *TARFLOW_PRESETS, "glow", "residual", "vae",
)  # fmt: skip


def latent_dim(image_shape: Shape, flow: nn.Module | None = None) -> int:
    """Return the dimension of a flow's latents.

    It is that of an image (C, H, W), unless an encoder has fewer latents.
    """
    if isinstance(flow, EncodedFlow | VariationalFlow):
        return sum(math.prod(shape) for shape in flow.latent_shapes)
    return math.prod(image_shape)


def density_dim(image_shape: Shape, flow: nn.Module) -> int:
    """Return the dimension of what a flow's density is of: images, or an encoder's latents."""
    return latent_dim(image_shape, flow if isinstance(flow, EncodedFlow) else None)


def make_flow(name: str, image_shape: Shape, **options: Any) -> nn.Module:
    """Build a flow of images in [0, 1), with its preprocessing.

    Parameters
    ----------
    name : str
        One of ``FLOW_NAMES``.
    image_shape : tuple of int
        (C, H, W).
    **options
        Options of the flow; they override a preset's. With ``autoencoder`` ("module:function") and
        ``autoencoder_options``, the flow is of the latents of that autoencoder.

    Returns
    -------
    torch.nn.Module
        ``ClassFlow`` takes it unchanged.

    Raises
    ------
    InvalidInputError
        If there is no such flow, it has no such option, or it cannot take such images.

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
    autoencoder, of_autoencoder = (
        options.pop(name, None) for name in ("autoencoder", "autoencoder_options")
    )
    if autoencoder is not None:
        options.setdefault("preprocessing", "scale")  # latents have no bounds
        return EncodedFlow(
            shape,
            make_autoencoder(autoencoder, of_autoencoder),
            lambda encoded: make_flow(name, encoded, **options),
        )
    if of_autoencoder is not None:
        raise InvalidInputError("autoencoder_options has no effect without autoencoder")
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
    if name == "mef" or name in MEF_PRESETS:
        return MatrixExpFlow
    if name == "tarflow" or name in TARFLOW_PRESETS:
        return TarFlow
    if name == "vae":
        return VariationalFlow
    if name in ("glow", "residual"):
        from nfpi.flows import library  # only these need normflows, which takes a second to import

        return library.make_glow if name == "glow" else library.make_residual
    raise InvalidInputError(f"flow is {name!r}; pass one of {', '.join(FLOW_NAMES)}")
