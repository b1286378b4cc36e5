"""The methods of scoring, each a function of what the class Gaussians say about rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fpigauss._array.checks import check_choice
from fpigauss._array.linalg import softmax
from fpigauss._array.namespaces import device_of, namespace
from fpigauss._array.typing import Array
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import joint, mixture

__all__ = ["METHODS", "Evidence", "Method", "check_method", "finished"]


@dataclass(frozen=True)
class Evidence:
    """What scores are made of, in the dtype of the computation.

    Parameters
    ----------
    squared : (N, K) array
        Squared Mahalanobis distances, infinite for rows that are not finite.
    log_normalizers : (n,) array
        The log-densities at the means, n being K, or 1 if all classes share it.
    dim : int
        d.
    log_priors : (K,) array, optional
        None stands for equal priors.
    background : (N,) array, optional
        Squared distances from the background Gaussian.
    log_det : (N,) array, optional
        What a change of variables adds to the log-densities.
    """

    squared: Array
    log_normalizers: Array
    dim: int
    log_priors: Array | None = None
    background: Array | None = None
    log_det: Array | None = None

    @property
    def log_prob(self) -> Array:
        """The log-densities log N_y(z) (N, K)."""
        return self.log_normalizers[None, :] - 0.5 * self.squared

    @property
    def joint(self) -> Array:
        """The sums log p(y) + log N_y(z) (N, K), up to a constant per row."""
        return joint(self.log_prob, self.log_priors)

    @property
    def nearest(self) -> Array:
        """The smallest squared distances (N,) from classes whose prior is not zero."""
        xp = namespace(self.squared)
        if self.log_priors is None:
            return xp.min(self.squared, axis=-1)
        possible = self.log_priors[None, :] > -math.inf
        never = xp.full_like(self.squared, math.inf)
        return xp.min(xp.where(possible, self.squared, never), axis=-1)


@dataclass(frozen=True)
class Method:
    """A score (N,) of evidence, and which options it has a use for."""

    score: Callable[[Evidence], Array]
    takes_priors: bool = False
    needs_background: bool = False


def _likelihood(evidence: Evidence) -> Array:
    """Compute -log sum_y p(y) N_y(z)."""
    log_prob = mixture(evidence.log_prob, evidence.log_priors)
    return -log_prob if evidence.log_det is None else -(log_prob + evidence.log_det)


def _mahalanobis(evidence: Evidence) -> Array:
    return evidence.nearest


def _relative_mahalanobis(evidence: Evidence) -> Array:
    return evidence.nearest - evidence.background


def _typicality(evidence: Evidence) -> Array:
    """Compute how far the distance from the predicted class is from that of a draw of it.

    The cube root makes the chi-square normal (Wilson & Hilferty).
    """
    xp = namespace(evidence.squared)
    codes = xp.argmax(evidence.joint, axis=-1)
    classes = xp.arange(evidence.squared.shape[-1], dtype=codes.dtype, device=device_of(codes))
    zero = xp.zeros_like(evidence.squared)
    own = xp.sum(xp.where(codes[:, None] == classes[None, :], evidence.squared, zero), axis=-1)
    spread = 2.0 / (9.0 * evidence.dim)
    return xp.abs((own / evidence.dim) ** (1.0 / 3.0) - 1.0 + spread) / math.sqrt(spread)


def _entropy(evidence: Evidence) -> Array:
    """Compute the entropy of the posterior, in nats."""
    xp = namespace(evidence.squared)
    shares = softmax(evidence.joint)
    logs = xp.log(xp.where(shares > 0.0, shares, xp.ones_like(shares)))
    return xp.abs(xp.sum(shares * logs, axis=-1))  # no -0.0


METHODS = {
    "likelihood": Method(_likelihood, takes_priors=True),
    "mahalanobis": Method(_mahalanobis),
    "relative_mahalanobis": Method(_relative_mahalanobis, needs_background=True),
    "typicality": Method(_typicality, takes_priors=True),
    "entropy": Method(_entropy, takes_priors=True),
}


def check_method(method: Any, *, background: Any, priors: Any) -> Method:
    """Return the method of that name, if its options are those that it has a use for."""
    found = METHODS[check_choice(method, "method", tuple(METHODS))]
    if found.needs_background and background is None:
        raise InvalidInputError(
            f'background is None, but method="{method}" needs it; pass the ClassStatistics of all '
            "known samples, or ClassGaussians of one class"
        )
    if background is not None and not found.needs_background:
        raise InvalidInputError(f'background is of no use to method="{method}"; leave it out')
    if priors is not None and not found.takes_priors:
        raise InvalidInputError(f'priors are of no use to method="{method}"; leave them out')
    return found


def finished(method: Method, evidence: Evidence, dtype: Any) -> Array:
    """Score rows, in ``dtype``: plus infinity for those that are infinitely far in it."""
    xp = namespace(evidence.squared)
    score = xp.astype(method.score(evidence), dtype, copy=False)
    near = xp.isfinite(xp.astype(evidence.nearest, dtype, copy=False)) & xp.isfinite(score)
    return xp.where(near, score, xp.full_like(score, math.inf))
