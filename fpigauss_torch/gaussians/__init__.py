"""The class Gaussians that the fixed point fits, as a module beside a flow."""

from fpigauss.interface import renamed
from fpigauss_torch.gaussians._latent_gaussians import LatentGaussians

__all__ = ["LatentGaussians"]

__getattr__ = renamed(__name__, {"ACCEPTED": "fpigauss_torch._support:ACCEPTED"})
