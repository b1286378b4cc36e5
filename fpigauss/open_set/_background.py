"""The one Gaussian of all known samples, which relative distances are measured against."""

from typing import Any

from fpigauss._array.linalg import weighted_sum
from fpigauss._array.namespaces import first_true, namespace, to_numpy
from fpigauss._array.rounding import rounding_variances
from fpigauss._array.typing import Array
from fpigauss.covariance import resolve_family
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians, Density
from fpigauss.statistics import ClassStatistics

__all__ = ["Background", "background_of"]


class Background:
    """One Gaussian, ready to measure distances of rows like ``like`` from."""

    def __init__(self, gaussian: ClassGaussians, like: Array) -> None:
        self._density = Density.of(gaussian.family, *gaussian.to(like).working(), like)

    def squared(self, z: Array) -> Array:
        """Compute the squared Mahalanobis distances (N,) of ``z`` (N, d)."""
        return self._density.squared_distances(z)[:, 0]


def background_of(background: Any, dim: int, like: Array) -> Background:
    """Make the background for rows like ``like``, (n, ``dim``) in the dtype of the computation.

    It is one Gaussian already, or the total scatter of statistics.
    """
    if isinstance(background, ClassStatistics):
        gaussian = _total(background)
    elif isinstance(background, ClassGaussians):
        gaussian = background
    else:
        raise InvalidInputError(
            f"background is a {type(background).__name__}; pass the ClassStatistics of all known "
            "samples, or ClassGaussians of one class"
        )
    if gaussian.n_classes != 1:
        raise InvalidInputError(
            f"background has {gaussian.n_classes} Gaussians; pass one of all known samples "
            "together, or their ClassStatistics"
        )
    if gaussian.dim != dim:
        raise InvalidInputError(
            f"background has {gaussian.dim} dimensions, the Gaussians {dim}; "
            "take it from the same latents"
        )
    return Background(gaussian, like)


def _total(statistics: ClassStatistics) -> ClassGaussians:
    """Return the Gaussian of all samples of statistics together."""
    n_samples = float(to_numpy(statistics.counts).sum())
    if not n_samples > 0.0:
        raise InvalidInputError("background has no samples; pass statistics of known samples")
    weights = (statistics.counts / n_samples)[None, :]
    # from one of the means, since far from the origin their differences are exact
    apart = statistics.means - statistics.means[:1, :]
    shift = weighted_sum(weights, apart)  # (1, d)
    mean, offset = statistics.means[:1, :] + shift, apart - shift
    family = resolve_family(statistics.covariance, False)
    scatter = weighted_sum(weights, statistics.covariances + family.outer(offset, offset))
    if family.first_singular(scatter, rounding_variances(mean)) is not None:
        raise InvalidInputError(_singular(statistics, n_samples, mean, scatter))
    return ClassGaussians(mean, family.pack(scatter), covariance=family)


def _singular(statistics: ClassStatistics, n_samples: float, mean: Array, scatter: Array) -> str:
    """Say what to do about a scatter (1, d) or (1, d, d) that has no variance in some direction."""
    xp = namespace(mean)
    dense = statistics.covariance == "dense"
    variances = xp.linalg.diagonal(scatter)[0] if dense else scatter[0]
    flat = variances <= rounding_variances(mean[0])
    if bool(xp.all(flat)):
        if n_samples <= 1.0:
            return "background has one sample; pass statistics of more samples"
        return "the samples of background are all the same; pass statistics of samples that differ"
    constant = first_true(flat)
    if constant is not None:
        return (
            f"background has no variance in dimension {constant}; drop columns that are constant "
            "from the fit and from all rows"
        )
    fewer = ', or diagonal ones (covariance="diagonal")' if dense else ""
    return (
        f"background has {n_samples:g} samples in {statistics.dim} dimensions and no variance in "
        f"some direction; pass statistics of more samples{fewer}, or ClassGaussians of one class "
        "with a covariance that is shrunk"
    )
