"""Where the solution for the next lam will be, from those before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fpigauss._array.linalg import broke_down
from fpigauss._array.namespaces import cast_like
from fpigauss.errors import InvalidInputError
from fpigauss.fit._options import Options
from fpigauss.gaussians import ClassGaussians

__all__ = ["Predictor"]

#: Solutions that a prediction uses.
_MOST = 5

#: The sum of the absolute weights of so many solutions, equally spaced and one step ahead.
_TRUSTED = 2.0**_MOST


@dataclass
class Predictor:
    """The latest solutions along a path, and the polynomial in log lam through them.

    Covariances are extrapolated as logarithms about the latest one, Sigma = F exp(S) F', so that
    predictions are positive definite and follow affine maps of the latents. What ``options`` do
    not update stays.
    """

    options: Options
    _points: list[tuple[float, ClassGaussians]] = field(default_factory=list, repr=False)

    def add(self, lam: float, gaussians: ClassGaussians) -> None:
        """Add a solution; the oldest one is dropped."""
        self._points = [*self._points, (lam, gaussians)][-_MOST:]

    @property
    def lam(self) -> float:
        """The lam of the latest solution, 0 if there is none."""
        return self._points[-1][0] if self._points else 0.0

    def at(self, lam: float) -> ClassGaussians | None:
        """Predict the solution for ``lam``: the latest one, if there is no telling."""
        if not self._points:
            return None
        latest = self._points[-1][1]
        known = {math.log(at): gaussians for at, gaussians in self._points if at > 0.0}
        while len(known) > 1:
            weights = _lagrange(list(known), math.log(lam))
            if sum(map(abs, weights)) <= _TRUSTED:
                return self._combined(list(known.values()), weights) or latest
            del known[min(known)]
        return latest

    def _combined(
        self, points: Sequence[ClassGaussians], weights: Sequence[float]
    ) -> ClassGaussians | None:
        """Combine solutions, the latest one last; None if the numbers do not allow it."""
        latest = points[-1]
        means = latest.means
        if self.options.updates_means:
            own, _ = latest.working()
            for point, weight in zip(points, weights, strict=True):
                own = own + weight * (point.working()[0] - latest.working()[0])
            means = cast_like(own, means)
        try:
            covariances = latest.covariances
            if self.options.updates_covariances:
                covariances = _combined_covariances(points, weights)
            return ClassGaussians(
                means,
                covariances,
                covariance=latest.family,
                tied=latest.tied,
                classes=latest.classes,
            )
        except InvalidInputError:  # they do not fit the dtype of the results
            return None
        except Exception as error:
            if broke_down(error):
                return None
            raise


def _lagrange(knots: Sequence[float], x: float) -> list[float]:
    """Weigh the values at ``knots`` for that of the polynomial at ``x``."""
    return [
        math.prod((x - other) / (own - other) for other in knots if other != own) for own in knots
    ]


def _combined_covariances(points: Sequence[ClassGaussians], weights: Sequence[float]) -> object:
    latest = points[-1]
    family, dim = latest.family, latest.dim
    means, factor = latest.working()
    unit = family.unit(dim, means)
    step = 0.0 * family.values(factor)
    for point, weight in zip(points[:-1], weights[:-1], strict=True):
        values = family.values_projections(family.values(point.working()[1]), dim)
        # X X = B for X = exp(S / 2): this is half the logarithm of F^-1 Sigma F^-T
        half = family.log_solution(unit, family.whiten_projections(factor, values))
        step = step + 2.0 * weight * half
    return family.pack(family.rounded(family.values(family.retract(factor, step)), latest.means))
