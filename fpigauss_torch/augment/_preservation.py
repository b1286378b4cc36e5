"""A measure of augmentation: how many samples keep their class."""

from typing import Any

import torch
from torch import Tensor, nn

from fpigauss import InvalidInputError
from fpigauss_torch._support import as_tensor, check_integral, evaluating
from fpigauss_torch.flow import class_flow_of

__all__ = ["class_preservation"]


@torch.no_grad()
def class_preservation(model: Any, x: Tensor, augmented: Tensor, y: Any) -> float:
    """Measure how many samples are still recognized after augmentation.

    Of the labeled samples that ``model`` classifies correctly, this is the part that it still
    classifies correctly after augmentation. The flow that augmented them is the cheapest judge, and
    a lenient one; a classifier that was trained independently is better.

    Parameters
    ----------
    model : object
        A ClassFlow, or anything with ``predict``: samples -> labels (N,).
    x, augmented : (N, ...) tensor
        Samples before and after augmentation.
    y : (N,) integers
        Classes of the samples; those of class -1 are left out.

    Returns
    -------
    float
        A number from 0 to 1.

    Raises
    ------
    InvalidInputError
        If shapes disagree, or no sample is classified correctly before augmentation.

    See Also
    --------
    LatentAugmentation : makes the samples.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, LatentGaussians, class_preservation
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
    truth = as_tensor(y, "y", "pass integers, one per row")
    if truth.shape != x.shape[:1]:
        column = ": y.ravel()" if truth.shape[1:] == (1,) else ""
        raise InvalidInputError(
            f"y has shape {tuple(truth.shape)}, ({x.shape[0]},) is needed; give one label per row"
            f"{column}"
        )
    check_integral(truth, "y")
    if not hasattr(model, "predict"):
        model = class_flow_of(model)
    judge = model if isinstance(model, nn.Module) else nn.Module()
    with evaluating(judge):
        before, after = (
            as_tensor(model.predict(samples), "predict", "return integers, one per row")
            for samples in (x, augmented)
        )
    right = (before == truth.to(before.device)) & (truth >= 0).to(before.device)
    if not bool(right.any()):
        raise InvalidInputError(
            "no sample of x is classified as y says, so there is no class to preserve; "
            "check the labels, or train the model further"
        )
    return float((before == after)[right].double().mean())
