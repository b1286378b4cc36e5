"""Refits of a flow's class Gaussians to the latents of a data set, batch by batch."""

import copy
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import torch
from torch import nn

from fpigauss import (
    ClassStatistics,
    FixedPoint,
    FixedPointResult,
    InvalidInputError,
    smallest_kld,
)
from fpigauss.interface import RefitOptions
from fpigauss_torch._support import (
    ACCEPTED,
    Refit,
    RefitInit,
    check_accepted,
    check_outside_backward,
    lam_apart,
    with_refit_options,
)
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.gaussians import LatentGaussians, Replacement, warn_of_repeated_repulsion
from fpigauss_torch.refit._checks import (
    check_initialized,
    check_loader,
    check_prepare,
    fitted_of,
    flow_of,
    limited,
    place_for,
)
from fpigauss_torch.refit._distributed import (
    check_alike,
    combined,
    is_first,
    of_first,
    raised_together,
)
from fpigauss_torch.refit._encoding import own_statistics, unlike_training
from fpigauss_torch.refit._thin_axes import warn_of_thin_axes

__all__ = ["gather_statistics", "refit_", "refit_as_asked"]

#: By how much of itself a separation may fall when Gaussians are stored in float32.
_ROUNDING = 1e-3


@with_refit_options
def refit_(
    model: nn.Module,
    loader: Iterable[Any],
    lam: float | None = None,
    *,
    separation: float | None = None,
    fit: FixedPoint | None = None,
    init: RefitInit | None = None,
    accept: Collection[str] = ACCEPTED,
    copies: Sequence[nn.Module] = (),
    device: torch.device | str | None = None,
    prepare: Callable[[Any], Any] | None = None,
    max_batches: int | None = None,
    progress: bool = False,
    **options: Unpack[RefitOptions],
) -> FixedPointResult:
    r"""Refit the class Gaussians of a flow to the latents of labeled data, in place.

    The data are encoded in one pass, in eval mode, without gradients, and in the precision that is
    set around the call; latents are added up in float64, batch by batch. Every module's train or
    eval mode is restored. Nothing is replaced until all fits, of the model and of its copies, have
    been accepted; after any error the old Gaussians are kept. Refit between optimizer steps, and
    before the flow has been trained toward separated Gaussians: after that, a refit repels again
    what is already apart, unless its ``lam`` is small.

    With several processes (``torch.distributed`` is initialized), each of them calls this with its
    own shard of the data, as a ``DistributedSampler`` gives it; samples that the sampler repeats to
    make the shards even count twice. The statistics are summed exactly, all processes end with the
    same bits, and an error in one of them is raised in all.

    Gaussians are buffers: a ``state_dict()`` aliases them, so copy one that should survive a refit
    (``copy.deepcopy(model.state_dict())``).

    Parameters
    ----------
    model : ClassFlow
        A flow with ``LatentGaussians``; bare, or wrapped in DistributedDataParallel, AveragedModel
        or ``torch.compile``.
    loader : iterable of (x, y)
        Batches, or what ``prepare`` turns into such: x (N, ...) tensors or arrays; y (N,) integers
        0..K-1, or -1 for rows to leave out. Use them without augmentation, or with the one used in
        training.
    lam : float
        The weight of the repulsion, >= 0; here or in ``fit``.
    separation : float
        In place of ``lam``: the smallest KLD over ordered pairs of classes to reach, in nats, as in
        ``fpigauss.fit_separated``. Classes that the flow keeps that far apart are not repelled.
    fit : FixedPoint, optional
        The options of the fit as an object; single ones that are also passed replace its own, and
        ``covariance`` and ``tied`` are those of the Gaussians.
    init : {"current", "data", "identity"} or ClassGaussians, optional
        Where the fit starts; as ``fit`` says, or from the data. "current" is from the present
        Gaussians of each model (from the data while all its means are equal, as they are at first).
    accept : collection of str
        Statuses of a fit whose Gaussians replace the old ones.
    copies : sequence of ClassFlow or AveragedModel
        Models with averaged weights (EMA, SWA) to refit too, each to its own latents, in another
        pass over ``loader``. By default they keep the Gaussians that they have, which is better in
        general: ``AveragedModel.update_parameters`` copies or averages those that the flow is
        trained toward, and does so again after a refit.
    device : torch.device or str, optional
        The device that batches are moved to; by default the one of the Gaussians.
    prepare : callable, optional
        A function that takes a batch of the loader to (x, y), as it is done before the flow in
        training: scaling, dequantization, picking entries of a dict. Gradients are off in it.
    max_batches : int, optional
        How many batches of ``loader`` to read in a pass, in each process; by default all of them,
        which for an endless stream never ends. Every class needs a sample among them, except frozen
        ones.
    progress : bool
        Show progress bars (in the first process).
    {options}

    Returns
    -------
    FixedPointResult
        The fit of ``model``, with its Gaussians.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used (before any work), a batch cannot be used (the message names
        its position, and the class if a latent is not finite), or a class that is not frozen has no
        sample.
    RefitRejectedError
        If a fit ends with a status that is not in ``accept``.
    UnreachableSeparationError
        If no ``lam`` gives the ``separation``.

    Warns
    -----
    UserWarning
        If the variances in some dimensions have become tiny beside the others, as they do on images
        whose borders are constant: training is likely to fail.
    RepeatedRepulsionWarning
        If Gaussians that were fitted once are replaced by ones under which the balanced negative
        log-likelihood of the latents is higher by a nat per dimension; by .05 if they were fitted
        more often.

    See Also
    --------
    FixedPointSchedule : refits at chosen epochs.
    add_class : a class that comes later.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, LatentGaussians, refit_
    >>> double = (lambda x: (2 * x, torch.full((len(x),), 2 * 0.6931)), lambda z: z / 2)
    >>> model = ClassFlow(None, LatentGaussians(3, 2), codec=double)
    >>> y = torch.arange(60) % 3
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)) + 3 * y[:, None]
    >>> batches = list(zip(x.split(16), y.split(16)))
    >>> refit_(model, batches, lam=0.5).converged
    True
    >>> bool((model.predict(x) == y).float().mean() > 0.9)
    True
    """
    with raised_together():
        check_outside_backward("refit_")
        refit = Refit.checked(lam, fit, options, init, separation)
    return refit_as_asked(
        model,
        loader,
        refit,
        accept=accept,
        copies=copies,
        device=device,
        prepare=prepare,
        max_batches=max_batches,
        progress=progress,
    )


def refit_as_asked(
    model: nn.Module,
    loader: Iterable[Any],
    refit: Refit,
    *,
    accept: Collection[str],
    copies: Sequence[nn.Module],
    device: torch.device | str | None,
    prepare: Callable[[Any], Any] | None,
    max_batches: int | None,
    progress: bool,
    early: bool = False,
) -> FixedPointResult:
    """Do what ``refit_`` does; ``early`` refits may cost likelihood without a warning."""
    with raised_together():
        if isinstance(copies, nn.Module) and not isinstance(copies, Iterable):
            raise InvalidInputError("copies is one module; pass a sequence, copies=[module]")
        flows = [flow_of(model), *(flow_of(other, "copies") for other in copies)]
        check_loader(loader, n_passes=len(flows))
        check_prepare(prepare)
        batches = limited(loader, max_batches)
        refit.check_lam()
        accepted = check_accepted(accept)
        for flow in flows:
            refit.of(fitted_of(flow).family)
            check_initialized(flow)
    check_alike("model and copies", [_signature(flow) for flow in flows])
    progress = (progress or refit.fit.progress) and is_first()
    gathered = [
        gather_statistics(flow, batches, device=device, prepare=prepare, progress=progress)
        for flow in flows
    ]
    weight, fit = lam_apart(None, replace(refit.fit, progress=progress))
    # what overrides solve_ may be older than this argument
    target: dict[str, Any] = {}
    if refit.separation is not None:
        target["separation"] = refit.separation
    with raised_together(), unlike_training():
        # nothing is replaced before all of them are accepted
        results = [
            copy.deepcopy(fitted_of(flow)).solve_(
                statistics,
                weight,
                fit=fit,
                init="current" if refit.from_current else None,
                accept=accepted,
                **target,
            )
            for flow, statistics in zip(flows, gathered, strict=True)
        ]
    results = [replace(result, gaussians=of_first(result.gaussians)) for result in results]
    if is_first():
        warn_of_thin_axes(fitted_of(flows[0]), results[0])
        if not early:
            _warn_if_worse(flows, gathered, results, refit)
    with unlike_training():
        for flow, result in zip(flows, results, strict=True):
            fitted_of(flow).assign_(result.gaussians)
    return results[0]


def gather_statistics(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    device: torch.device | str | None = None,
    prepare: Callable[[Any], Any] | None = None,
    max_batches: int | None = None,
    progress: bool = False,
) -> ClassStatistics:
    """Gather the class statistics of a data set's latents, over all processes.

    ``refit_`` fits to them. Gather them yourself to keep them, to merge them with others, or to fit
    at several ``lam``.

    Parameters
    ----------
    model, loader, device, prepare, max_batches, progress
        As in ``refit_``.

    Returns
    -------
    ClassStatistics
        Statistics of the classes 0..K-1, in float64 tensors on the device of the Gaussians;
        "dense" if these need it.

    Raises
    ------
    InvalidInputError
        As in ``refit_``. The error's ``statistics`` are those of this process's batches before the
        one that failed. A class without a sample is an error only when solving.

    See Also
    --------
    refit_ : gathers them and fits.
    fpigauss.ClassStatistics : what it returns.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, LatentGaussians, gather_statistics
    >>> same = (lambda x: (x, torch.zeros(len(x))), lambda z: z)
    >>> model = ClassFlow(None, LatentGaussians(2, 1), codec=same)
    >>> batches = [(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]))]
    >>> gather_statistics(model, batches).means
    tensor([[0.],
            [2.]], dtype=torch.float64)
    """
    with raised_together():
        flow = flow_of(model)
        check_loader(loader, n_passes=1)
        check_prepare(prepare)
        batches = limited(loader, max_batches)
        place = place_for(flow, device)
        own = own_statistics(flow, batches, place, progress and is_first(), prepare)
    statistics = combined(own)
    if not bool(statistics.counts.any()):
        raise InvalidInputError(
            "loader gives no labeled sample: it is empty, or a generator that has been used up, or "
            "all y are -1; pass one that gives batches (x, y) in every pass"
        )
    return statistics


def _warn_if_worse(
    flows: Sequence[ClassFlow],
    gathered: Sequence[ClassStatistics],
    results: Sequence[FixedPointResult],
    refit: Refit,
) -> None:
    """Warn if Gaussians that flows have been trained toward are replaced by far worse ones.

    Of Gaussians that are closer than the separation that is asked for, more was asked on purpose.
    """
    held = [fitted_of(flow) for flow in flows]
    later = (
        "refit later with separation=, which repels only what is too close, or at lam=0: "
        "FixedPointSchedule(lam=function of the epoch)"
        if refit.separation is None
        else "or pass a smaller separation later: FixedPointSchedule(separation=function of the "
        "epoch)"
    )
    warn_of_repeated_repulsion(
        [
            Replacement(gaussians.class_gaussians(), result.gaussians, statistics)
            for gaussians, result, statistics in zip(held, results, gathered, strict=True)
            if not gaussians.coincide and _as_far_as_asked(gaussians, refit)
        ],
        n_fits=max(gaussians.n_swaps for gaussians in held),
        what=f"this refit at {refit.asked}",
        remedy="keep the Gaussians that the flow was trained toward, as "
        f"FixedPointSchedule(epochs=(0, 1)) does, {later}",
    )


def _as_far_as_asked(gaussians: LatentGaussians, refit: Refit) -> bool:
    """Say whether classes are as far apart as asked, up to rounding; a lam asks for nothing."""
    if refit.separation is None:
        return True
    held = np.isin(np.arange(gaussians.n_classes), np.asarray(refit.fit.frozen))
    reached = smallest_kld(gaussians.class_gaussians(), held=held)
    return reached >= (1.0 - _ROUNDING) * refit.separation


def _signature(flow: ClassFlow) -> tuple[int, int, str, bool]:
    """Return what the statistics of a flow's latents depend on."""
    gaussians = fitted_of(flow)
    return gaussians.n_classes, gaussians.dim, gaussians.family.name, gaussians.family.tied
