"""How confident a posterior may be: a temperature from held-out samples."""

import math
from typing import Any

import torch
from scipy.optimize import brentq
from torch import Tensor

from fpigauss import ConvergenceWarning, InvalidInputError
from fpigauss.interface import warn_user
from fpigauss_torch._support import as_tensor, hard_labels, log_priors_of

__all__ = ["calibrate_temperature"]

#: A temperature of this many times the largest difference of log-densities makes posteriors
#: uniform.
_UNIFORM = 1e3


def calibrate_temperature(class_log_prob: Any, labels: Any, *, priors: Any = None) -> float:
    r"""Find the temperature T under which the labels of held-out samples are most likely.

    It minimizes NLL(T) = -mean_i log softmax(log p(x_i|.) / T + log p(.)) at y_i, which is convex
    in 1/T, so that its only stationary point is found up to rounding, in float64. Densities in many
    dimensions differ by many nats: T is often far above 1. Under equal priors, predictions do not
    change.

    Parameters
    ----------
    class_log_prob : (N, K) tensor or array-like
        ``model.class_log_prob(x)`` of samples that were not trained on.
    labels : (N,) integers
        Their classes 0..K-1; rows of class -1 (unlabeled) are left out.
    priors : (K,) tensor or array-like, optional
        The probability p(.) of each class, positive; equal by default. Pass those that
        ``predict_proba`` will be called with (for "counts": ``counts / counts.sum()``).

    Returns
    -------
    float
        For ``predict_proba(x, temperature=T)``.

    Raises
    ------
    InvalidInputError
        If there is only one class or no labeled row, a log-density is not finite, classes do not
        differ, or ``priors`` are not K positive probabilities that sum to one.

    Warns
    -----
    ConvergenceWarning
        If NLL has no minimum. Either all rows are classified correctly and NLL falls as T goes to 0
        (then 1 is returned, which leaves posteriors as they are), or chance does better and NLL
        falls as T grows (then a T is returned that makes posteriors uniform up to 1e-3).

    See Also
    --------
    ClassFlow : its ``predict_proba`` gives the posteriors.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import calibrate_temperature
    >>> log_prob = torch.tensor([[0.0, -8.0], [0.0, -8.0], [0.0, -8.0], [0.0, -8.0]])
    >>> calibrate_temperature(log_prob, torch.tensor([0, 0, 0, 1]))  # 8 / log 3: 3/4 confident
    7.28
    """
    remedy = "pass log-densities (N, K), a tensor or an array of numbers"
    values = as_tensor(class_log_prob, "class_log_prob", remedy).detach()
    if values.ndim != 2 or values.shape[1] < 2 or not values.is_floating_point():
        raise InvalidInputError(
            f"class_log_prob has shape {tuple(values.shape)} and dtype {values.dtype}; pass "
            "log-densities (N, K) of at least two classes"
        )
    values = values.cpu().double()
    codes, _ = hard_labels(
        labels, values.shape[1], device=values.device, rows=values.shape[0], unlabeled=True
    )
    values, codes = values[codes >= 0], codes[codes >= 0]
    if codes.numel() == 0:
        raise InvalidInputError("labels contain no labeled row; pass held-out samples with labels")
    finite = values.isfinite().all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        raise InvalidInputError(
            f"class_log_prob is not finite in labeled row {row}; look at that sample's latents"
        )
    values = values - values.amax(1, keepdim=True)
    own = values.gather(1, codes[:, None])[:, 0]

    logs = values.new_zeros(()) if priors is None else _positive(priors, values)

    def slope(inverse: float) -> float:
        """Compute the derivative of NLL with respect to 1/T."""
        posterior = torch.softmax(inverse * values + logs, 1)
        return float(((posterior * values).sum(1) - own).mean())

    scale = float(-values.min())
    if scale == 0.0:
        raise InvalidInputError(
            "class_log_prob is the same for all classes in every row; fit the Gaussians first"
        )
    if bool((own == 0.0).all()):
        return _without_minimum(1.0, "all rows are classified correctly")
    if slope(0.0) >= 0.0:
        return _without_minimum(_UNIFORM * scale, "chance does better")
    above = 1.0 / scale
    while slope(above) <= 0.0:  # positive at some point, since a row is misclassified
        above *= 2.0
    return float(1.0 / brentq(slope, 0.0, above, xtol=1e-300))


def _positive(priors: Any, values: Tensor) -> Tensor:
    """Return the logarithms (K,) of priors, none of which is zero."""
    logs = log_priors_of(priors, None, values[:1].T)
    assert logs is not None
    if bool((logs == -math.inf).any()):
        label = int(logs.argmin())
        raise InvalidInputError(
            f"priors is 0 for class {label}; calibrate on the classes that can occur"
        )
    return logs


def _without_minimum(instead: float, why: str) -> float:
    warn_user(
        f"class_log_prob has no best temperature: {why}; {instead:g} is returned, calibrate on "
        "more held-out rows",
        ConvergenceWarning,
    )
    return instead
