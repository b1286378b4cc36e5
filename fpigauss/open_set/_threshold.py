"""From which score on to reject: thresholds from the scores of held-out rows."""

import math
from typing import Any

import numpy as np

from fpigauss._array.checks import check_nonnegative, check_positive
from fpigauss._array.namespaces import as_floating, to_numpy
from fpigauss.errors import InvalidInputError

__all__ = ["held_out_threshold", "open_set_threshold"]

#: What rounding may take from a product with a rate: 0.29 * 100 is below 29.
_ROUNDING = 1e-9


def open_set_threshold(scores: Any, *, rate: float) -> float:
    r"""Find the score to reject above, so that known rows are rejected at no more than ``rate``.

    The threshold is the k-th smallest of n held-out scores, k = ceil((n + 1) (1 - rate)): one more
    row than there are is counted, the next one. What holds: if a new known row and the held-out
    rows are exchangeable (drawn alike, and none of them used in the fit), its score exceeds the
    threshold with a probability of at most ``rate``, and of more than rate - 1 / (n + 1) if no
    scores tie. The probability is over held-out rows too: given one set of them, the
    rate of false rejections varies about that by some sqrt(rate (1 - rate) / n).

    Parameters
    ----------
    scores : (N,) array-like
        Scores of held-out rows of the known classes; higher means more unknown.
    rate : float
        The probability that a known row is rejected, 0 < rate < 1. It needs N >= 1 / rate - 1 rows.

    Returns
    -------
    float
        Reject where ``score > threshold``.

    Raises
    ------
    InvalidInputError
        If there are too few scores for the rate, one is NaN, so many are infinite that the
        threshold would be, or ``rate`` is out of range.

    Examples
    --------
    >>> from fpigauss import open_set_threshold
    >>> open_set_threshold([3.0, 1.0, 2.0, 10.0], rate=0.4)
    3.0
    >>> open_set_threshold([3.0, 1.0, 2.0, 10.0], rate=0.25)
    10.0

    See Also
    --------
    open_set_score : scores of rows.

    References
    ----------
    Vovk, Gammerman, Shafer. Algorithmic learning in a random world. Springer, 2005.
    """
    values = _checked(scores)
    if (rate := check_positive(rate, "rate")) >= 1.0:
        raise InvalidInputError(f"rate is {rate:g}; pass a number, 0 < rate < 1")
    n_above = math.floor(rate * (values.size + 1) + _ROUNDING) - 1
    if n_above < 0:
        needed = math.ceil(1.0 / rate - _ROUNDING) - 1
        raise InvalidInputError(
            f"scores has {values.size} rows, too few for rate={rate:g}: no threshold among them is "
            f"exceeded as rarely as that; pass {needed} held-out rows or more, or a higher rate"
        )
    return _exceeded_by(n_above, values, rate)


def held_out_threshold(scores: Any, rate: float) -> float:
    """Find the score above which just a part ``rate`` of the held-out rows themselves is."""
    values = _checked(scores)
    if (rate := check_nonnegative(rate, "rate")) >= 1.0:
        raise InvalidInputError(f"rate is {rate:g}; pass a number, 0 <= rate < 1")
    return _exceeded_by(math.floor(rate * values.size + _ROUNDING), values, rate)


def _checked(scores: Any) -> np.ndarray[Any, np.dtype[Any]]:
    values = to_numpy(as_floating(scores, "scores"))
    if values.ndim != 1 or values.size == 0:
        raise InvalidInputError(
            f"scores has shape {values.shape}; pass the scores (N,) of at least one row"
        )
    missing = np.isnan(values)
    if missing.any():
        raise InvalidInputError(
            f"scores is NaN in row {int(missing.argmax())}; look at that row's latents"
        )
    return values


def _exceeded_by(n_above: int, values: np.ndarray[Any, Any], rate: float) -> float:
    """Return the score that ``n_above`` others exceed, unless it is infinite."""
    threshold = float(np.sort(values)[values.size - 1 - n_above])
    if threshold == math.inf:
        infinite = values == math.inf
        raise InvalidInputError(
            f"scores is infinite in {int(infinite.sum())} of {values.size} rows (row "
            f"{int(infinite.argmax())} first), more than rate={rate:g} rejects: no threshold would "
            "reject latents that are not finite; look at those rows' latents"
        )
    return threshold
