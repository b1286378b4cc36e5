"""The calls: fit the Gaussians of latents, or of statistics, and keep the gradient."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPoint,
    FixedPointOptions,
    FixedPointResult,
    InvalidInputError,
    RunningStatistics,
)
from fpigauss.interface import as_labels, check_sample_weight, checked_names, with_options
from fpigauss_torch._support import is_dual, is_wrapped, not_compiled, wide_dtype
from fpigauss_torch.layer._fit import DifferentiableFit
from fpigauss_torch.layer._functions import Gathered, solved

__all__ = ["fixed_point_layer", "fixed_point_layer_of"]


@not_compiled
@with_options
@checked_names
def fixed_point_layer(
    z: Tensor,
    y: Any,
    lam: float | Tensor,
    *,
    sample_weight: Any = None,
    classes: Any = None,
    memory: RunningStatistics | None = None,
    **options: Unpack[FixedPointOptions],
) -> DifferentiableFit:
    r"""Fit the class Gaussians of latents, as differentiable functions of the latents.

    The forward pass is ``fit_fixed_point``: no graph of its iterations is kept. The backward pass
    is that of the fixed point itself, by the implicit function theorem: one symmetric linear
    system, see ``FixedPointResult.vjp``, which also says what is held. Gradients go to ``z``, to
    ``sample_weight``, to ``lam`` and, where what is held or ``pi`` comes from them, to the tensors
    of a ClassGaussians passed as ``init``, if these are tensors that require them.

    The gradient of the objective that the fit minimizes is not changed by the way that the
    Gaussians depend on the latents, since they are at its minimum: for that loss, Gaussians that
    are fitted and then held give the same gradient. The layer is for other losses.

    Parameters
    ----------
    z : (N, d) Tensor
        Latents, in any floating dtype; the fit and its gradient are computed in float64 where the
        device supports it.
    y : (N,) Tensor or array-like
        Labels.
    lam : float or () Tensor
        The weight of the repulsion, >= 0.
    sample_weight : (N,) Tensor or array-like, optional
        Repetition weights >= 0.
    classes : (K,) array-like, optional
        All classes, so that one that is missing from the batch is an error. By default, the labels
        that occur.
    memory : RunningStatistics, optional
        Statistics of the batches before, which the fit is also to; gradients reach this batch
        alone. The returned fit has the memory to pass with the next batch, on the device of ``z``.
    {options}

    Returns
    -------
    DifferentiableFit
        Gaussians in the dtype and on the device of ``z``.

    Raises
    ------
    NotDifferentiableError
        If a gradient is asked for, and the fit did not converge; in the backward pass, if the
        linear system is singular or nearly so.
    InvalidInputError
        If an argument cannot be used; the message names it, the class or row, and the remedy.

    Warns
    -----
    SaddlePointWarning
        In the backward pass, if the fit is at a saddle point.

    See Also
    --------
    fixed_point_layer_of : from statistics of your own.
    fpigauss.FixedPointResult.vjp : the same in numpy.

    Notes
    -----
    Second derivatives and forward mode are not available. ``torch.func`` does not transform the
    layer; under ``torch.compile``, it runs as it is, and what surrounds it is compiled.

    Where the gradient that arrives in the backward pass has NaN or infinity, all gradients are NaN,
    so that a ``GradScaler`` can skip the step.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import fixed_point_layer
    >>> z = torch.tensor([[0.0], [2.0], [3.0], [5.0]], requires_grad=True)
    >>> y = torch.tensor([0, 0, 1, 1])
    >>> fit = fixed_point_layer(z, y, 3.0, tied=True)
    >>> (-fit.gaussians.log_prob(z, y)).mean().backward()
    >>> z.grad.shape
    torch.Size([4, 1])
    """
    z = _checked(z, "z")
    _check_untransformed(z, lam, sample_weight)
    fixed_point = _fixed_point(lam, options)
    rows, labels = z.detach(), as_labels(y)
    weights = None if sample_weight is None else check_sample_weight(sample_weight, len(labels))
    plain = weights.detach() if isinstance(weights, Tensor) else weights
    kind = "dense" if fixed_point.strategies.family.needs_dense else "diagonal"
    if memory is None:
        statistics = ClassStatistics.from_samples(
            rows, labels, covariance=kind, classes=classes, sample_weight=plain
        )
    else:
        _check_memory(memory, kind, classes)
        memory = _beside(memory, z).update(rows, labels, plain)
        assert memory.statistics is not None  # there is a batch
        statistics = memory.statistics
    result = fixed_point.solve(statistics)
    codes = np.searchsorted(statistics.classes, labels)
    tensors = Gathered.apply(statistics, codes, _savable(z), _pulled(weights, z))
    return _finished(fixed_point, result, tensors, lam, like=z, memory=memory)


@not_compiled
@with_options
@checked_names
def fixed_point_layer_of(
    counts: Any,
    means: Tensor,
    covariances: Tensor,
    lam: float | Tensor,
    *,
    classes: Any = None,
    **options: Unpack[FixedPointOptions],
) -> DifferentiableFit:
    """Fit the class Gaussians of statistics, as differentiable functions of the statistics.

    Parameters
    ----------
    counts : (K,) Tensor or array-like
        Samples per class, or sums of their weights.
    means : (K, d) Tensor
        Class means.
    covariances : (K, d) or (K, d, d) Tensor
        Class variances or covariance matrices, divided by the counts.
    lam : float or () Tensor
        The weight of the repulsion, >= 0.
    classes : (K,) array-like, optional
        The labels, in ascending order; 0..K-1 by default.
    {options}

    Returns
    -------
    DifferentiableFit
        Gaussians in the dtype and on the device of ``means``.

    Raises
    ------
    NotDifferentiableError, InvalidInputError
        As in ``fixed_point_layer``.

    See Also
    --------
    fixed_point_layer : from latents.

    Examples
    --------
    How the distance of two means grows with ``lam``:

    >>> import torch
    >>> from fpigauss_torch import fixed_point_layer_of
    >>> lam = torch.tensor(3.0, requires_grad=True)
    >>> means, covariances = torch.tensor([[1.0], [4.0]]), torch.tensor([[1.0], [1.0]])
    >>> fit = fixed_point_layer_of([2, 2], means, covariances, lam, tied=True)
    >>> (fit.means[1] - fit.means[0]).sum().backward()
    >>> round(lam.grad.item(), 4)
    0.1016
    """
    means = _checked(means, "means")
    _check_untransformed(means, covariances, lam, counts)
    fixed_point = _fixed_point(lam, options)
    statistics = ClassStatistics(
        counts, means, covariances, np.arange(len(means)) if classes is None else classes
    )
    result = fixed_point.solve(statistics)
    # arrays have no gradients to receive
    given = (counts, means, covariances)
    tensors = [x if isinstance(x, Tensor) else means.new_zeros(()) for x in given]
    return _finished(fixed_point, result, tensors, lam, like=means)


def _fixed_point(lam: Any, options: Any) -> FixedPoint:
    """Make the options of the fit, whose equations are exact."""
    if isinstance(lam, Tensor) and lam.numel() != 1:
        raise InvalidInputError(f"lam has shape {tuple(lam.shape)}; pass one number >= 0")
    fixed_point = FixedPoint(float(lam.detach()) if isinstance(lam, Tensor) else lam, **options)
    if not fixed_point.strategies.equations.exact:
        raise InvalidInputError(
            f"equations={fixed_point.equations!r} have no gradient: their fixed points are not "
            'stationary points of an objective; pass equations="stationary"'
        )
    return fixed_point


def _check_memory(memory: Any, kind: str, classes: Any) -> None:
    """Raise unless a memory has what the family needs, and is alone in saying what classes are."""
    if not isinstance(memory, RunningStatistics):
        raise InvalidInputError(
            f"memory is a {type(memory).__name__}; pass a RunningStatistics, and then fit.memory"
        )
    if kind == "dense" and memory.covariance != "dense":
        raise InvalidInputError(
            "memory has diagonal covariances, but the family needs dense ones; make it by "
            'RunningStatistics(..., covariance="dense")'
        )
    if classes is not None:
        raise InvalidInputError(
            "classes and memory are both given; pass the classes to RunningStatistics alone"
        )


def _checked(x: Any, name: str) -> Tensor:
    if not isinstance(x, Tensor):
        raise InvalidInputError(
            f"{name} is a {type(x).__name__}; pass a tensor, or call fit_fixed_point for arrays"
        )
    if x.is_meta:
        raise InvalidInputError(
            f"{name} is on the meta device, without values; pass one with values"
        )
    return x


def _beside(memory: RunningStatistics, z: Tensor) -> RunningStatistics:
    """Return a memory as tensors on the device of ``z``; one that was loaded has arrays."""
    before = memory.statistics
    if before is None or (isinstance(before.means, Tensor) and before.means.device == z.device):
        return memory
    dtype = wide_dtype(z)

    def moved(x: Any) -> Any:
        x = x if isinstance(x, Tensor) else torch.tensor(np.asarray(x), device="cpu")
        return x.to(device=z.device, dtype=dtype)

    counts, means, covariances = map(moved, (before.counts, before.means, before.covariances))
    statistics = replace(before, counts=counts, means=means, covariances=covariances)
    return replace(memory, statistics=statistics)


def _pulled(weights: Any, z: Tensor) -> Tensor:
    """Return the weights as a tensor to save, which later changes of an array do not reach."""
    if weights is None:
        return z.new_ones(len(z))
    if isinstance(weights, Tensor):
        return _savable(weights)
    values = torch.tensor(np.asarray(weights, dtype=np.float64), device="cpu")
    return values.to(z.device, wide_dtype(z))


def _savable(x: Tensor) -> Tensor:
    """Return a tensor that autograd may save; of inference mode, it saves copies alone."""
    return x.clone() if x.is_inference() and not torch.is_inference_mode_enabled() else x


def _check_untransformed(*given: Any) -> None:
    """Refuse tensors inside a transform that has no values to fit to, or has no rule to follow."""
    if any(isinstance(x, Tensor) and (is_wrapped(x) or is_dual(x)) for x in given):
        raise InvalidInputError(
            "the fixed point cannot be taken inside a transform of torch.func (grad, vmap, jvp) "
            "or forward-mode differentiation; call it outside, or use torch.autograd.grad"
        )


def _finished(
    fixed_point: FixedPoint,
    result: FixedPointResult,
    statistics: Sequence[Tensor],
    lam: float | Tensor,
    *,
    like: Tensor,
    memory: RunningStatistics | None = None,
) -> DifferentiableFit:
    """Put the fitted Gaussians into the graph, in the dtype of ``like``."""
    strength = (
        lam
        if isinstance(lam, Tensor)
        else torch.tensor(float(lam), dtype=torch.float64, device="cpu")
    )
    means, covariances = solved(fixed_point, result, statistics, strength)
    fitted = result.gaussians
    gaussians = ClassGaussians(
        means,
        covariances,
        covariance=fitted.family,
        tied=fitted.tied,
        classes=fitted.classes,
        counts=fitted.counts,
    )
    if means.dtype != like.dtype:
        gaussians = gaussians.to(like)
    return DifferentiableFit(gaussians, result, memory)
