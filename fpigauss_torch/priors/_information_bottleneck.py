"""The loss of IB-INN: the likelihood of the mixture and the cross-entropy of the classes."""

from typing import Any

import torch
from torch import Tensor

from fpigauss.interface import check_nonnegative
from fpigauss_torch._support import hard_labels, mixture
from fpigauss_torch.flow import ClassFlow

__all__ = ["information_bottleneck_loss"]


def information_bottleneck_loss(model: ClassFlow, x: Tensor, y: Any, beta: float) -> Tensor:
    r"""Compute the loss of IB-INN, -log p(x) - beta log p(y|x), of every sample.

    p(x) is the equal-prior mixture of all classes. ``beta=1`` is the class-conditional
    negative log-likelihood (plus log K); larger values give classification more weight. The method
    also adds noise to ``x``; this is left to the caller.

    Parameters
    ----------
    model : ClassFlow
        A flow over ``LearnedMeans``, as in the paper, or over any other prior.
    x : (N, ...) tensor
        Samples.
    y : (N,) integers
        Classes 0..K-1; rows of class -1 (unlabeled) have only the term -log p(x).
    beta : float
        The weight of the cross-entropy, >= 0, relative to a likelihood in nats per sample. The
        authors' code uses a likelihood per dimension: multiply its weight by d.

    Returns
    -------
    (N,) tensor
        The loss in nats; train on its mean, plus the prior's penalty if there is one.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used.

    References
    ----------
    IB-INN: Ardizzone, Mackowiak, Rother, Köthe. Training normalizing flows with the information
    bottleneck for competitive generative classification. NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow
    >>> from fpigauss_torch.priors import LearnedMeans, information_bottleneck_loss
    >>> same = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
    >>> model = ClassFlow(None, LearnedMeans(3, 2, seed=0), codec=same)
    >>> information_bottleneck_loss(model, torch.zeros(4, 2), [0, 1, 2, -1], beta=2.0).shape
    torch.Size([4])
    """
    beta = check_nonnegative(beta, "beta")
    by_class = model.class_log_prob(x)
    labels, _ = hard_labels(
        y, by_class.shape[1], device=by_class.device, rows=by_class.shape[0], unlabeled=True
    )
    entropy = torch.nn.functional.cross_entropy(by_class, labels, ignore_index=-1, reduction="none")
    return beta * entropy - mixture(by_class)
