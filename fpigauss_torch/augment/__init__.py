"""New samples of the same classes, made by moving latents within their class."""

from fpigauss_torch.augment._augmentation import LatentAugmentation
from fpigauss_torch.augment._perturbation import mix_within_class, noise_along_axes
from fpigauss_torch.augment._preservation import class_preservation
from fpigauss_torch.augment._principal_axes import PrincipalAxes

__all__ = [
    "LatentAugmentation",
    "PrincipalAxes",
    "class_preservation",
    "mix_within_class",
    "noise_along_axes",
]
