"""Class Gaussians under the latent space of any normalizing flow, for PyTorch."""

from fpigauss import __version__
from fpigauss_torch._errors import RefitRejectedError
from fpigauss_torch.codecs import Codec, FunctionCodec, codec_for, register_codec
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.gaussians import LatentGaussians
from fpigauss_torch.prior import LatentPrior

__all__ = [
    "ClassFlow",
    "Codec",
    "FunctionCodec",
    "LatentGaussians",
    "LatentPrior",
    "RefitRejectedError",
    "__version__",
    "codec_for",
    "register_codec",
]
