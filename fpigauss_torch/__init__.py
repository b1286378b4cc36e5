"""Class Gaussians under the latent space of any normalising flow, for PyTorch.

This package will hold the ``torch`` side of fpigauss: the class Gaussians as a module that trains
beside a flow, refits in place, and reductions of class statistics over several processes. The
mathematics of the fixed point stays in `fpigauss`.

It is empty for now, and nothing has to wait for it: every function of `fpigauss` already takes
torch tensors and returns torch tensors, on the same device and in the same floating dtype.
"""

from fpigauss import __version__

__all__ = ["__version__"]
