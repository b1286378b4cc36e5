"""The base for pyro."""

from typing import Any

from pyro.distributions import ConditionalDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin

from fpigauss_torch.bases._base import LatentBase
from fpigauss_torch.bases._distributions import ClassDistribution, conditioned

__all__ = ["PyroBase", "PyroClassDistribution"]


class PyroClassDistribution(ClassDistribution, TorchDistributionMixin):
    """``ClassDistribution`` with what pyro adds to distributions of torch."""


class PyroBase(LatentBase, ConditionalDistribution):
    """A conditional distribution of pyro and a module; see ``as_base``."""

    def condition(self, context: Any) -> PyroClassDistribution:
        """Make the distributions of given labels.

        Parameters
        ----------
        context : (N,) integers or (N, K), or None
            Classes, -1 for the mixture, or weights of the classes' likelihoods. None means
            one distribution: the mixture.

        Returns
        -------
        pyro.distributions.TorchDistribution
            Distributions of batch shape (N,), or () for None.
        """
        return conditioned(self, context, PyroClassDistribution)
