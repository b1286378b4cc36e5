"""fpigauss_torch: class Gaussians under the latent space of any normalizing flow.

The fixed point's mathematics stays in `fpigauss`; what is here carries it to modules, data loaders
and processes. In reading order:

``prior``, ``gaussians``
    class densities over flat latents, as modules; those that the fixed point fits, in place;
``codecs``, ``flow``
    a flow of any library as encode and decode; such a flow over a prior;
``bases``
    the Gaussians as a library's own base distribution;
``refit``, ``schedule``, ``lightning``
    refits from a data loader, in one process or many; when they happen;
``priors``
    what the paper compares with, under the same interface;
``principal_axes``, ``perturbation``, ``augmentation``
    new samples from disturbed latents;
``rejection``, ``calibration``, ``new_class``
    what belongs to no class, how sure a posterior is, and a class more.

No flow library is imported by it.
"""

from fpigauss import __version__
from fpigauss_torch._errors import RefitRejectedError
from fpigauss_torch.augmentation import LatentAugmentation, class_preservation
from fpigauss_torch.bases import as_base, without_context
from fpigauss_torch.calibration import calibrate_temperature
from fpigauss_torch.codecs import Codec, FunctionCodec, codec_for, register_codec
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.gaussians import LatentGaussians
from fpigauss_torch.new_class import add_class
from fpigauss_torch.perturbation import mix_within_class, noise_along_axes
from fpigauss_torch.principal_axes import PrincipalAxes
from fpigauss_torch.prior import LatentPrior
from fpigauss_torch.refit import gather_statistics, refit_
from fpigauss_torch.rejection import rejection_score, rejection_threshold, typicality_score
from fpigauss_torch.schedule import FixedPointSchedule

__all__ = [
    "ClassFlow",
    "Codec",
    "FixedPointSchedule",
    "FunctionCodec",
    "LatentAugmentation",
    "LatentGaussians",
    "LatentPrior",
    "PrincipalAxes",
    "RefitRejectedError",
    "__version__",
    "add_class",
    "as_base",
    "calibrate_temperature",
    "class_preservation",
    "codec_for",
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
