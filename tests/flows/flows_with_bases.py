"""A small flow of every library over one of our bases, used through the library's own calls."""

import normflows
import pyro.distributions.conditional
import pyro.distributions.transforms
import torch
import zuko
from nflows.flows import Flow as NflowsFlow
from nflows.transforms import AffineCouplingTransform, CompositeTransform, ReversePermutation
from torch import nn
from torch.distributions import AffineTransform, TransformedDistribution

from fpigauss_torch.bases import as_base, without_context

K, D, N = 4, 6, 24

#: Of sums of D squares in float32, in nats of a few hundred at most.
CLOSE = {"rtol": 1e-5, "atol": 1e-4}


def fitted(module, seed):
    """Gaussians of separate classes, each with its own covariance."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(40 * K) % K
    z = torch.randn(len(y), D, generator=generator) @ torch.randn(D, D, generator=generator)
    module.fit_(z + torch.randn(K, D, generator=generator)[y], y, lam=0.0)
    return module


def net(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, 16), nn.Tanh(), nn.Linear(16, n_out))


class Net(nn.Sequential):
    """The network of an nflows coupling, which is called with the context."""

    def __init__(self, n_in, n_out):
        super().__init__(*net(n_in, n_out))

    def forward(self, x, context=None):
        assert context is None, "labels reached the transform"
        return super().forward(x)


class Adapter(nn.Module):
    """A flow of some library over a base, used through the library's own calls."""

    def __init__(self, gaussians):
        super().__init__()
        self.base = as_base(gaussians, self.library)

    def flow(self):
        """Return the flow itself, as ClassFlow takes it."""
        return self.model


class Normflows(Adapter):
    library = "normflows"

    def __init__(self, gaussians):
        super().__init__(gaussians)
        flows = []
        for _ in range(2):
            flows += [
                normflows.flows.AffineCouplingBlock(net(D // 2, D)),
                normflows.flows.Permute(D, mode="swap"),
            ]
        self.model = normflows.ClassCondFlow(self.base, flows)
        self.mixture = normflows.NormalizingFlow(self.base, flows)

    def log_prob(self, x, y):
        return self.mixture.log_prob(x) if y is None else self.model.log_prob(x, y)

    def encode(self, x):
        return self.mixture.inverse_and_log_det(x)

    def loss(self, x, y):
        return self.model.forward_kld(x, y)

    def sample(self, y):
        return self.model.sample(y=y)[0]


class Nflows(Adapter):
    library = "nflows"

    def __init__(self, gaussians):
        super().__init__(gaussians)
        first, second = (AffineCouplingTransform(torch.arange(D) % 2, Net) for _ in range(2))
        transform = CompositeTransform([first, ReversePermutation(D), second])
        self.model = NflowsFlow(without_context(transform), self.base)

    def log_prob(self, x, y):
        return self.model.log_prob(x, context=y)

    def encode(self, x):
        return self.model._transform(x)

    def loss(self, x, y):
        return -self.model.log_prob(x, context=y).mean()

    def sample(self, y):
        return self.model.sample(1, context=y)[:, 0]


class Zuko(Adapter):
    library = "zuko"

    def __init__(self, gaussians):
        super().__init__(gaussians)
        transform = zuko.flows.NSF(D, transforms=2, hidden_features=(16,), passes=2).transform
        self.model = zuko.flows.Flow(without_context(transform), self.base)

    def log_prob(self, x, y):
        return self.model(None if y is None else y[:, None]).log_prob(x)

    def encode(self, x):
        return self.model.transform(None).call_and_ladj(x)

    def loss(self, x, y):
        return -self.model(y[:, None]).log_prob(x).mean()

    def sample(self, y):
        return self.model(y[:, None]).sample()


class Torch(Adapter):
    library = "torch"

    def __init__(self, gaussians):
        super().__init__(gaussians)
        self.shift = nn.Parameter(0.1 * torch.arange(D))
        self.log_scale = nn.Parameter(0.1 * torch.arange(D))

    def over(self, base):
        return TransformedDistribution(
            base, [AffineTransform(self.shift, self.log_scale.exp(), event_dim=1)]
        )

    def flow(self):
        return self.over(self.base.condition())

    def log_prob(self, x, y):
        return self.over(self.base.condition(y)).log_prob(x)

    def encode(self, x):
        z = (x - self.shift) / self.log_scale.exp()
        return z, -self.log_scale.sum().expand(len(x))

    def loss(self, x, y):
        return -self.log_prob(x, y).mean()

    def sample(self, y):
        return self.over(self.base.condition(y)).sample()


class Pyro(Adapter):
    library = "pyro"

    def __init__(self, gaussians):
        super().__init__(gaussians)
        self.transforms = nn.ModuleList(
            [pyro.distributions.transforms.affine_coupling(D, hidden_dims=[16]) for _ in range(2)]
        )
        self.model = pyro.distributions.conditional.ConditionalTransformedDistribution(
            self.base, list(self.transforms)
        )

    def flow(self):
        return self.model.condition(None)

    def log_prob(self, x, y):
        # a view: pyro's transforms remember the latents of a tensor that they have seen
        return self.model.condition(y).log_prob(x.view_as(x))

    def encode(self, x):
        logdet = 0.0
        for transform in reversed(self.transforms):
            z = transform.inv(x.view_as(x))
            logdet = logdet - transform.log_abs_det_jacobian(z, x)
            x = z
        return x, logdet

    def loss(self, x, y):
        return -self.log_prob(x, y).mean()

    def sample(self, y):
        return self.model.condition(y).sample()


ADAPTERS = {adapter.library: adapter for adapter in (Normflows, Nflows, Zuko, Torch, Pyro)}
