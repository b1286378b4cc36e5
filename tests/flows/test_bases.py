"""Class Gaussians as a base in every library's own flow, loss and sampling."""

import copy
import math

import pytest
import torch
from flows.flows_with_bases import ADAPTERS, CLOSE, D, K, N, fitted
from torch import nn
from torch.distributions import Distribution

from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentGaussians, refit_
from fpigauss_torch.bases import as_base
from fpigauss_torch.priors import LearnedMeans


@pytest.fixture(params=[True, False], ids=["validating", "not validating"], autouse=True)
def validation(request):
    """Set torch's own checks, which importing zuko turns off: no test may depend on them."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(request.param)
    yield
    Distribution.set_default_validate_args(before)


@pytest.fixture
def gaussians():
    return fitted(LatentGaussians(K, D, "dense", tied=False), seed=1)


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request, gaussians):
    torch.manual_seed(0)
    return ADAPTERS[request.param](gaussians)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(N, D, generator=generator), torch.arange(N) % K


#: Draws of labels, and nine of the mixture, as each library asks its base for them.
BY_LABELS = {
    "normflows": lambda base, y: base(y=y)[0],
    "nflows": lambda base, y: base.sample(1, context=y)[:, 0],
    "zuko": lambda base, y: base(y[:, None]).sample(),
    "torch": lambda base, y: base.condition(y).rsample(),
    "pyro": lambda base, y: base.condition(y)(),
}
OF_THE_MIXTURE = {
    "normflows": lambda base: base.sample(9),
    "nflows": lambda base: base.sample(9),
    "zuko": lambda base: base().sample((9,)),
    "torch": lambda base: base.condition().sample((9,)),
    "pyro": lambda base: base.condition(None).sample((9,)),
}


# -- densities --------------------------------------------------------------------------------


def test_log_prob_is_that_of_class_flow(adapter, batch):
    x, y = batch
    model = ClassFlow(None, adapter.base.gaussians, codec=(adapter.encode, lambda z: z))
    some = y.clone()
    some[::3] = -1
    for labels in (y, some, None):
        torch.testing.assert_close(adapter.log_prob(x, labels), model.log_prob(x, labels), **CLOSE)


def test_class_flow_shares_a_flow_and_its_gaussians(adapter, batch):
    x, y = batch
    model = ClassFlow(adapter.flow(), adapter.base.gaussians)
    torch.testing.assert_close(adapter.log_prob(x, y), model.log_prob(x, y), **CLOSE)
    before = adapter.log_prob(x, y).detach()
    refit_(model, [(torch.cat([x, x + 1.0, -x]), y.repeat(3))], 0.0, shrinkage=0.5)
    torch.testing.assert_close(adapter.log_prob(x, y), model.log_prob(x, y), **CLOSE)
    assert (adapter.log_prob(x, y) - before).abs().max() > 1.0


def test_soft_labels_mix_likelihoods(adapter, batch):
    x, y = batch
    if adapter.library == "zuko":
        scored = lambda labels: adapter.model(labels).log_prob(x)  # noqa: E731
    else:
        scored = lambda labels: adapter.log_prob(x, labels)  # noqa: E731
    one_hot = nn.functional.one_hot(y, K)
    hard = adapter.log_prob(x, y)
    torch.testing.assert_close(scored(one_hot), hard, **CLOSE)
    torch.testing.assert_close(scored(one_hot.float()), hard, **CLOSE)
    half = 0.5 * one_hot + 0.5 * one_hot.roll(1, 1)
    other = adapter.log_prob(x, (y + 1) % K)
    torch.testing.assert_close(scored(half), torch.logaddexp(hard, other) - math.log(2.0), **CLOSE)


def test_gradients_by_the_samples_are_those_of_class_flow(adapter, batch):
    x, y = batch
    model = ClassFlow(None, adapter.base.gaussians, codec=(adapter.encode, lambda z: z))
    gradients = []
    for log_prob in (adapter.log_prob, model.log_prob):
        x_ = x.clone().requires_grad_()
        gradients.append(torch.autograd.grad(log_prob(x_, y).sum(), x_)[0])
    # rounding of a few products in float32
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_own_loss_falls_in_fifty_steps(adapter, batch):
    x, y = batch
    x = x + y[:, None]
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    first = adapter.loss(x, y).item()
    for _ in range(50):
        optimizer.zero_grad()
        loss = adapter.loss(x, y)
        loss.backward()
        optimizer.step()
    assert adapter.loss(x, y).item() < first - 0.5


def test_refit_in_place_is_seen(adapter, batch):
    x, y = batch
    gaussians = adapter.base.gaussians
    before = adapter.log_prob(x, y).detach()
    fitted(gaussians, seed=7)
    z, logdet = adapter.encode(x)
    after = adapter.log_prob(x, y)
    torch.testing.assert_close(after, gaussians.log_prob(z, y) + logdet, **CLOSE)
    assert (after - before).abs().max() > 1.0


# -- the state --------------------------------------------------------------------------------


def test_state_carries_the_gaussians(adapter, batch):
    x, y = batch
    state = copy.deepcopy(adapter.state_dict())
    assert any(key.endswith("gaussians.means") for key in state)
    assert not any(key.endswith(("_like", "labels")) for key in state)
    torch.manual_seed(0)
    other = type(adapter)(LatentGaussians(K, D, "dense", tied=False))
    other.load_state_dict(state)
    torch.testing.assert_close(other.log_prob(x, y), adapter.log_prob(x, y))


def test_nothing_of_the_base_is_trained(adapter):
    assert not list(adapter.base.parameters())


@pytest.mark.parametrize("library", sorted(ADAPTERS))
def test_a_trained_prior_is_trained_through_the_base(library, batch):
    x, y = batch
    torch.manual_seed(0)
    adapter = ADAPTERS[library](LearnedMeans(K, D, seed=0))
    (means,) = adapter.base.parameters()
    z = adapter.encode(x)[0].detach()
    adapter.loss(x, y).backward()
    # for N(mu_y, I), the pull of a mean toward the latents of its class, divided by N
    pull = torch.stack([(means[k] - z[y == k]).sum(0) for k in range(K)]) / N
    torch.testing.assert_close(means.grad, pull.to(means), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("library", ["torch", "pyro"])
def test_draws_move_with_trained_means(library):
    base = as_base(LearnedMeans(K, D, seed=0), library)
    (means,) = base.parameters()
    base.condition(torch.tensor([1, 1, 3])).rsample((5,)).sum().backward()
    assert means.grad[:, 0].tolist() == [0.0, 10.0, 0.0, 5.0]


def test_deepcopy_is_apart(adapter, batch):
    x, y = batch
    twin = copy.deepcopy(adapter)
    fitted(adapter.base.gaussians, seed=7)
    assert (twin.log_prob(x, y) - adapter.log_prob(x, y)).abs().max() > 1.0


# -- samples ----------------------------------------------------------------------------------


def test_samples_are_of_their_class_in_the_dtype_of_the_flow(adapter):
    y = torch.arange(K).repeat_interleave(4000)
    torch.manual_seed(0)
    with torch.no_grad():
        x = adapter.sample(y)
        assert x.shape == (len(y), D)
        assert x.dtype == torch.float32
        z, _ = adapter.encode(x)
    gaussians = adapter.base.gaussians.class_gaussians()
    for k in range(K):
        # five standard errors of a mean of 4000 draws
        error = (z[y == k].double().mean(0) - gaussians.means[k]).abs()
        spread = gaussians.covariances[k].diagonal().sqrt()
        assert (error < 5.0 * spread / math.sqrt(4000)).all()


def test_samples_follow_a_cast(gaussians):
    for library, draw in BY_LABELS.items():
        base = as_base(gaussians, library).double()
        assert draw(base, torch.arange(K)).dtype == torch.float64, library
        assert base.gaussians.means.dtype == torch.float64, library


def test_draws_are_those_of_the_prior(gaussians):
    y = torch.arange(K).repeat(3)
    torch.manual_seed(5)
    expected = gaussians.sample(y)
    for library, draw in BY_LABELS.items():
        torch.manual_seed(5)
        assert torch.equal(draw(as_base(gaussians, library), y), expected), library
    torch.manual_seed(6)
    expected = gaussians.sample(9)
    for library, draw in OF_THE_MIXTURE.items():
        torch.manual_seed(6)
        assert torch.equal(draw(as_base(gaussians, library)), expected), library


def test_soft_labels_are_drawn_by_their_weights():
    gaussians = LatentGaussians(3, 1, covariance="diagonal", tied=False)
    values = gaussians.class_gaussians()
    values.means[:] = torch.tensor([[-100.0], [0.0], [100.0]])
    gaussians.assign_(values)
    weights = torch.tensor([[0.0, 0.25, 0.75]]).expand(4000, 3)
    torch.manual_seed(0)
    z, log_p = as_base(gaussians, "normflows")(y=weights)
    share = (z > 50.0).float().mean()
    assert (z > -50.0).all()
    # five standard errors of a share
    assert abs(share - 0.75) < 5.0 * math.sqrt(0.25 * 0.75 / 4000)
    torch.testing.assert_close(log_p, gaussians.log_prob(z, weights))


def test_labels_out_of_range_are_named(adapter, batch):
    x, y = batch
    y = y.clone()
    y[5] = K
    with pytest.raises(InvalidInputError, match=r"labels is 4 in row 5; the classes are 0..3"):
        adapter.log_prob(x, y)
    with pytest.raises(InvalidInputError, match=r"labels is 4 in row 5; the classes are 0..3"):
        adapter.sample(y)


@pytest.mark.parametrize("library", ["normflows", "nflows", "torch", "pyro"])
def test_labels_as_one_float_vector_are_refused(gaussians, library):
    with pytest.raises(InvalidInputError, match=r"labels has dtype torch\.float32; pass integers"):
        BY_LABELS[library](as_base(gaussians, library), torch.zeros(N))
