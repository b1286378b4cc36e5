"""A base of pyro."""

from typing import Any

from pyro.distributions import ConditionalDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin

from fpigauss_torch.bases._base import LatentBase
from fpigauss_torch.bases._distributions import ClassDistribution, conditioned

__all__ = ["PyroBase", "PyroClassDistribution"]


class PyroClassDistribution(ClassDistribution, TorchDistributionMixin):
    """The same, with what pyro adds to a distribution of torch."""


class PyroBase(LatentBase, ConditionalDistribution):
    """A conditional distribution of pyro and a module; see ``as_base``."""

    def condition(self, context: Any) -> PyroClassDistribution:
        """The distributions of given labels.

        Parameters
        ----------
        context : (N,) integers or (N, K), or None
            Classes, -1 for the mixture, or weights of the classes' likelihoods. None is one
            distribution, the mixture.

        Returns
        -------
        pyro.distributions.TorchDistribution
            Of batch shape (N,), or () of None.
        """
        return conditioned(self, context, PyroClassDistribution)
