"""The class Gaussians that the fixed point fits, as a module beside a flow."""

from fpigauss_torch.gaussians._latent_gaussians import LatentGaussians

__all__ = ["LatentGaussians"]
