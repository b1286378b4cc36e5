"""Class Gaussians under the latent space of any normalizing flow.

The mathematics of the fixed point stays in `fpigauss`; this package carries it to modules, data
loaders and processes. Every module imports only from those below it in this list:

``imblearn``
    over-sampling from a flow for imbalanced-learn;
``sklearn/``
    a flow over separated Gaussians as an estimator of scikit-learn;
``lightning``
    the callback that refits while Lightning trains;
``refit/``
    refits from a data loader, in one process or many, and the schedule that says when;
``layer/``
    the fixed point as a layer, whose Gaussians are differentiable functions of the latents;
``augment/``
    new samples from latents that are moved within their class;
``open_set/``
    samples that belong to no class, how confident a posterior may be, a class added later;
``bases/``
    the Gaussians as the base distribution of a library's own flow;
``priors/``
    the priors that the paper compares with, under the same interface;
``flow``
    ``ClassFlow``: a flow over a prior;
``codecs/``
    a flow of any library as encode and decode;
``gaussians/``
    the class Gaussians that the fixed point fits, in place;
``prior``
    what every prior over flat latents offers.

Flow libraries are imported only by their own codecs and bases, and only when these are used.
"""

import sys

try:
    import einops as _einops  # noqa: F401
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fpigauss_torch needs torch and einops: pip install "fpigauss[torch]"'
    ) from error

from fpigauss import __version__
from fpigauss.interface import forward_old_addresses
from fpigauss_torch._moved import MOVED, NOT_PUBLIC
from fpigauss_torch._support import ClassDensity, RefitRejectedError, RepeatedRepulsionWarning
from fpigauss_torch.augment import (
    LatentAugmentation,
    PrincipalAxes,
    class_preservation,
    mix_within_class,
    noise_along_axes,
)
from fpigauss_torch.bases import as_base, without_context
from fpigauss_torch.codecs import (
    Codec,
    FunctionCodec,
    TarFlowCodec,
    codec_for,
    register_codec,
)
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.gaussians import LatentGaussians
from fpigauss_torch.layer import DifferentiableFit, fixed_point_layer, fixed_point_layer_of
from fpigauss_torch.open_set import (
    add_class,
    calibrate_temperature,
    rejection_score,
    rejection_threshold,
    typicality_score,
)
from fpigauss_torch.prior import LatentPrior
from fpigauss_torch.refit import FixedPointSchedule, gather_statistics, refit_

__all__ = [
    "ClassDensity",
    "ClassFlow",
    "Codec",
    "DifferentiableFit",
    "FixedPointSchedule",
    "FunctionCodec",
    "LatentAugmentation",
    "LatentGaussians",
    "LatentPrior",
    "PrincipalAxes",
    "RefitRejectedError",
    "RepeatedRepulsionWarning",
    "TarFlowCodec",
    "__version__",
    "add_class",
    "as_base",
    "calibrate_temperature",
    "class_preservation",
    "codec_for",
    "fixed_point_layer",
    "fixed_point_layer_of",
    "gather_statistics",
    "mix_within_class",
    "noise_along_axes",
    "refit_",
    "register_codec",
    "rejection_score",
    "rejection_threshold",
    "typicality_score",
    "without_context",
]

forward_old_addresses(sys.modules[__name__], MOVED, NOT_PUBLIC)
