"""The priors that the paper compares with, to be put under the same flow.

Every prior has the interface of ``LatentPrior``: put it into ``ClassFlow`` in place of
``LatentGaussians``; the flow, its training, and its evaluation stay as they are.

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

*Fitted* priors have ``fit_`` and ``solve_``, and ``refit_`` and schedules work on them. *Trained*
priors are parameters that an optimizer changes together with the flow; ``init_`` or
``init_from_`` sets where they start. ``RandomMeans`` never change. For these two kinds there is
nothing to refit, and ``refit_`` raises an error. All priors have ``class_gaussians()``, which
returns Gaussians of the core, for ``fpigauss.pairwise_kld`` for example.

With every prior the loss to train is ``model(x, y).mean() + prior.penalty()``; the penalty is zero
for most. IB-INN uses ``information_bottleneck_loss`` in place of ``model(x, y)``.

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
