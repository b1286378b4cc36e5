"""The prior of FlowGMM: means drawn once, identity covariances."""

from typing import Any

from fpigauss_torch.priors._base import MeansPrior, drawn_means

__all__ = ["RandomMeans"]


class RandomMeans(MeansPrior):
    r"""N(mu_y, I) with random means that stay fixed: the prior of FlowGMM.

    The means are drawn from N(0, scale^2 I) once; two of them are about ``scale * sqrt(2 d)``
    apart. It is left to the flow to move the classes there. The means are saved in the state.

    Parameters
    ----------
    n_classes, dim : int
        K and d.
    scale : float
        The standard deviation of the means, >= 0.
    seed : int or torch.Generator, optional
        Where the randomness comes from; torch's own state by default.

    Attributes
    ----------
    means : (K, d) tensor
        The means, a buffer.

    References
    ----------
    FlowGMM: Izmailov, Kirichenko, Finzi, Wilson. Semi-supervised learning with normalizing flows.
    ICML 2020.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch.priors import RandomMeans
    >>> prior = RandomMeans(3, 2, scale=5.0, seed=0)
    >>> prior.predict(prior.means)
    tensor([0, 1, 2])
    >>> list(prior.parameters())
    []
    """

    def __init__(self, n_classes: int, dim: int, *, scale: float = 1.0, seed: Any = None) -> None:
        """Draw the means."""
        super().__init__(n_classes, dim)
        self.register_buffer("means", drawn_means(n_classes, dim, scale, seed))
