"""The prior of ULCGM and IB-INN: means trained with the flow, identity covariances."""

from typing import Any

from fpigauss_torch.priors._base import TrainedPrior

__all__ = ["LearnedMeans"]


class LearnedMeans(TrainedPrior):
    r"""N(mu_y, I) with means that are trained: the prior of ULCGM and IB-INN.

    With the likelihood alone, the means settle at those of their classes, however close these are.
    IB-INN separates them by a classification term: see ``information_bottleneck_loss``.

    Parameters
    ----------
    n_classes, dim : int
        K and d.
    scale : float
        The standard deviation of the initial means, >= 0; ``init_`` starts from the means of
        latents instead.
    seed : int or torch.Generator, optional
        Where the randomness comes from; torch's own state by default.

    Attributes
    ----------
    means : (K, d) tensor
        The means, a parameter.

    References
    ----------
    - ULCGM: Fetaya, Jacobsen, Grathwohl, Zemel. Understanding the limitations of conditional
      generative models. ICLR 2020.
    - IB-INN: Ardizzone, Mackowiak, Rother, Köthe. Training normalizing flows with the information
      bottleneck for competitive generative classification. NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch.priors import LearnedMeans
    >>> prior = LearnedMeans(2, 1).init_(torch.tensor([[0.0], [2.0], [5.0]]), [0, 0, 1])
    >>> prior.means.tolist()
    [[1.0], [5.0]]
    """

    def __init__(self, n_classes: int, dim: int, *, scale: float = 1.0, seed: Any = None) -> None:
        """Draw the means."""
        super().__init__(n_classes, dim, scale, seed)
