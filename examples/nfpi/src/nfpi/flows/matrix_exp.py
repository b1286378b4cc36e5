"""Apply exp(S), and sum tr S, for matrices S of bounded norm, one per pixel."""

import math

import torch
from torch import Tensor

__all__ = ["exp_action", "n_terms", "squashed", "trace"]

#: The series of exp(S) x loses digits where the norm of S is larger: S is then applied in parts.
_LARGEST_NORM = 2.0


def squashed(raw: Tensor, bound: float) -> Tensor:
    """Scale matrices down smoothly so that their Frobenius norm stays below ``bound``.

    Parameters
    ----------
    raw : (N, I, J, H, W) tensor
        One I x J matrix per pixel. Small ones hardly change.
    bound : float

    Returns
    -------
    (N, I, J, H, W) tensor
    """
    square = (raw * raw).sum((1, 2), keepdim=True)
    return raw * torch.rsqrt(1.0 + square / bound**2)


def n_terms(bound: float, dtype: torch.dtype) -> int:
    """Count the terms after which the series of exp(S) x has a remainder below rounding errors.

    With norm(S) <= b, the remainder after the power K is below b^(K+1) / (K+1)! norm(x), up to the
    factor 1 / (1 - b / (K+2)), and norm(exp(S) x) is at least exp(-b) norm(x).
    """
    wanted = torch.finfo(dtype).eps * math.exp(-bound)
    k, power = 0, bound
    while k + 2 <= bound or power / (1.0 - bound / (k + 2)) > wanted:
        k += 1
        power *= bound / (k + 1)
    return k


def exp_action(factors: tuple[Tensor, ...], x: Tensor, bound: float, sign: float = 1.0) -> Tensor:
    """Compute exp(sign S) x by its series, where S is the product of ``factors``.

    The exponential itself is never formed: each term costs a matrix-vector product, whereas a
    matrix exponential costs products of matrices, and its gradient products at twice the size.
    Where ``bound`` is large, exp(S / m) is applied m times, since terms of alternating signs would
    cancel.

    Parameters
    ----------
    factors : tuple of (N, I, J, H, W) tensors
        S, or A and B with S = A B of low rank.
    x : (N, C, H, W) tensor
    bound : float
        Bounds the norm of S.
    sign : float
        -1 for the inverse.

    Returns
    -------
    (N, C, H, W) tensor
    """
    n_parts = max(1, math.ceil(bound / _LARGEST_NORM))
    for _ in range(n_parts):
        total = term = x
        for k in range(1, n_terms(bound / n_parts, x.dtype) + 1):
            for factor in reversed(factors):
                term = (factor * term[:, None]).sum(2)  # (N, I, J, H, W) -> (N, I, H, W)
            term = term * (sign / (k * n_parts))
            total = total + term
        x = total
    return x


def trace(factors: tuple[Tensor, ...]) -> Tensor:
    """Sum the traces of S over the pixels, (N,)."""
    if len(factors) == 1:
        return factors[0].diagonal(dim1=1, dim2=2).flatten(1).sum(1)
    left, right = factors
    return (left * right.transpose(1, 2)).flatten(1).sum(1)
