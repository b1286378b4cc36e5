"""Prior probabilities of the classes: as given, or as the counts of their samples say."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fpigauss._array.checks import check_choice
from fpigauss._array.linalg import log_sum_exp
from fpigauss._array.namespaces import as_floating, cast_like, first_true, namespace, to_numpy
from fpigauss._array.traced import is_traced
from fpigauss._array.typing import Array, Labels
from fpigauss.errors import InvalidInputError

__all__ = ["joint", "log_priors", "mixture"]


def log_priors(priors: Any, *, counts: Array | None, classes: Labels, like: Array) -> Array | None:
    """Return the logarithms (K,) of priors, in the namespace, device and dtype of ``like``.

    ``priors`` is "counts", or one probability per class; None stands for equal ones. A prior of
    zero has the logarithm minus infinity. They are differentiable in ``like``'s namespace.
    """
    if priors is None:
        return None
    if isinstance(priors, str):
        values = cast_like(_as_counted(priors, counts), like)
    else:
        values = _checked(priors, classes, like)
    xp = namespace(values)
    values = values / xp.sum(values)  # they sum to one only up to rounding
    positive = values > 0.0
    logs = xp.log(xp.where(positive, values, xp.ones_like(values)))
    return xp.where(positive, logs, xp.full_like(logs, -math.inf))


def _as_counted(priors: str, counts: Array | None) -> Array:
    check_choice(priors, "priors", ("counts",), "None for equal ones, or one probability per class")
    if counts is None:
        raise InvalidInputError(
            'priors is "counts", but the Gaussians do not know the counts of their classes (older '
            "files and states do not contain them, and neither do Gaussians made without counts=); "
            "pass one probability per class"
        )
    return counts


def _checked(priors: Any, classes: Labels, like: Array) -> Array:
    if isinstance(priors, Mapping):
        raise InvalidInputError(
            f"priors is a {type(priors).__name__}; pass one probability per class, in the order of "
            "classes: [priors[label] for label in classes]"
        )
    given = as_floating(priors, "priors")
    if tuple(given.shape) != classes.shape:
        raise InvalidInputError(
            f"priors has shape {tuple(given.shape)}, {classes.shape} is needed; "
            "pass one probability per class, in the order of classes"
        )
    if not is_traced(given):
        rounding = classes.shape[0] * float(namespace(given).finfo(given.dtype).eps)
        _check_shares(to_numpy(given).astype(np.float64), rounding, classes)
    return cast_like(given, like)


def _check_shares(priors: Labels, rounding: float, classes: Labels) -> None:
    """Check on the host that ``priors`` (K,) are probabilities, which sum to one."""
    bad = first_true(~(priors >= 0.0))  # NaN too
    if bad is not None:
        raise InvalidInputError(
            f"priors is {priors[bad]:g} for class {classes[bad].item()!r}; "
            "pass probabilities, numbers >= 0"
        )
    total = float(priors.sum())
    if not abs(total - 1.0) <= 1e-6 + rounding:
        raise InvalidInputError(
            f"priors sum to {total:g}; pass probabilities that sum to 1, priors / sum(priors)"
        )


def joint(log_prob: Array, logs: Array | None) -> Array:
    """Compute log p(y) + log N_y(z) (N, K), up to a constant per row, of log N_y(z).

    It is log p(y) alone in rows where no class of a positive prior has a density: nothing is known
    about them.
    """
    if logs is None:
        return log_prob
    xp = namespace(log_prob)
    logs = xp.astype(logs, log_prob.dtype, copy=False)[None, :]
    sums = log_prob + logs
    nowhere = xp.all(sums == -math.inf, axis=-1, keepdims=True)
    return xp.where(nowhere, logs, sums)


def mixture(log_prob: Array, logs: Array | None) -> Array:
    """Compute log sum_y p(y) N_y(z) (N,) from log N_y(z) (N, K)."""
    if logs is None:
        return log_sum_exp(log_prob) - math.log(log_prob.shape[-1])
    xp = namespace(log_prob)
    return log_sum_exp(log_prob + xp.astype(logs, log_prob.dtype, copy=False)[None, :])
