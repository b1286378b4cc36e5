"""Where the solution for the next lam will be, from those before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fpigauss._array.flags import unflagged
from fpigauss._array.linalg import broke_down, per_class
from fpigauss._array.namespaces import cast_like, device_of, namespace, to_numpy
from fpigauss._array.typing import Array, Mask
from fpigauss.errors import InvalidInputError
from fpigauss.fit._balance import log_balance
from fpigauss.fit._options import Options
from fpigauss.gaussians import ClassGaussians
from fpigauss.result import FixedPointResult

__all__ = ["Predictor"]

#: Solutions that are kept.
_MOST = 6
#: The largest sum of the absolute weights of a polynomial that nothing has tested.
_TRUSTED = 2.0**_MOST
#: The largest exponent of the lam that balances 1 nat.
_LARGEST = 600.0


@dataclass
class Predictor:
    """The latest solutions along a path, and polynomials in log(1 + lam / lam_1) through them.

    lam_1 is the lam that balances 1 nat: solutions change in proportion to lam below it, and to
    log lam above. Covariances are extrapolated as logarithms about the first one, so that
    predictions are positive definite and follow affine maps of the latents. What ``options`` do not
    update, and frozen classes, stay exactly. Where the path jumps, it begins anew.

    As many of the latest solutions are used as predict the next one best, judged by how well so
    many have predicted the latest one: the more there are, the more their own errors count.
    """

    options: Options
    #: The lam of the latest solution, 0 if there is none.
    lam: float = 0.0
    _log_unit: float = 0.0
    _origin: ClassGaussians | None = field(default=None, repr=False)
    _latest: ClassGaussians | None = field(default=None, repr=False)
    #: Where solutions are from the first one, by the logarithms above.
    _places: dict[float, Array] = field(default_factory=dict, repr=False)
    _ahead: Array | None = field(default=None, repr=False)

    @unflagged
    def add(self, result: FixedPointResult) -> None:
        """Add the solution of the next lam; the oldest one is dropped."""
        assert result.lam is not None  # a fit knows it
        gaussians = result.gaussians
        if self._origin is None:
            self._origin = gaussians
            unit = log_balance(self.options, result.pi, gaussians.n_classes, 1.0)
            self._log_unit = min(unit, _LARGEST)
        place = _place_of(gaussians, self._origin)
        if self._ahead is not None:
            *_, latest = self._places.values()
            if _distance(place, self._ahead) > _distance(place, latest):
                self._places, self._origin = {}, gaussians
                place = _place_of(gaussians, gaussians)
        self.lam, self._latest, self._ahead = result.lam, gaussians, None
        self._places[self._coordinate(result.lam)] = place
        self._places = dict(list(self._places.items())[-_MOST:])

    @unflagged
    def at(self, lam: float) -> ClassGaussians | None:
        """Predict the solution for ``lam``: the latest one, if nothing more is known."""
        if self._latest is None:
            return None
        knots, at = list(self._places), self._coordinate(lam)
        places = namespace(self._latest.means).stack(list(self._places.values()))
        used = 1 if len(knots) == 1 else _n_used(knots, at, places)
        weights = _weights(knots[-used:], at, before=len(knots) - used)
        self._ahead = _weighed([weights], places)[0, :]
        return self._latest if used == 1 else self._gaussians(self._ahead)

    def _coordinate(self, lam: float) -> float:
        """Return log(1 + lam / lam_1)."""
        exponent = math.log(lam) - self._log_unit if lam > 0.0 else -math.inf
        return float(np.logaddexp(0.0, exponent))

    def _gaussians(self, place: Array) -> ClassGaussians:
        """Return the Gaussians at a place; the latest ones if the numbers do not allow it."""
        origin, latest, options = self._origin, self._latest, self.options
        assert origin is not None and latest is not None  # there are solutions
        family = latest.family
        center, factor = origin.working()
        xp, n_means = namespace(place), math.prod(center.shape)
        white = xp.reshape(place[:n_means], center.shape)
        log = xp.reshape(place[n_means:], family.unpack(origin.covariances).shape)
        means, covariances = latest.means, latest.covariances
        try:
            if options.updates_means:
                means = cast_like(center + family.color(factor, white), means)
            if options.updates_covariances:
                values = family.values(family.retract(factor, log))
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
            return latest
        except Exception as error:
            if broke_down(error):
                return latest
            raise


def _place_of(gaussians: ClassGaussians, origin: ClassGaussians) -> Array:
    """Find where Gaussians are from others: all u and S of mu = mu_0 + F u, Sigma = F exp(S) F'."""
    family, dim = origin.family, origin.dim
    (means, factor), (others, other) = origin.working(), gaussians.working()
    projections = family.values_projections(family.values(other), dim)
    # X X = B for X = exp(S / 2): this is half the logarithm of F^-1 Sigma F^-T
    half = family.log_solution(
        family.unit(dim, means), family.whiten_projections(factor, projections)
    )
    xp = namespace(means)
    parts = family.whiten(factor, others - means), 2.0 * half
    return xp.concat([xp.reshape(part, (-1,)) for part in parts])


def _distance(place: Array, other: Array) -> float:
    """Measure how far it is between places."""
    return float(namespace(place).linalg.vector_norm(place - other))


def _n_used(knots: Sequence[float], ahead: float, places: Array) -> int:
    """Choose how many of the latest solutions, at ``places`` (n, ...), to predict from.

    The error of a polynomial through some knots is in proportion to the product of the distances
    from them: it tells the error ahead from that at the latest solution, through those before it.
    """
    *before, here = knots
    numbers = range(1, len(knots))
    tried = [_weights(before[-used:], here, before=len(before) - used) for used in numbers]
    missed = _weighed(tried, places[:-1, :]) - places[-1:, :]
    errors = to_numpy(namespace(missed).linalg.vector_norm(missed, axis=1))
    grown = [
        math.prod(
            (ahead - later) / (here - earlier)
            for later, earlier in zip(knots[-used:], before[-used:], strict=True)
        )
        for used in numbers
    ]
    best = 1 + int(np.argmin(np.abs(grown) * errors))
    if best < len(before):
        return best
    # nothing tells the error of one more: it is likely to be smaller still
    return len(knots) if sum(map(abs, _weights(knots, ahead))) <= _TRUSTED else best


def _weights(knots: Sequence[float], x: float, *, before: int = 0) -> list[float]:
    """Weigh the values at ``knots`` for that of the polynomial at ``x``; those before by 0."""
    return [0.0] * before + [
        math.prod((x - other) / (own - other) for other in knots if other != own) for own in knots
    ]


def _weighed(weights: Sequence[Sequence[float]], places: Array) -> Array:
    """Sum places (n, ...) with weights (m, n)."""
    return cast_like(np.asarray(weights), places) @ places


def _kept(held: Mask, old: Array, new: Array) -> Array:
    """Return ``old`` (K, ...) in the classes that are ``held`` (K,), else ``new``."""
    xp = namespace(new)
    old = cast_like(old, new)
    return xp.where(per_class(xp.asarray(held, device=device_of(new)), new), old, new)
