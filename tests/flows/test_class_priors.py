"""Priors of the classes on tensors: as the core's, through flows, states and averages."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from coupling import coupling_model
from helpers import FAMILIES, FAMILY_IDS
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from fpigauss import ClassGaussians, ClassStatistics, InvalidInputError
from fpigauss_torch import ClassFlow, LatentGaussians, add_class, calibrate_temperature, refit_
from fpigauss_torch.priors import DataGaussians, GradientGaussians, LearnedMeans, RandomMeans

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
K, DIM = 3, 4
COUNTS = [60, 30, 10]
Y = torch.arange(K).repeat_interleave(torch.tensor(COUNTS))
SAME = (lambda x: (x, x.new_zeros(x.shape[0])), lambda z: z)


def latents(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(100, DIM, generator=generator) + torch.eye(K, DIM)[Y]


def fitted(covariance="diagonal", tied=True, seed=0):
    gaussians = LatentGaussians(K, DIM, covariance, tied)
    gaussians.fit_(latents(seed), Y, 1.0)
    return gaussians


# -- as the core's -------------------------------------------------------------------------


@family
@given(seed=st.integers(0, 2**32 - 1), zero=st.booleans())
def test_they_are_those_of_the_core(covariance, tied, seed, zero):
    gaussians = fitted(covariance, tied, seed)
    core, z = gaussians.class_gaussians(), latents(seed + 1).double()
    numbers = np.random.default_rng(seed).gamma(1.0, size=K) * (1.0, 1.0, 0.0 if zero else 1.0)
    for priors in (None, "counts", numbers / numbers.sum(), torch.tensor(numbers / numbers.sum())):
        for name in ("log_prob", "predict", "predict_proba"):
            torch.testing.assert_close(
                getattr(gaussians, name)(z, priors=priors), getattr(core, name)(z, priors=priors)
            )


def test_a_flow_passes_them_on():
    model = coupling_model(K, DIM)
    x = latents()
    refit_(model, [(x, Y)], lam=1.0)
    assert model.gaussians.counts.tolist() == COUNTS
    z, logdet = model.encode(x)
    gaussians = model.gaussians
    for priors in ("counts", [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]):
        mixed = gaussians.log_prob(z, priors=priors) + logdet
        torch.testing.assert_close(model.log_prob(x, priors=priors), mixed)
        torch.testing.assert_close(model(x, priors=priors), -mixed)
        torch.testing.assert_close(
            model.bits_per_dim(x, priors=priors), -mixed / (math.log(2.0) * DIM)
        )
        assert torch.equal(model.predict(x, priors=priors), gaussians.predict(z, priors=priors))
        torch.testing.assert_close(
            model.predict_proba(x, 2.0, priors=priors),
            gaussians.predict_proba(z, 2.0, priors=priors),
        )


def test_rows_without_a_label_are_of_the_mixture():
    gaussians, z = fitted(), latents()
    labels = torch.where(torch.arange(100) % 2 == 0, Y, -1)
    log_prob = gaussians.log_prob(z, labels, priors="counts")
    torch.testing.assert_close(log_prob[::2], gaussians.log_prob(z, Y)[::2])
    torch.testing.assert_close(log_prob[1::2], gaussians.log_prob(z, priors="counts")[1::2])
    soft = torch.nn.functional.one_hot(Y).float()
    with pytest.raises(InvalidInputError, match="priors are of no effect on soft labels"):
        gaussians.log_prob(z, soft, priors="counts")


def test_a_temperature_divides_log_densities_alone():
    gaussians, z = fitted(), latents()
    shares = torch.tensor(COUNTS) / 100.0
    expected = torch.softmax(gaussians.class_log_prob(z) / 5.0 + shares.log(), 1)
    torch.testing.assert_close(gaussians.predict_proba(z, 5.0, priors="counts"), expected)
    limit = gaussians.predict_proba(z, 1e9, priors="counts")
    torch.testing.assert_close(limit, shares.expand(100, K))


def test_a_temperature_is_calibrated_under_priors():
    gaussians, z = fitted(), latents(3)
    shares = torch.tensor(COUNTS, dtype=torch.float64) / 100.0
    found = calibrate_temperature(gaussians.class_log_prob(z), Y, priors=shares)

    def loss(temperature):
        own = gaussians.predict_proba(z.double(), temperature, priors=shares)[torch.arange(100), Y]
        return -float(own.log().mean())

    assert loss(found) < min(loss(1.01 * found), loss(0.99 * found))
    with pytest.raises(InvalidInputError, match="priors is 0 for class 1"):
        calibrate_temperature(gaussians.class_log_prob(z), Y, priors=[0.5, 0.0, 0.5])


def test_rows_without_a_density_get_the_priors():
    gaussians = fitted()
    z = torch.full((2, DIM), 1e30)
    z[1] = math.nan
    priors = torch.tensor([0.0, 0.25, 0.75])
    torch.testing.assert_close(gaussians.predict_proba(z, priors=priors), priors.expand(2, K))
    with pytest.warns(RuntimeWarning, match="row 0"):
        assert gaussians.predict(z, priors=priors).tolist() == [2, 2]


def test_five_percent_positives():
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(10_000, generator=generator) < 0.05).long()
    z = torch.randn(10_000, 4, generator=generator) + 0.6 * y[:, None]
    gaussians = LatentGaussians(2, 4, tied=True, covariance="diagonal")
    gaussians.fit_(z, y, 0.0)
    model = ClassFlow(None, gaussians, codec=SAME)
    assert float(model.predict(z).double().mean()) > 0.25
    positive = model.predict_proba(z, priors="counts")[:, 1]
    assert float(positive.mean()) == pytest.approx(float(y.double().mean()), abs=0.005)


# -- gradients and graphs ------------------------------------------------------------------


def test_the_mixture_is_differentiable_where_a_prior_is_zero():
    gaussians = fitted()
    z = latents()[:5].double().requires_grad_()
    logits = torch.zeros(K, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda z, logits: gaussians.log_prob(z, priors=torch.softmax(logits, 0)), (z, logits)
    )
    (slope,) = torch.autograd.grad(gaussians.log_prob(z, priors=[0.5, 0.5, 0.0]).sum(), z)
    assert bool(slope.isfinite().all())


@pytest.mark.parametrize("priors", ["counts", torch.tensor([0.5, 0.5, 0.0])], ids=str)
def test_one_graph(priors):
    torch._dynamo.reset()
    gaussians, z = fitted(), latents()
    labels = torch.where(torch.arange(100) % 2 == 0, Y, -1)
    for call in (
        lambda z: gaussians.log_prob(z, priors=priors),
        lambda z: gaussians.log_prob(z, labels, priors=priors),
        lambda z: gaussians.predict_proba(z, priors=priors),
        lambda z: gaussians.predict(z, priors=priors),
    ):
        compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(z), call(z))


def test_gradients_of_single_rows():
    gaussians, z = fitted(), latents()
    found = torch.func.vmap(
        torch.func.grad(lambda row: gaussians.log_prob(row[None], priors="counts")[0])
    )(z)
    leaf = z.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(gaussians.log_prob(leaf, priors="counts").sum(), leaf)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


# -- counts --------------------------------------------------------------------------------


def test_a_fit_knows_them_and_assigning_replaces_them():
    gaussians = LatentGaussians(K, DIM, covariance="diagonal", tied=False)
    assert gaussians.counts is None
    weight = torch.linspace(0.5, 1.5, 100)
    gaussians.fit_(latents(), Y, 0.0, sample_weight=weight)
    expected = torch.zeros(K, dtype=torch.float64).index_add(0, Y, weight.double())
    torch.testing.assert_close(gaussians.counts, expected)
    core = gaussians.class_gaussians()
    torch.testing.assert_close(core.counts, expected)
    torch.testing.assert_close(LatentGaussians.from_class_gaussians(core).counts, expected)
    gaussians.assign_(ClassGaussians(core.means, core.covariances))  # of whatever samples
    assert gaussians.counts is None
    gaussians.assign_(core)
    gaussians.reset_parameters()
    assert gaussians.counts is None


def test_a_new_class_is_counted():
    z = latents()
    statistics = ClassStatistics.from_samples(z[Y < 2], Y[Y < 2])
    gaussians = LatentGaussians(2, DIM, tied=True, covariance="diagonal")
    gaussians.solve_(statistics, 1.0)
    extended = add_class(gaussians, statistics, z[Y == 2], 1.0)
    assert extended.gaussians.counts.tolist() == COUNTS


def test_data_gaussians_know_them():
    prior = DataGaussians(K, DIM, covariance="diagonal", tied=False)
    prior.fit_(latents(), Y)
    assert prior.counts.tolist() == COUNTS


def test_a_state_and_copies_contain_them():
    gaussians = fitted()
    again = LatentGaussians(K, DIM, tied=True, covariance="diagonal")
    again.load_state_dict(gaussians.state_dict())
    for other in (again, copy.deepcopy(gaussians), pickle.loads(pickle.dumps(gaussians))):
        assert other.counts.tolist() == COUNTS
    cast = copy.deepcopy(gaussians).half()
    assert cast.counts.dtype == torch.float64


def test_a_cast_of_a_state_may_have_no_room_for_them():
    gaussians = fitted()
    gaussians.class_counts.mul_(1e6)
    state = {name: value.half() for name, value in gaussians.state_dict().items()}
    assert not bool(state["class_counts"].isfinite().all())
    again = LatentGaussians(K, DIM, tied=True, covariance="diagonal")
    again.load_state_dict(state)
    assert again.counts is None


@pytest.mark.parametrize("assign", [False, True])
def test_states_and_pickles_from_before_load(assign):
    gaussians, z = fitted(), latents()
    old = copy.deepcopy(gaussians.state_dict())
    del old["class_counts"]
    again = fitted(seed=1)
    again.load_state_dict(old, assign=assign)
    assert "class_counts" not in old
    assert again.counts is None
    assert torch.equal(again.log_prob(z, Y), gaussians.log_prob(z, Y))
    again.fit_(z, Y, 1.0)
    assert again.counts.tolist() == COUNTS
    model = ClassFlow(None, fitted(seed=1), codec=SAME)
    nested = {f"gaussians.{name}": value for name, value in old.items()}
    model.load_state_dict(model.state_dict() | nested)
    unpickled = copy.deepcopy(gaussians)
    fields = unpickled.__getstate__()
    fields["_buffers"] = {n: b for n, b in fields["_buffers"].items() if n != "class_counts"}
    older = LatentGaussians.__new__(LatentGaussians)
    older.__setstate__(fields)
    assert older.counts is None
    assert torch.equal(older.log_prob(z, Y), gaussians.log_prob(z, Y))


def test_a_partial_state_leaves_them():
    gaussians = fitted()
    gaussians.load_state_dict({}, strict=False)
    assert gaussians.counts.tolist() == COUNTS


def test_an_average_of_unfitted_and_fitted_has_their_proportions():
    gaussians = LatentGaussians(K, DIM, tied=True, covariance="diagonal")
    averaged = AveragedModel(gaussians, avg_fn=get_ema_avg_fn(0.9), use_buffers=True)
    averaged.update_parameters(gaussians)
    gaussians.fit_(latents(), Y, 1.0)
    averaged.update_parameters(gaussians)
    z, shares = latents(), torch.tensor(COUNTS) / 100.0
    torch.testing.assert_close(
        averaged.module.predict_proba(z, priors="counts"),
        averaged.module.predict_proba(z, priors=shares),
    )


@pytest.mark.parametrize(
    "prior",
    [
        LatentGaussians(K, DIM, covariance="diagonal", tied=False),
        LearnedMeans(K, DIM, seed=0),
        RandomMeans(K, DIM, seed=0),
        GradientGaussians(K, DIM, 1.0, seed=0),
    ],
    ids=lambda prior: type(prior).__name__,
)
@pytest.mark.filterwarnings("ignore:the Gaussians have not been fitted:RuntimeWarning")
def test_unknown_counts(prior):
    assert prior.counts is None
    for name in ("predict", "predict_proba", "log_prob"):
        with pytest.raises(InvalidInputError, match="do not know the counts of their classes"):
            getattr(prior, name)(latents(), priors="counts")
        shares = getattr(prior, name)(latents(), priors=[0.2, 0.3, 0.5])
        assert len(shares) == 100


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ([1.0], r"priors has shape \(1,\), \(3,\) is needed"),
        (torch.tensor([0.5, 0.6, -0.1]), "priors is -0.1 for class 2"),
        ([math.nan, 0.5, 0.5], "priors is nan for class 0"),
        (torch.tensor(COUNTS), "priors sum to 100"),
        ("frequencies", "priors is 'frequencies'; pass \"counts\""),
    ],
)
@pytest.mark.parametrize("name", ["predict", "predict_proba", "log_prob"])
def test_bad_priors(name, priors, message):
    model = ClassFlow(None, fitted(), codec=SAME)
    for target in (model, model.gaussians):
        with pytest.raises(InvalidInputError, match=message):
            getattr(target, name)(latents(), priors=priors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperatures_that_log_densities_overflow_under(dtype):
    gaussians = LatentGaussians(K, DIM, "diagonal", tied=False)
    gaussians.fit_(latents(), Y, 1.0)
    narrow = LatentGaussians(K, DIM)
    narrow.fit_(1e-3 * latents(), Y, 1.0)  # densities above 1, whose logarithms are positive
    far = [torch.full((1, DIM), 1e18), torch.full((1, DIM), -1e15), torch.zeros(1, DIM)]
    for prior in (gaussians, narrow):
        z = torch.cat([prior.means.to(dtype), *(rows.to(dtype) for rows in far)])
        by_class = prior.class_log_prob(z)
        for coldness in (1e-3, 1e-39, 1e-300):
            shares = prior.predict_proba(z, coldness)
            ties = by_class == by_class.amax(1, keepdim=True)
            torch.testing.assert_close(shares, ties.to(dtype) / ties.sum(1, keepdim=True))
            # a class that cannot occur is not what the others are compared with
            shares = prior.predict_proba(z[:K], coldness, priors=[0.0, 0.5, 0.5])
            own = by_class[:K, 1:]
            best = torch.nn.functional.one_hot(1 + own.argmax(1), K)
            torch.testing.assert_close(shares, best.to(dtype))
        hot = prior.predict_proba(z[:K], 1e300, priors=[0.0, 0.25, 0.75])
        torch.testing.assert_close(hot, torch.tensor([[0.0, 0.25, 0.75]] * K, dtype=dtype))
    infinite = torch.tensor([[math.inf] * DIM], dtype=dtype)
    for temperature in (1e-300, 1.0, 1e300):
        shares = gaussians.predict_proba(infinite, temperature)
        torch.testing.assert_close(shares, torch.full((1, K), 1.0 / K, dtype=dtype))
