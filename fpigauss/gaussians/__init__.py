"""One Gaussian per class: densities, prediction, samples, conversion and files."""

from fpigauss.gaussians._class_gaussians import ClassGaussians

__all__ = ["ClassGaussians"]
