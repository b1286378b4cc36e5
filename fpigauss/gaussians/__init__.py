"""One Gaussian per class: densities, prediction, samples, conversion and files."""

from fpigauss.gaussians._class_gaussians import ClassGaussians
from fpigauss.gaussians._discriminants import discriminant_axes, projected

__all__ = ["ClassGaussians", "discriminant_axes", "projected"]
