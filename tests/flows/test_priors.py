"""The paper's baselines as priors: one interface, their objectives, and how they are trained."""

import copy
import io
import itertools
import math

import pytest
import torch
from coupling import Coupling, CouplingCodec

from fpigauss import (
    ClassStatistics,
    InvalidInputError,
    fit_fixed_point,
    pairwise_kld,
)
from fpigauss_torch import ClassFlow, LatentGaussians, gather_statistics, refit_
from fpigauss_torch.priors import (
    LEARNING_RATE_POLICIES,
    DataGaussians,
    GradientGaussians,
    LearnedMeans,
    RandomMeans,
    SymmetricKLMeans,
    information_bottleneck_loss,
    learning_rate_policy,
)

K, DIM = 3, 2


def latents(n=300, dim=DIM, seed=0):
    """Balanced classes that overlap, in float64."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % K
    centers = 0.8 * torch.randn(K, dim, generator=generator, dtype=torch.float64)
    scales = torch.tensor([1.0, 0.6, 0.8], dtype=torch.float64)[y][:, None]
    noise = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return scales * noise + centers[y], y


def data_gaussians(dim=DIM, seed=0):
    prior = DataGaussians(K, dim, covariance="diagonal", tied=False)
    prior.fit_(*latents(dim=dim, seed=seed))
    return prior


PRIORS = {
    "data": data_gaussians,
    "gradient": lambda dim=DIM, seed=0: GradientGaussians(K, dim, lam=1.0, seed=seed),
    "random": lambda dim=DIM, seed=0: RandomMeans(K, dim, scale=2.0, seed=seed),
    "learned": lambda dim=DIM, seed=0: LearnedMeans(K, dim, scale=2.0, seed=seed),
    "symmetric": lambda dim=DIM, seed=0: SymmetricKLMeans(K, dim, lam=0.1, seed=seed),
}
every_prior = pytest.mark.parametrize("make", PRIORS.values(), ids=list(PRIORS))
TRAINED = {name: PRIORS[name] for name in ("gradient", "learned", "symmetric")}
trained = pytest.mark.parametrize("make", TRAINED.values(), ids=list(TRAINED))


def saved(module):
    """Save a state to a file, and load it by torch's safe rules."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# -- one interface -------------------------------------------------------------------------


@every_prior
def test_densities_are_those_of_the_cores_gaussians(make):
    prior = make().double()
    z, y = latents()
    core = prior.class_gaussians()
    # both compute in float64, one by products and one by differences: they differ by rounding
    torch.testing.assert_close(prior.class_log_prob(z), core.class_log_prob(z))
    torch.testing.assert_close(prior.log_prob(z, y), core.log_prob(z, y))
    torch.testing.assert_close(prior.log_prob(z), core.log_prob(z))
    assert torch.equal(prior.predict(z), core.predict(z))
    torch.testing.assert_close(prior.predict_proba(z), core.predict_proba(z))
    some = torch.where(torch.arange(len(y)) % 2 == 0, y, -1)
    expected = torch.where(some >= 0, core.log_prob(z, y), core.log_prob(z))
    torch.testing.assert_close(prior.log_prob(z, some), expected)


@every_prior
def test_samples_have_the_moments_of_their_class(make):
    prior, n = make(), 20_000
    core = prior.class_gaussians()
    for label in range(K):
        draws = prior.sample(torch.full((n,), label), seed=1).double()
        variances = torch.broadcast_to(core.covariances, (K, DIM))[label].double()
        error = (draws.mean(0) - core.means[label]) / (variances / n).sqrt()
        # five standard errors of a mean, and of a variance (v sqrt(2 / n))
        assert error.abs().max() < 5.0
        assert (draws.var(0) / variances - 1.0).abs().max() < 5.0 * math.sqrt(2.0 / n)
    at_means = prior.sample([2, 0], temperature=0.0)
    torch.testing.assert_close(at_means, core.means[[2, 0]].float())
    assert torch.equal(prior.sample(5, seed=3), prior.sample(5, seed=3))


@every_prior
def test_a_state_goes_into_a_prior_of_the_same_kind(make):
    prior, other = make(seed=0), make(seed=1)
    z, y = latents()
    assert not torch.equal(other.log_prob(z, y), prior.log_prob(z, y))
    other.load_state_dict(saved(prior))
    assert torch.equal(other.log_prob(z, y), prior.log_prob(z, y))
    with pytest.raises(InvalidInputError, match=r"the state is that of .*dim=2.*dim=3"):
        make(dim=3).load_state_dict(saved(prior))


@every_prior
def test_a_state_does_not_go_into_a_prior_of_another_kind(make):
    state = saved(make())
    for other in (
        LatentGaussians(K, DIM, "dense", tied=False),
        *(maker() for maker in PRIORS.values()),
    ):
        if type(other) is not type(make()):
            before = copy.deepcopy(other.state_dict())
            with pytest.raises(InvalidInputError, match="the state is that of"):
                other.load_state_dict(state)
            for name, value in other.state_dict().items():
                assert torch.equal(value, before[name]) if "extra" not in name else True


def test_a_state_with_other_bounds_is_refused():
    # the same logits would mean other variances
    state = saved(GradientGaussians(K, DIM, 1.0))
    with pytest.raises(InvalidInputError, match=r"high=1\.25.*high=2\.0"):
        GradientGaussians(K, DIM, 1.0, high=2.0).load_state_dict(state)


@trained
def test_a_copy_is_trained_apart(make):
    prior = make()
    z, y = latents()
    before = prior.log_prob(z, y).detach()
    other = copy.deepcopy(prior)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    (-other.log_prob(z, y).mean()).backward()
    optimizer.step()
    assert torch.equal(prior.log_prob(z, y), before)
    assert not torch.equal(other.log_prob(z, y), before)


@every_prior
def test_only_trained_priors_have_parameters(make):
    prior = make()
    is_trained = isinstance(prior, GradientGaussians | LearnedMeans | SymmetricKLMeans)
    assert bool(list(prior.parameters())) == is_trained
    assert hasattr(prior, "init_") == is_trained
    assert hasattr(prior, "solve_") == isinstance(prior, DataGaussians)


@pytest.mark.parametrize("make", [m for n, m in PRIORS.items() if n != "data"])
def test_a_seed_gives_the_means(make):
    assert torch.equal(make(seed=4).means, make(seed=4).means)
    assert not torch.equal(make(seed=4).means, make(seed=5).means)
    assert torch.equal(make(seed=torch.Generator().manual_seed(4)).means, make(seed=4).means)


@every_prior
def test_half_precision_latents_are_scored_in_float32(make):
    prior = make()
    z, y = latents()
    half = prior.log_prob(z.to(torch.bfloat16), y)
    assert half.dtype == torch.float32
    # the rounded latents themselves, in float64: float32 keeps 7 of their digits
    exact = prior.log_prob(z.to(torch.bfloat16).double(), y)
    torch.testing.assert_close(half.double(), exact, rtol=1e-5, atol=1e-5, check_dtype=False)


@every_prior
def test_training_lowers_the_loss_of_a_flow(make):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(150) % K
    x = torch.randn(150, 4, generator=generator) + 2.0 * torch.eye(4)[y]
    prior = make(dim=4)
    model = ClassFlow(Coupling(4), prior, codec=CouplingCodec)
    groups = [{"params": [*model.codec.parameters()], "lr": 0.01}]
    if list(prior.parameters()):
        groups.append({"params": [*prior.parameters()], "lr": 0.05})
    optimizer = torch.optim.Adam(groups)
    before = model(x, y).mean().item()
    losses = []
    for _ in range(50):
        loss = model(x, y).mean() + prior.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert model(x, y).mean().item() < before
    assert model.sample([0, 1, 2], seed=0).isfinite().all()


# -- Baseline 1 ----------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 1e4])
def test_data_gaussians_are_the_class_moments_whatever_lam(lam):
    z, y = latents()
    prior = DataGaussians(K, DIM, covariance="diagonal", tied=False)
    result = prior.fit_(z, y, lam)
    statistics = ClassStatistics.from_samples(z, y)
    assert result.converged
    torch.testing.assert_close(prior.means, statistics.means)
    torch.testing.assert_close(prior.covariances, statistics.covariances)
    streamed = DataGaussians(K, DIM, covariance="diagonal", tied=False)
    streamed.solve_(statistics, lam)
    assert torch.equal(streamed.covariances, prior.covariances)


def test_data_gaussians_take_the_options_of_fits():
    z, y = latents()
    prior = DataGaussians(K, DIM, "isotropic", tied=True)
    prior.fit_(z, y, shrinkage=0.5)
    reference = fit_fixed_point(z, y, 0.0, covariance="isotropic", tied=True, shrinkage=0.5)
    torch.testing.assert_close(prior.covariances, reference.gaussians.covariances)


def test_the_fit_of_data_gaussians_is_checked():
    z, y = latents()
    with pytest.raises(InvalidInputError, match=r"^fit is a int; pass a fpigauss\.FixedPoint"):
        DataGaussians(K, DIM, covariance="diagonal", tied=False).fit_(z, y, fit=3)


def test_a_refit_runs_on_data_gaussians_and_refuses_what_is_trained():
    x, y = latents(dim=4)
    batches = list(zip(x.float().split(64), y.split(64), strict=True))
    fitted = ClassFlow(
        Coupling(4), DataGaussians(K, 4, covariance="diagonal", tied=False), codec=CouplingCodec
    )
    result = refit_(fitted, batches, lam=7.0)
    expected = DataGaussians(K, 4, covariance="diagonal", tied=False)
    # float32 latents, of batches and of all rows at once
    expected.fit_(fitted.encode(x.float())[0], y)
    torch.testing.assert_close(fitted.gaussians.means, expected.means, rtol=1e-5, atol=1e-5)
    assert torch.equal(result.gaussians.covariances, fitted.gaussians.covariances)
    start = LearnedMeans(K, 4).init_from_(gather_statistics(fitted, batches))
    torch.testing.assert_close(start.means.detach(), fitted.gaussians.means.float())
    for name in ("gradient", "random", "learned", "symmetric"):
        prior = PRIORS[name](dim=4)
        before = prior.means.detach().clone()
        with pytest.raises(InvalidInputError, match=type(prior).__name__):
            refit_(ClassFlow(Coupling(4), prior, codec=CouplingCodec), batches, lam=7.0)
        assert torch.equal(prior.means, before)


# -- Baseline 2 ----------------------------------------------------------------------------


def at(result, **options):
    """Make GradientGaussians at the Gaussians of a fit, in float64."""
    core = result.gaussians
    statistics = ClassStatistics(
        counts=torch.ones(K, dtype=torch.float64),
        means=core.means,
        covariances=core.covariances,
        classes=range(K),
    )
    prior = GradientGaussians(K, DIM, low=0.01, high=20.0, **options).double()
    return prior.init_from_(statistics)


def eq4(prior, z, y):
    """Compute L for classes of equal size."""
    return K * (-prior.log_prob(z, y).mean() + prior.penalty())


# lam* = K alpha exp(1/alpha) / 2 is 4.08 for alpha = 1 and 4.95 for alpha = 2
@pytest.mark.parametrize("alpha", [1.0, 2.0])
@pytest.mark.parametrize("pi", ["forward", "mean", 3.0])
def test_the_loss_is_the_cores_objective(pi, alpha):
    z, y = latents()
    result = fit_fixed_point(z, y, 2.0, pi=pi, alpha=alpha, tol=1e-10)
    prior = at(result, lam=2.0, pi=pi, alpha=alpha)
    torch.testing.assert_close(prior.variances, result.gaussians.covariances)
    assert eq4(prior, z, y).item() == pytest.approx(result.objective, rel=1e-10)


@pytest.mark.parametrize("pi", ["forward", "mean", 3.0])
def test_its_gradient_vanishes_at_the_fixed_point_and_nowhere_near(pi):
    z, y = latents()
    result = fit_fixed_point(z, y, 2.0, pi=pi, tol=1e-10)
    prior = at(result, lam=2.0, pi=pi)
    eq4(prior, z, y).backward()
    # a residual of 1e-10 in units of the Gaussians, times their precisions (below 10) and K
    assert prior.means.grad.abs().max() < 1e-8
    assert prior.logits.grad.abs().max() < 1e-8
    start = at(fit_fixed_point(z, y, 0.0), lam=2.0, pi=pi)
    eq4(start, z, y).backward()
    assert start.means.grad.abs().max() > 1e-2
    assert start.logits.grad.abs().max() > 1e-3


def test_an_initial_pi_is_passed_as_the_number_of_a_fit():
    z, y = latents()
    result = fit_fixed_point(z, y, 5.0, pi="initial", tol=1e-10)
    prior = at(result, lam=5.0, pi=result.pi)
    assert eq4(prior, z, y).item() == pytest.approx(result.objective, rel=1e-10)


@pytest.mark.parametrize("pi", ["forward", 3.0])
def test_the_penalty_is_differentiated_right(pi):
    prior = GradientGaussians(K, DIM, 2.0, pi=pi, seed=0).double()
    names = ["means", "logits"]
    values = [getattr(prior, name).detach().requires_grad_() for name in names]

    def penalty(*values):
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(_Penalty(prior), _prefixed(parameters), ())

    assert torch.autograd.gradcheck(penalty, values)


class _Penalty(torch.nn.Module):
    def __init__(self, prior):
        super().__init__()
        self.prior = prior

    def forward(self):
        return self.prior.penalty()


def _prefixed(parameters):
    return {f"prior.{name}": value for name, value in parameters.items()}


@pytest.mark.parametrize("policy", LEARNING_RATE_POLICIES)
def test_descent_comes_down_to_the_fixed_point(policy):
    z, y = latents()
    lam, steps = 1.0, 300
    solution = fit_fixed_point(z, y, lam, tol=1e-10)
    prior = GradientGaussians(K, DIM, lam, low=0.01, high=20.0).double().init_(z, y)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.1)
    factor = learning_rate_policy(policy, steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    losses = []
    for _ in range(steps):
        loss = eq4(prior, z, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    above = [loss - solution.objective for loss in losses]
    assert above[0] > 1e-3
    # from above: there is nothing below it, up to rounding of L itself
    assert min(above) > -1e-12 * abs(solution.objective)
    assert above[-1] < 1e-3 * above[0]


def test_variances_stay_within_their_bounds():
    z, y = latents()
    prior = GradientGaussians(K, DIM, lam=100.0, low=0.3, high=0.9, seed=0)
    optimizer = torch.optim.SGD(prior.parameters(), lr=100.0)
    for _ in range(5):
        optimizer.zero_grad()
        eq4(prior, z, y).backward()
        optimizer.step()
        # float32 rounds the bounds themselves
        assert prior.variances.min() >= 0.3 - 1e-7
        assert prior.variances.max() <= 0.9 + 1e-7
        assert prior.log_prob(z, y).isfinite().all()


def test_a_start_from_latents_takes_means_and_variances_within_the_bounds():
    z, y = latents()
    statistics = ClassStatistics.from_samples(z, y)
    wide = GradientGaussians(K, DIM, 1.0, low=0.01, high=20.0).init_(z.float(), y)
    # float32 latents and parameters
    torch.testing.assert_close(wide.means, statistics.means.float())
    torch.testing.assert_close(wide.variances, statistics.covariances.float())
    narrow = GradientGaussians(K, DIM, 1.0, low=0.5, high=0.6).init_(z, y)
    expected = statistics.covariances.clamp(0.5 + 1e-4, 0.6 - 1e-4)
    torch.testing.assert_close(narrow.variances, expected.float())
    narrow.log_prob(z, y).mean().backward()
    assert narrow.logits.grad.abs().min() > 0.0


def test_dense_and_numpy_statistics_start_it_too():
    z, y = latents()
    reference = GradientGaussians(K, DIM, 1.0).init_(z, y)
    dense = ClassStatistics.from_samples(z.numpy(), y.numpy(), covariance="dense")
    other = GradientGaussians(K, DIM, 1.0).init_from_(dense)
    torch.testing.assert_close(other.state_dict()["logits"], reference.state_dict()["logits"])


def test_lam_can_be_scheduled():
    prior = GradientGaussians(K, DIM, lam=1.0, seed=0)
    once = prior.penalty().item()
    prior.lam = 3.0
    assert prior.penalty().item() == pytest.approx(3.0 * once, rel=1e-6)
    prior.lam = 0.0
    assert prior.penalty().item() == 0.0


def test_autocast_leaves_the_penalty_as_it_is():
    prior = GradientGaussians(K, 64, lam=1.0, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = prior.penalty()
    assert torch.equal(inside, prior.penalty())


def test_coincident_classes_are_named():
    prior = GradientGaussians(K, DIM, lam=1.0, seed=0)
    with torch.no_grad():
        prior.means[2] = prior.means[1]
    with pytest.raises(InvalidInputError, match=r"classes 1 and 2 .*init_"):
        prior.penalty()
    prior.pi = 2.0  # a bounded potential, which is at its maximum there
    assert prior.penalty().isfinite()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"n_classes": 1}, "n_classes is 1"),
        ({"lam": -1.0}, "lam is -1"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"pi": "initial"}, "pi is 'initial'.*FixedPointResult"),
        ({"pi": torch.mean}, "pi is <built-in.*FixedPointResult"),
        ({"pi": "backward"}, "pi is 'backward'"),
        ({"pi": -2.0}, "pi is -2"),
        ({"low": 0.0}, "low is 0"),
        ({"low": 2.0}, r"low is 2 and high 1\.25"),
        ({"scale": -1.0}, "scale is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_arguments_of_gradient_gaussians(arguments, match):
    given = {"n_classes": K, "dim": DIM, "lam": 1.0} | arguments
    with pytest.raises(InvalidInputError, match=match):
        GradientGaussians(**given)


# -- learning rates ------------------------------------------------------------------------


@pytest.mark.parametrize("policy", LEARNING_RATE_POLICIES)
def test_rates_fall_from_one_to_zero_and_stay_there(policy):
    factor = learning_rate_policy(policy, 40)
    factors = [factor(step) for step in range(60)]
    assert factors[0] == 1.0
    assert all(a > b for a, b in itertools.pairwise(factors[:41]))
    assert factors[40:] == [0.0] * 20


def test_the_halves_are_where_the_table_says():
    steps = 10_000
    halves = {
        "sublinear_v2": 0.06,
        "sublinear_v1": 0.25,
        "linear": 0.50,
        "superlinear_v1": 0.71,
        "superlinear_v2": 0.84,
    }
    assert set(halves) == set(LEARNING_RATE_POLICIES)
    for name, part in halves.items():
        factor = learning_rate_policy(name, steps)
        half = next(step for step in range(steps) if factor(step) <= 0.5)
        assert half / steps == pytest.approx(part, abs=0.005)  # the table's rounding


def test_arguments_of_policies():
    with pytest.raises(InvalidInputError, match=r"name is 'cosine'.*superlinear_v1"):
        learning_rate_policy("cosine", 10)
    with pytest.raises(InvalidInputError, match="total_steps is 0"):
        learning_rate_policy("linear", 0)
    with pytest.raises(InvalidInputError, match="step is -1"):
        learning_rate_policy("linear", 10)(-1)


# -- starting from latents -----------------------------------------------------------------


@trained
def test_init_takes_class_means_of_labeled_rows(make):
    z, y = latents()
    prior = make()
    assert prior.init_(z, y) is prior
    torch.testing.assert_close(prior.means.double(), ClassStatistics.from_samples(z, y).means)
    more = torch.cat([z, 100.0 + z]), torch.cat([y, torch.full_like(y, -1)])
    torch.testing.assert_close(make().init_(*more).means, prior.means)


@trained
def test_a_start_that_cannot_be_used_changes_nothing(make):
    z, y = latents()
    prior = make()
    before = copy.deepcopy(prior.state_dict())
    with pytest.raises(InvalidInputError, match=r"z has shape \(300, 3\)"):
        prior.init_(torch.zeros(300, 3), y)
    with pytest.raises(InvalidInputError, match="class 2"):
        prior.init_(z, y.clamp_max(1))
    with pytest.raises(InvalidInputError, match=r"(labels|y) is 3 in row 0"):
        prior.init_(z, y + 3)
    with pytest.raises(InvalidInputError, match=r"z .*row 7"):
        prior.init_(torch.where(torch.arange(300)[:, None] == 7, torch.nan, z), y)
    with pytest.raises(InvalidInputError, match="statistics have 2 classes"):
        prior.init_from_(ClassStatistics.from_samples(z, y.clamp_max(1)))
    with pytest.raises(InvalidInputError, match="statistics is a Tensor"):
        prior.init_from_(z)
    for name, value in prior.state_dict().items():
        assert torch.equal(value, before[name]) if "extra" not in name else True


# -- FlowGMM, ULCGM, IB-INN ----------------------------------------------------------------


@pytest.mark.parametrize("make", [RandomMeans, LearnedMeans])
def test_means_are_drawn_at_the_scale(make):
    means = make(50, 400, scale=3.0, seed=0).means.detach()
    # 20,000 draws: a standard deviation is known to 1 / sqrt(2 n)
    assert means.std().item() == pytest.approx(3.0, rel=5.0 / math.sqrt(2 * means.numel()))
    assert means.mean().abs().item() < 5.0 * 3.0 / math.sqrt(means.numel())
    with pytest.raises(InvalidInputError, match="scale is inf"):
        make(50, 400, scale=math.inf)


def test_learned_means_settle_at_their_classes():
    z, y = latents()
    prior = LearnedMeans(K, DIM, seed=0).double()
    for _ in range(60):
        prior.zero_grad()
        (-K * prior.log_prob(z, y).mean()).backward()
        with torch.no_grad():
            prior.means -= 0.5 * prior.means.grad  # halves the error: the Hessian is I
    expected = ClassStatistics.from_samples(z, y).means
    torch.testing.assert_close(prior.means.detach(), expected)


def bottleneck_model():
    return ClassFlow(Coupling(4), LearnedMeans(K, 4, seed=0), codec=CouplingCodec).double()


def bottleneck_samples():
    x, y = latents(60, dim=4)
    return x, y


def test_the_bottleneck_at_beta_one_is_the_conditional_likelihood():
    model, (x, y) = bottleneck_model(), bottleneck_samples()
    # -log p(x) - log p(y|x) = -log p(x|y) - log p(y)
    loss = information_bottleneck_loss(model, x, y, 1.0)
    torch.testing.assert_close(loss, model(x, y) + math.log(K))


def test_the_bottleneck_weighs_the_posterior_by_beta():
    model, (x, y) = bottleneck_model(), bottleneck_samples()
    torch.testing.assert_close(information_bottleneck_loss(model, x, y, 0.0), model(x))
    own = model.predict_proba(x).gather(1, y[:, None])[:, 0]
    loss = information_bottleneck_loss(model, x, y, 4.0)
    torch.testing.assert_close(loss, model(x) - 4.0 * own.log())
    some = torch.where(torch.arange(60) < 30, y, -1)
    partly = information_bottleneck_loss(model, x, some, 4.0)
    torch.testing.assert_close(partly[:30], loss[:30])
    torch.testing.assert_close(partly[30:], model(x)[30:])


def test_the_bottleneck_parts_classes_that_the_likelihood_leaves_close():
    def separation(beta):
        z, y = latents()
        same = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
        prior = LearnedMeans(K, DIM).double().init_(z, y)
        model = ClassFlow(None, prior, codec=same)
        optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            information_bottleneck_loss(model, z, y, beta).mean().backward()
            optimizer.step()
        accuracy = (prior.predict(z) == y).double().mean()
        entropy = -prior.predict_proba(z).gather(1, y[:, None]).log().mean()
        return accuracy.item(), entropy.item()

    (few, uncertain), (many, certain) = separation(1.0), separation(20.0)
    assert many >= few
    assert certain < uncertain


def test_arguments_of_the_bottleneck():
    model, (x, y) = bottleneck_model(), bottleneck_samples()
    with pytest.raises(InvalidInputError, match="beta is -1"):
        information_bottleneck_loss(model, x, y, -1.0)
    with pytest.raises(InvalidInputError, match=r"(labels|y) is 3 in row 0"):
        information_bottleneck_loss(model, x, y + 3, 1.0)


# -- KLJ -----------------------------------------------------------------------------------


def test_the_symmetrized_penalty_is_that_of_the_divergences():
    prior = SymmetricKLMeans(5, 4, lam=2.5, seed=0).double()
    divergences = pairwise_kld(prior.class_gaussians())
    both_ways = torch.triu(divergences + divergences.T)
    expected = -2.5 / (5 * 4) * both_ways.sum() / 5
    torch.testing.assert_close(prior.penalty(), expected)
    means = prior.means.detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda means: torch.func.functional_call(_Penalty(prior), _prefixed({"means": means}), ()),
        [means],
    )


def test_symmetrized_means_rest_where_the_docstring_says():
    z, y = latents()
    lam = 0.6  # below (K - 1) / 2 = 1
    prior = SymmetricKLMeans(K, DIM, lam).double().init_(z, y)
    with torch.no_grad():
        center = prior.means.mean(0)
        prior.means.copy_(center + (prior.means - center) / (1.0 - 2.0 * lam / (K - 1)))
    eq4(prior, z, y).backward()
    # rounding of a sum of 300 terms of order one
    assert prior.means.grad.abs().max() < 1e-12


@pytest.mark.parametrize(("lam", "bounded"), [(0.9, True), (1.1, False)])
def test_symmetrized_means_run_away_past_their_bound(lam, bounded):
    z, y = latents()
    prior = SymmetricKLMeans(K, DIM, lam).double().init_(z, y)
    near = eq4(prior, z, y).item()
    with torch.no_grad():
        prior.means += 1e4 * (prior.means - prior.means.mean(0))
    assert (eq4(prior, z, y).item() > near) == bounded


def test_arguments_of_the_symmetrized_penalty():
    with pytest.raises(InvalidInputError, match="n_classes is 1"):
        SymmetricKLMeans(1, DIM, 1.0)
    with pytest.raises(InvalidInputError, match="lam is -1"):
        SymmetricKLMeans(K, DIM, -1.0)


@pytest.mark.parametrize("make", [PRIORS[name] for name in ("data", "random", "learned")])
def test_the_others_have_no_penalty(make):
    assert make().penalty().item() == 0.0


class Older(RandomMeans):
    """Overrides methods as they were before they had ``priors`` and ``memory_limit``."""

    def log_prob(self, z, labels=None):
        return super().log_prob(z, labels)

    def predict(self, z):
        return super().predict(z)

    def predict_proba(self, z, temperature=1.0):
        return super().predict_proba(z, temperature)

    def sample(self, labels, temperature=1.0, seed=None):
        return super().sample(labels, temperature, seed)


def test_methods_of_a_prior_need_not_take_options_that_are_not_given():
    same = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
    x, y = latents()
    x = x.float()
    older, newer = (
        ClassFlow(None, kind(K, DIM, seed=0), codec=same) for kind in (Older, RandomMeans)
    )
    for call in (
        lambda model: model(x, y),
        lambda model: model.log_prob(x),
        lambda model: model.bits_per_dim(x, y),
        lambda model: model.predict(x),
        lambda model: model.predict_proba(x, 2.0),
        lambda model: model.sample(y, seed=0),
    ):
        assert torch.equal(call(older), call(newer))
    for options in ({"priors": [0.2, 0.3, 0.5]}, {"memory_limit": 2**20}, {"memory_limit": None}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            older.predict(x, **options)


def test_methods_of_a_flow_need_not_take_options_that_are_not_given():
    class OlderFlow(ClassFlow):
        def log_prob(self, x, y=None):
            return super().log_prob(x, y)

        def forward(self, x, y=None):
            return super().forward(x, y)

    same = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
    model = OlderFlow(None, RandomMeans(K, DIM, seed=0), codec=same)
    x, y = latents()
    assert model.bits_per_dim(x.float(), y).isfinite().all()
