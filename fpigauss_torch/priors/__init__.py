"""What the paper compares with, as priors under the same flow.

Every prior has the interface of ``LatentPrior``: put it into ``ClassFlow`` in place of
``LatentGaussians``, and the flow, its training, and its evaluation stay as they are.

=====================  =========================  ======================  ========
prior                  in the paper               Gaussians               set by
=====================  =========================  ======================  ========
``LatentGaussians``    NF^pi itself               any family              a fit
``DataGaussians``      Baseline 1, Table 1        any family, lam = 0     a fit
``GradientGaussians``  Baseline 2, Table 1        diagonal, bounded       training
``RandomMeans``        FlowGMM, Table 4           N(mu_y, I), mu_y fixed  a seed
``LearnedMeans``       ULCGM and IB-INN, Table 4  N(mu_y, I)              training
``SymmetricKLMeans``   IB-INN + KLJ, Table 4      N(mu_y, I)              training
=====================  =========================  ======================  ========

*Fitted* priors have ``fit_`` and ``solve_``, and ``refit_`` and schedules run on them. *Trained*
ones are parameters that an optimiser moves with the flow, started by ``init_`` or
``init_from_``, and ``RandomMeans`` never change: there is nothing to refit, and ``refit_``
raises. All of them give ``class_gaussians()`` to the core, for ``fpigauss.pairwise_kld`` say.

The loss that every prior is trained with is ``model(x, y).mean() + prior.penalty()``; the penalty
is zero for most. IB-INN has ``information_bottleneck_loss`` in place of ``model(x, y)``.

Examples
--------
>>> import torch
>>> from fpigauss_torch import ClassFlow
>>> from fpigauss_torch.priors import RandomMeans
>>> same = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
>>> model = ClassFlow(None, RandomMeans(3, 2, seed=0), codec=same)
>>> loss = model(torch.zeros(4, 2), [0, 1, 2, 0]).mean() + model.gaussians.penalty()
>>> model.sample([0, 1, 2], seed=0).shape
torch.Size([3, 2])
"""

from fpigauss_torch.priors._data_gaussians import DataGaussians
from fpigauss_torch.priors._gradient_gaussians import GradientGaussians
from fpigauss_torch.priors._information_bottleneck import information_bottleneck_loss
from fpigauss_torch.priors._learned_means import LearnedMeans
from fpigauss_torch.priors._learning_rates import LEARNING_RATE_POLICIES, learning_rate_policy
from fpigauss_torch.priors._random_means import RandomMeans
from fpigauss_torch.priors._symmetric_kl_means import SymmetricKLMeans

__all__ = [
    "LEARNING_RATE_POLICIES",
    "DataGaussians",
    "GradientGaussians",
    "LearnedMeans",
    "RandomMeans",
    "SymmetricKLMeans",
    "information_bottleneck_loss",
    "learning_rate_policy",
]
