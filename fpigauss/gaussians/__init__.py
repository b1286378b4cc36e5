"""One Gaussian per class: densities, prediction, samples, conversion and files."""

from fpigauss.gaussians._class_gaussians import ClassGaussians
from fpigauss.gaussians._likelihood import balanced_nll

__all__ = ["ClassGaussians", "balanced_nll"]
