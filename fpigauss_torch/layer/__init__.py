"""The fixed point as a layer: fitted Gaussians that are differentiable functions of the latents."""

from fpigauss_torch.layer._calls import fixed_point_layer, fixed_point_layer_of
from fpigauss_torch.layer._fit import DifferentiableFit

__all__ = ["DifferentiableFit", "fixed_point_layer", "fixed_point_layer_of"]
