"""Dimensions in which refitted Gaussians are so thin that training the flow would leave them."""

import torch
from torch import Tensor

from fpigauss import FixedPointResult
from fpigauss.interface import warn_user
from fpigauss_torch.gaussians import LatentGaussians

__all__ = ["warn_of_thin_axes"]

#: Below this part of the mean variance, a dimension is thin. Measured on raw images ("Images" in
#: docs/flows.rst): at 0.001 the first step of Adam costs 940 nats, and accuracy does not recover;
#: at 0.01 it costs 140, and it does.
_THIN = 5e-3


def warn_of_thin_axes(before: LatentGaussians, result: FixedPointResult) -> None:
    """Warn if a refit made dimensions thin, and the Gaussians ``before`` had no thin one.

    A step of an optimizer moves latents by a similar amount in every dimension. Where a Gaussian is
    thin, that is many of its standard deviations, and the loss grows with their square.
    """
    if result.status in ("unbounded", "diverged"):
        return  # these have their own warnings: an axis was inflated, the others are not thin
    fitted = result.gaussians
    ratios = _ratios(before, fitted.covariances)
    thin = ratios < _THIN
    if not bool(thin.any()) or bool((_ratios(before, before.covariances) < _THIN).any()):
        return
    code = int(thin.sum(1).argmax())
    axes = thin[code].nonzero()[:, 0].tolist()
    named = ", ".join(map(str, axes[:6])) + (", ..." if len(axes) > 6 else "")
    where = f"{len(axes)} of {fitted.dim} dimensions ({named})"
    whose = "" if fitted.family.tied else f" of class {code}"
    n_classes = int(thin.any(1).sum())
    others = f", and of {n_classes - 1} more classes," if n_classes > 1 else ""
    warn_user(
        f"the refitted variances{whose} in {where}{others} are below {_THIN:g} of the mean "
        f"variance; the least is {float(ratios[code].min()):.2g} of it. The first training steps "
        "may move the latents many standard deviations there, and the flow may not recover. Refit "
        "with shrinkage, fit=FixedPoint(shrinkage=0.03) for example, use "
        'LatentGaussians(covariance="isotropic"), or add noise to the data',
        UserWarning,
    )


def _ratios(like: LatentGaussians, covariances: Tensor) -> Tensor:
    """Compute each axis's variance given the other axes, over the mean variance: (n, d).

    Given the others, since a dense Gaussian may be thin in a direction that is not an axis.
    """
    family, dim = like.family, like.dim
    with torch.no_grad():
        root, inverse = family.as_matrices(family.factor(family.unpack(covariances)), dim)
        if root.ndim == 2:  # diagonal: (n, d) or (n, 1)
            variances = given = root.square()
        else:
            variances, given = root.square().sum(2), 1.0 / inverse.square().sum(1)
        ratios: Tensor = given / variances.mean(1, keepdim=True)
        return ratios
