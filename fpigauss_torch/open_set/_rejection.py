"""Scores for samples that belong to none of the classes, and a threshold to reject them."""

import math
from typing import Any

import torch
from torch import Tensor

from fpigauss import ClassGaussians, InvalidInputError, open_set_score
from fpigauss.interface import (
    Evidence,
    Method,
    background_of,
    check_method,
    finished,
    held_out_threshold,
)
from fpigauss_torch._support import as_latents, by_blocks, evaluating, log_priors_of, working_dtype
from fpigauss_torch.flow import ClassFlow, class_flow_of
from fpigauss_torch.prior import LatentPrior

__all__ = ["rejection_score", "rejection_threshold", "typicality_score"]


@torch.no_grad()
def rejection_score(
    model: ClassFlow | LatentPrior | ClassGaussians,
    x: Tensor,
    *,
    method: str = "likelihood",
    background: Any = None,
    priors: Any = None,
) -> Tensor:
    """Score how unknown samples are, by default by -log p(x): foreign samples score high.

    The scores are those of ``fpigauss.open_set_score``, of the latents of samples; "likelihood"
    includes the log-determinant of a flow. Flows are known to give some foreign data, smooth images
    above all, a higher likelihood than their own (Nalisnick et al. 2019): compare other methods,
    and try them on data that should be rejected.

    Parameters
    ----------
    model : ClassFlow, LatentPrior or ClassGaussians
        A flow, or Gaussians alone.
    x : (N, ...) tensor
        Samples for a flow, scored in evaluation mode, without gradients; latents (N, d) otherwise.
    method : {"likelihood", "mahalanobis", "relative_mahalanobis", "typicality", "entropy"}
        What is scored.
    background : ClassStatistics, ClassGaussians or LatentPrior, optional
        For "relative_mahalanobis": statistics of known latents (``gather_statistics``), or one
        Gaussian.
    priors : "counts" or (K,), optional
        For "likelihood", "typicality" and "entropy": the probability of each class, as in
        ``predict``; equal by default.

    Returns
    -------
    (N,) tensor
        Higher is more unknown; +inf where latents or log-determinants are not finite, or infinitely
        far from all classes.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used, or has no use to ``method``.

    See Also
    --------
    fpigauss.open_set_threshold : a threshold that bounds false rejections.
    rejection_threshold : a threshold that rejects a part of the samples given.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, LatentGaussians
    >>> from fpigauss_torch import rejection_score, rejection_threshold
    >>> same = (lambda x: (x, torch.zeros(len(x))), lambda z: z)
    >>> model = ClassFlow(None, LatentGaussians(2, 3), codec=same)
    >>> known = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> threshold = rejection_threshold(rejection_score(model, known), rate=0.05)
    >>> rejection_score(model, torch.tensor([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]])) > threshold
    tensor([False,  True])
    """
    if isinstance(background, LatentPrior):
        background = _core_of(background)
    options = {"background": background, "priors": priors}
    if isinstance(model, ClassGaussians):
        score: Tensor = open_set_score(model, x, method=method, **options)
        return score
    found = check_method(method, **options)  # before the flow does its work
    if isinstance(model, LatentPrior):
        return _scored(model, x, found, **options)
    flow = class_flow_of(model)
    with evaluating(flow):
        z, log_det = flow.encode(x)
        return _scored(flow.gaussians, z, found, **options, log_det=log_det)


def typicality_score(
    model: ClassFlow | LatentPrior | ClassGaussians, x: Tensor, *, priors: Any = None
) -> Tensor:
    r"""Measure how untypical latents are of the class that is predicted for them.

    The squared Mahalanobis distance of a draw of a class to its mean is chi-square with d degrees
    of freedom: about d, and hardly ever much less. The score is how far a distance m is from that,
    in standard deviations, after a cube root has made the chi-square normal (Wilson & Hilferty):
    \|(m/d)^(1/3) - 1 + 2/(9d)\| / sqrt(2/(9d)). So it is also high for latents that are too
    close to the mean, where the likelihood is highest; and it ignores the log-determinant, through
    which a flow favors smooth data. No score rejects everything foreign: a flow may send foreign
    data to typical latents.

    Parameters
    ----------
    model, x
        As in ``rejection_score``, of which this is the method "typicality".
    priors : "counts" or (K,), optional
        The probability of each class, for the prediction; equal by default.

    Returns
    -------
    (N,) tensor
        >= 0; about half-normal for samples of the model itself, +inf where latents are not finite.

    See Also
    --------
    rejection_score : other scores.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, LatentGaussians
    >>> from fpigauss_torch import rejection_score, typicality_score
    >>> same = (lambda x: (x, torch.zeros(len(x))), lambda z: z)
    >>> model = ClassFlow(None, LatentGaussians(2, 100), codec=same)
    >>> x = torch.stack([torch.ones(100), torch.zeros(100)])  # a typical length, and length 0
    >>> rejection_score(model, x).argmin(), typicality_score(model, x).argmin()
    (tensor(1), tensor(0))
    """
    return rejection_score(model, x, method="typicality", priors=priors)


def rejection_threshold(scores: Any, rate: float) -> float:
    """Find the score above which a given part of these known samples is rejected.

    The rate is that of the samples themselves. For a threshold that new known samples exceed no
    more often than at the rate, take ``fpigauss.open_set_threshold``.

    Parameters
    ----------
    scores : (N,) tensor or array-like
        Scores of held-out samples of the known classes.
    rate : float
        The part of them to reject, 0 <= rate < 1: at most this part has a higher score than the
        threshold, and without ties exactly this part, rounded down to whole samples.

    Returns
    -------
    float
        Reject where ``score > threshold``.

    Raises
    ------
    InvalidInputError
        If there are no scores, one is NaN, more than a part ``rate`` is infinite, so that foreign
        samples with an infinite score would be accepted, or ``rate`` is out of range.

    See Also
    --------
    rejection_score : the scores.
    fpigauss.open_set_threshold : with a promise about new rows.

    Examples
    --------
    >>> from fpigauss_torch import rejection_threshold
    >>> rejection_threshold([3.0, 1.0, 2.0, 10.0], rate=0.25)
    3.0
    """
    return held_out_threshold(scores, rate)


def _core_of(prior: LatentPrior) -> ClassGaussians:
    made = getattr(prior, "class_gaussians", None)
    if made is None:
        raise InvalidInputError(
            f"background is a {type(prior).__name__}, which has no class_gaussians(); pass "
            "ClassStatistics, or ClassGaussians of one class"
        )
    gaussians: ClassGaussians = made()
    return gaussians


def _scored(
    prior: LatentPrior,
    z: Tensor,
    method: Method,
    *,
    background: Any,
    priors: Any,
    log_det: Tensor | None = None,
) -> Tensor:
    """Score latents by the densities of a prior, in float64 where the device supports it."""
    density = prior.density()
    z = as_latents(z, prior.dim, density.means.device)
    wide = torch.float32 if z.device.type == "mps" else torch.float64
    log_priors = log_priors_of(priors, prior.counts, density.means.to(wide))
    like = z[:0].to(wide)
    one = None if background is None else background_of(background, prior.dim, like)
    peaks = -0.5 * (density.log_det.to(wide) + prior.dim * math.log(2.0 * math.pi))

    def score(rows: Tensor, log_dets: Tensor | None = None) -> Tensor:
        rows = rows.to(wide)
        squared = 2.0 * (peaks - prior.class_log_prob(rows))
        evidence = Evidence(
            squared=torch.where(squared.isnan(), math.inf, squared.clamp_min(0.0)),
            log_normalizers=peaks,
            dim=prior.dim,
            log_priors=log_priors,
            background=None if one is None else one.squared(rows),
            log_det=None if log_dets is None else log_dets.to(wide),
        )
        scored: Tensor = finished(method, evidence, working_dtype(z))
        return scored

    along = () if log_det is None else (log_det,)
    return by_blocks(score, z, prior.n_classes, along=along)
