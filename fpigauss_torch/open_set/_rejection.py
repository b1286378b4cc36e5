"""Scores for samples that belong to none of the classes, and a threshold to reject them."""

import math
from typing import Any

import torch
from torch import Tensor

from fpigauss import InvalidInputError
from fpigauss.interface import check_nonnegative
from fpigauss_torch._support import by_blocks, evaluating
from fpigauss_torch.flow import ClassFlow, class_flow_of

__all__ = ["rejection_score", "rejection_threshold", "typicality_score"]


@torch.no_grad()
def rejection_score(model: ClassFlow, x: Tensor) -> Tensor:
    """Compute -log p(x) under the mixture of all classes: foreign samples score high.

    The score includes the log-determinant. Flows are known to give some foreign data, smooth images
    above all, a higher likelihood than their own (Nalisnick et al. 2019): compare
    ``typicality_score``, and try both on data that should be rejected.

    Parameters
    ----------
    model : ClassFlow
    x : (N, ...) tensor
        Samples; scored in evaluation mode, without gradients.

    Returns
    -------
    (N,) tensor
        In nats; +inf where latents or log-determinants are not finite, or the density vanishes.

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
    flow = class_flow_of(model)
    with evaluating(flow):
        score: Tensor = flow(x)
        return torch.where(score.isfinite(), score, math.inf)


@torch.no_grad()
def typicality_score(model: ClassFlow, x: Tensor) -> Tensor:
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
    model : ClassFlow
    x : (N, ...) tensor
        Samples; scored in evaluation mode, without gradients.

    Returns
    -------
    (N,) tensor
        >= 0; about half-normal for samples of the model itself, +inf where latents are not finite.

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
    flow = class_flow_of(model)
    gaussians = flow.gaussians
    dim, n_classes = gaussians.dim, gaussians.n_classes
    log_det = gaussians.density().log_det.expand(n_classes)

    def distances(z: Tensor) -> Tensor:
        """Compute the squared distances (N,) from the classes that are predicted."""
        by_class = gaussians.class_log_prob(z)
        best, codes = torch.where(by_class.isnan(), -math.inf, by_class).max(1)
        own_log_det = log_det.to(best.dtype)[codes]
        return (-2.0 * best - own_log_det - dim * math.log(2.0 * math.pi)).clamp_min(0.0)

    with evaluating(flow):
        squared = by_blocks(distances, flow.encode(x)[0], n_classes)
    spread = 2.0 / (9.0 * dim)
    deviation: Tensor = ((squared / dim) ** (1.0 / 3.0) - 1.0 + spread) / math.sqrt(spread)
    return torch.where(deviation.isnan(), math.inf, deviation.abs())


def rejection_threshold(scores: Any, rate: float) -> float:
    """Find the score above which a given part of known samples is rejected.

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

    Examples
    --------
    >>> from fpigauss_torch import rejection_threshold
    >>> rejection_threshold([3.0, 1.0, 2.0, 10.0], rate=0.25)
    3.0
    """
    values = torch.as_tensor(scores).detach()
    if values.ndim != 1 or values.numel() == 0:
        raise InvalidInputError(
            f"scores has shape {tuple(values.shape)}; pass the scores (N,) of at least one sample"
        )
    if bool(values.isnan().any()):
        row = int(values.isnan().nonzero()[0, 0])
        raise InvalidInputError(f"scores is NaN in row {row}; look at that sample's latents")
    rate = check_nonnegative(rate, "rate")
    if rate >= 1.0:
        raise InvalidInputError(f"rate is {rate:g}; pass a number, 0 <= rate < 1")
    n_rejected = math.floor(rate * values.numel() + 1e-9)  # 0.29 * 100 is below 29
    threshold = float(values.sort().values[values.numel() - 1 - n_rejected])
    if threshold == math.inf:
        n_infinite = int((values == math.inf).sum())
        row = int(values.argmax())
        raise InvalidInputError(
            f"scores is infinite in {n_infinite} of {values.numel()} rows (row {row} first), more "
            f"than rate={rate:g} rejects: no threshold would reject latents that are not finite; "
            "look at those samples' latents"
        )
    return threshold
