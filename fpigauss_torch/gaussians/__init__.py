"""The class Gaussians that the fixed point fits, as a module beside a flow."""

from fpigauss.interface import renamed
from fpigauss_torch.gaussians._latent_gaussians import LatentGaussians
from fpigauss_torch.gaussians._repeated import Replacement, warn_of_repeated_repulsion

__all__ = ["LatentGaussians", "Replacement", "warn_of_repeated_repulsion"]

__getattr__ = renamed(__name__, {"ACCEPTED": "fpigauss_torch._support:ACCEPTED"})
