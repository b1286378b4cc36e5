"""How well Gaussians classify held-out latents: accuracy, log-loss and calibration."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fpigauss._array.blocks import blocks
from fpigauss._array.checks import check_finite_rows, check_width
from fpigauss._array.labels import as_labels, codes_of
from fpigauss._array.linalg import log_softmax
from fpigauss._array.namespaces import as_floating_like, detached, to_numpy
from fpigauss._array.typing import Array, Labels
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians

__all__ = ["Scores", "Validation"]

#: Bytes of log-densities at a time.
_BLOCK_BYTES = 2**26

#: Bins of confidence, of equal width.
_BINS = 15


class Scores(NamedTuple):
    """What posteriors under equal priors are worth on held-out latents."""

    accuracy: float
    nll: float
    ece: float


@dataclass(frozen=True)
class Validation:
    """Held-out latents (N, d) and the indices of their classes (N,)."""

    z: Array
    codes: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def of(cls, validation: Any, classes: Labels, dim: int, like: Array) -> "Validation":
        """Check a pair (z, y) against the classes, the dimension and the latents of a fit."""
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise InvalidInputError(
                f"validation is a {type(validation).__name__}; pass a pair of latents and labels, "
                "validation=(z, y)"
            )
        remedy = "pass both in one library, on one device"
        z = as_floating_like(
            validation[0], "validation[0]", like, than="what is fitted", remedy=remedy
        )
        z = detached(z)
        check_width(z, dim, "that is fitted", name="validation[0]")
        check_finite_rows(z, name="validation[0]")
        codes = codes_of(as_labels(validation[1], "validation[1]"), classes, "validation[1]")
        if codes.shape[0] != z.shape[0] or not codes.shape[0]:
            raise InvalidInputError(
                f"validation has {z.shape[0]} rows and {codes.shape[0]} labels; "
                "pass one label per row, and at least one"
            )
        return cls(z, codes)

    def scores(self, gaussians: ClassGaussians) -> Scores:
        """Compute accuracy, the mean of -log p(y|z), and the expected calibration error."""
        right, confidence, loss = [], [], 0.0
        for rows in blocks(len(self.codes), 8 * gaussians.n_classes, _BLOCK_BYTES):
            own = self.codes[rows]
            log_prob = to_numpy(gaussians.class_log_prob(self.z[rows, :])).astype(np.float64)
            posterior = log_softmax(log_prob)
            loss -= float(posterior[np.arange(len(own)), own].sum())
            right.append(posterior.argmax(axis=1) == own)
            confidence.append(np.exp(posterior.max(axis=1)))
        hits = np.concatenate(right).astype(np.float64)
        ece = _calibration_error(hits, np.concatenate(confidence))
        return Scores(float(hits.mean()), loss / len(hits), ece)


def _calibration_error(hits: Any, confidence: Any) -> float:
    """Average |accuracy - confidence| over bins of confidence, weighted by their sizes."""
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=hits - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(hits))
