"""Prior probabilities of the classes, as tensors."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fpigauss.interface import log_priors
from fpigauss_torch._support.density import mixture

__all__ = ["joint", "log_priors_of", "posterior", "prior_mixture"]


def log_priors_of(priors: Any, counts: Tensor | None, like: Tensor) -> Tensor | None:
    """Return the logarithms (K,) of priors for means ``like`` (K, d), None for equal ones.

    ``counts`` are the sums of weights per class, if they are known. A compiled graph does not
    look at values, and leaves the checks out.
    """
    if priors is None:
        return None
    if torch.compiler.is_compiling() and not (isinstance(priors, str) and counts is None):
        given: Any = counts if isinstance(priors, str) else priors
        shares = torch.as_tensor(given, dtype=like.dtype, device=like.device)
        return (shares / shares.sum()).log()
    classes = np.arange(like.shape[0])
    logs: Tensor | None = log_priors(priors, counts=counts, classes=classes, like=like.detach())
    return logs


def prior_mixture(by_class: Tensor, logs: Tensor | None) -> Tensor:
    """Compute log sum_y p(y) N_y(z) (N,) from log N_y(z) (N, K)."""
    return mixture(by_class) if logs is None else torch.logsumexp(by_class + logs.to(by_class), 1)


def posterior(by_class: Tensor, logs: Tensor | None, temperature: float) -> Tensor:
    """Compute p(y) N_y(z)^(1/temperature), normalized to sum to one (N, K), from log N_y(z) (N, K).

    The largest log-density of each row is subtracted before the division, which could overflow
    it: then the other classes vanish, however small the temperature.
    """
    if logs is not None:  # a class that cannot occur is not the largest
        by_class = torch.where(logs.to(by_class) > -math.inf, by_class, -math.inf)
    largest = by_class.amax(1, keepdim=True)
    below = torch.where(largest > -math.inf, by_class - largest, by_class)
    limits = torch.finfo(by_class.dtype)  # beyond them it would be 0 or infinite
    return torch.softmax(joint(below / min(max(temperature, limits.tiny), limits.max), logs), 1)


def joint(by_class: Tensor, logs: Tensor | None) -> Tensor:
    """Compute log p(y) + log N_y(z) (N, K), up to a constant per row, without NaN.

    It is log p(y) alone in rows where no class of a positive prior has a density.
    """
    if logs is None:
        logs = by_class.new_zeros(by_class.shape[1])
    sums = by_class + logs.to(by_class)
    some = (sums > -math.inf).any(1, keepdim=True)
    return torch.where(some, sums, logs.to(by_class))
