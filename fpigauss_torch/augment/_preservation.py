"""How many samples keep their class when they are augmented."""

from typing import Any

import torch
from torch import Tensor, nn

from fpigauss import InvalidInputError
from fpigauss_torch._support import evaluating

__all__ = ["class_preservation"]


@torch.no_grad()
def class_preservation(model: Any, x: Tensor, augmented: Tensor, y: Any) -> float:
    """How many samples are still recognised after augmentation.

    Of the labelled samples that ``model`` classifies right, the part that it still classifies
    right when augmented. The flow that augmented them is the cheapest judge and a lenient one; a
    classifier that was trained apart from it is a better one.

    Parameters
    ----------
    model : object
        A ClassFlow, or anything with ``predict``: samples -> labels (N,).
    x, augmented : (N, ...) tensor
        Samples before and after.
    y : (N,) integers
        Their classes; samples of class -1 are left out.

    Returns
    -------
    float
        0..1.

    Raises
    ------
    InvalidInputError
        If shapes disagree, or no sample is classified right before.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, LatentGaussians
    >>> from fpigauss_torch import class_preservation
    >>> same = (lambda x: (x, torch.zeros(len(x))), lambda z: z)
    >>> x, y = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
    >>> gaussians = LatentGaussians(2, 1)
    >>> result = gaussians.fit_(x, y, lam=0.0)
    >>> class_preservation(ClassFlow(None, gaussians, codec=same), x, x + 2.0, y)
    0.75
    """
    if x.shape != augmented.shape:
        raise InvalidInputError(
            f"augmented has shape {tuple(augmented.shape)}, x {tuple(x.shape)}; they must agree"
        )
    truth = torch.as_tensor(y)
    if truth.shape != x.shape[:1]:
        raise InvalidInputError(
            f"y has shape {tuple(truth.shape)}, ({x.shape[0]},) is needed; give one label a row"
        )
    judge = model if isinstance(model, nn.Module) else nn.Module()
    with evaluating(judge):
        before, after = (torch.as_tensor(model.predict(samples)) for samples in (x, augmented))
    right = (before == truth.to(before.device)) & (truth >= 0).to(before.device)
    if not bool(right.any()):
        raise InvalidInputError(
            "y: no sample of x is classified as it says, so there is no class to preserve; "
            "check the labels, or train the model further"
        )
    return float((before == after)[right].double().mean())
