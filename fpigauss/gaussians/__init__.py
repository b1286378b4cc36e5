"""One Gaussian per class: densities, prediction, samples, conversion and files."""

from fpigauss.gaussians._blocks import by_blocks, latents, narrowed, widened
from fpigauss.gaussians._class_gaussians import ClassGaussians
from fpigauss.gaussians._density import Density
from fpigauss.gaussians._discriminants import discriminant_axes, projected
from fpigauss.gaussians._given import check_gaussians, gaussians_to_pass, gaussians_within
from fpigauss.gaussians._likelihood import balanced_nll
from fpigauss.gaussians._priors import joint, log_priors, mixture

__all__ = [
    "ClassGaussians",
    "Density",
    "balanced_nll",
    "by_blocks",
    "check_gaussians",
    "discriminant_axes",
    "gaussians_to_pass",
    "gaussians_within",
    "joint",
    "latents",
    "log_priors",
    "mixture",
    "narrowed",
    "projected",
    "widened",
]
