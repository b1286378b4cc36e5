"""Linear discriminant axes, along which class means part most, and projections onto axes."""

from fpigauss._array.flags import unflagged
from fpigauss._array.linalg import symmetrized, transposed
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.covariance import Factor
from fpigauss.gaussians._class_gaussians import ClassGaussians

__all__ = ["discriminant_axes", "projected"]


@unflagged
def discriminant_axes(gaussians: ClassGaussians, n_axes: int | None = None) -> Array:
    """Compute the axes (d, n) on which class means part most, the furthest first.

    They solve the generalized eigenproblem of Fisher's discriminant analysis, with the mean of the
    class covariances as the scatter within classes, and all classes weighed alike; along each of
    them that covariance is one. There are min(K - 1, d) of them. Each axis points to where its
    largest entry is positive.
    """
    xp = namespace(gaussians.means)
    means, factor = gaussians.working()
    family = gaussians.family.with_tied(True)
    if not gaussians.tied:
        values = xp.mean(gaussians.family.values(factor), axis=0, keepdims=True)
        factor = family.factor(values)
    white = family.whiten(factor, means - xp.mean(means, axis=0, keepdims=True))
    most = min(gaussians.n_classes - 1, gaussians.dim)
    directions = xp.linalg.svd(white, full_matrices=False).Vh[
        : most if n_axes is None else min(n_axes, most), :
    ]
    # F^-T v: the adjoint of F^-1, whose own inverse is F
    axes = family.color_adjoint(Factor(factor.inverse, factor.root), directions)
    points_up = xp.max(axes, axis=1, keepdims=True) >= -xp.min(axes, axis=1, keepdims=True)
    return transposed(xp.where(points_up, axes, -axes))


@unflagged
def projected(gaussians: ClassGaussians, axes: Array) -> ClassGaussians:
    """Project the Gaussians onto ``axes`` (d, n): those of z @ axes, dense, one covariance each."""
    xp = namespace(axes)
    means, factor = gaussians.working()
    family, shape = gaussians.family, (gaussians.n_classes, gaussians.dim)
    columns = [xp.broadcast_to(axes[:, k], shape) for k in range(axes.shape[1])]
    spread = xp.stack([family.color_adjoint(factor, column) for column in columns], axis=1)
    return ClassGaussians(
        means @ axes,
        symmetrized(spread @ transposed(spread)),
        covariance="dense",
        classes=gaussians.classes,
    )
