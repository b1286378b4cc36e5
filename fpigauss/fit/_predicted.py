"""Where the solution for the next lam will be, from those before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fpigauss._array.linalg import broke_down, per_class, squared_norms
from fpigauss._array.namespaces import cast_like, device_of, namespace
from fpigauss._array.typing import Array, Mask
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
    not update, and frozen classes, stay exactly. Where the path jumps, it begins anew.
    """

    options: Options
    _points: list[tuple[float, ClassGaussians]] = field(default_factory=list, repr=False)

    def add(self, lam: float, gaussians: ClassGaussians, start: ClassGaussians | None) -> None:
        """Add a solution, and what was predicted for it; the oldest one is dropped."""
        if start is not None and self._points:
            latest = self._points[-1][1]
            if _distance(start, gaussians) > _distance(latest, gaussians):
                self._points = []
        self._points = [*self._points, (lam, gaussians)][-_MOST:]

    @property
    def lam(self) -> float:
        """The lam of the latest solution, 0 if there is none."""
        return self._points[-1][0] if self._points else 0.0

    def at(self, lam: float) -> ClassGaussians | None:
        """Predict the solution for ``lam``: the latest one, if nothing more is known."""
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
        options, family = self.options, latest.family
        own, factor = latest.working()
        moves = [_move(latest, point) for point in points[:-1]]
        weighed = list(zip(weights, moves, strict=False))
        try:
            means, covariances = latest.means, latest.covariances
            if options.updates_means:
                ahead = own + sum(weight * of_means for weight, (of_means, _) in weighed)
                means = cast_like(ahead, means)
            if options.updates_covariances:
                step = sum(weight * of_covariances for weight, (_, of_covariances) in weighed)
                values = family.values(family.retract(factor, step))
                covariances = family.pack(family.rounded(values, latest.means))
            held = options.held_in(latest)
            if held is not None:
                means = _kept(held, latest.means, means)
                if not family.tied:
                    covariances = _kept(held, latest.covariances, covariances)
            return ClassGaussians(
                means,
                covariances,
                covariance=family,
                tied=family.tied,
                classes=latest.classes,
                counts=latest.counts,
            )
        except InvalidInputError:  # they do not fit the dtype of the results
            return None
        except Exception as error:
            if broke_down(error):
                return None
            raise


def _kept(held: Mask, old: Array, new: Array) -> Array:
    """Return ``old`` (K, ...) in the classes that are ``held`` (K,), else ``new``."""
    xp = namespace(new)
    old = cast_like(old, new)
    return xp.where(per_class(xp.asarray(held, device=device_of(new)), new), old, new)


def _lagrange(knots: Sequence[float], x: float) -> list[float]:
    """Weigh the values at ``knots`` for that of the polynomial at ``x``."""
    return [
        math.prod((x - other) / (own - other) for other in knots if other != own) for own in knots
    ]


def _move(origin: ClassGaussians, target: ClassGaussians) -> tuple[Array, Array]:
    """Compute the way from Gaussians to others: of the means (K, d), and S (values)."""
    family, dim = origin.family, origin.dim
    (means, factor), (others, other) = origin.working(), target.working()
    projections = family.values_projections(family.values(other), dim)
    # X X = B for X = exp(S / 2): this is half the logarithm of F^-1 Sigma F^-T
    half = family.log_solution(
        family.unit(dim, means), family.whiten_projections(factor, projections)
    )
    return others - means, 2.0 * half


def _distance(start: ClassGaussians, solution: ClassGaussians) -> float:
    """Measure how far Gaussians are from a solution, in its standard deviations and e-folds."""
    of_means, of_covariances = _move(solution, start)
    white = solution.family.whiten(solution.working()[1], of_means)
    lengths = squared_norms(white), solution.family.step_sizes(of_covariances) ** 2
    return sum(float(namespace(length).max(length)) for length in lengths)
