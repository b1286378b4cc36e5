"""What else each library asks of a base, and what a base refuses."""

import math
import sys

import normflows
import pyro
import pytest
import torch
import zuko
from flows.flows_with_bases import CLOSE, D, K, N, Net, Zuko, fitted
from nflows.flows import Flow as NflowsFlow
from nflows.transforms import AffineCouplingTransform
from torch import nn
from torch.distributions import AffineTransform, Distribution, Independent, TransformedDistribution

from fpigauss import InvalidInputError
from fpigauss_torch import LatentGaussians
from fpigauss_torch.bases import as_base, without_context


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


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(N, D, generator=generator), torch.arange(N) % K


# -- normflows --------------------------------------------------------------------------------


def test_normflows_forward_gives_the_density_of_its_draws(gaussians):
    base = as_base(gaussians, "normflows")
    z, log_p = base(7)
    torch.testing.assert_close(log_p, gaussians.log_prob(z))
    y = torch.tensor([0, 3, 2])
    z, log_p = base(
        num_samples=100, y=y
    )  # the labels set the number, as in the library's own bases
    torch.testing.assert_close(log_p, gaussians.log_prob(z, y))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_normflows_temperature_scales_standard_deviations(gaussians, temperature):
    values = gaussians.class_gaussians()
    wider = type(values)(values.means, temperature**2 * values.covariances, covariance="dense")
    tempered = LatentGaussians.from_class_gaussians(wider)
    base = as_base(gaussians, "normflows")
    base.temperature = temperature
    y = torch.tensor([0, 3, 2, 1])
    torch.manual_seed(2)
    z, log_p = base(y=y)
    torch.manual_seed(2)
    torch.testing.assert_close(z, tempered.sample(y))
    torch.testing.assert_close(log_p, tempered.log_prob(z, y), **CLOSE)
    y[1] = -1
    torch.testing.assert_close(base.log_prob(z, y), tempered.log_prob(z, y), **CLOSE)
    soft = torch.full((4, K), 1.0 / K)
    torch.testing.assert_close(base.log_prob(z, soft), tempered.log_prob(z, soft), **CLOSE)
    torch.testing.assert_close(base.log_prob(z), tempered.log_prob(z), **CLOSE)


def test_normflows_one_level_multiscale_sets_the_temperature(gaussians):
    base = as_base(gaussians, "normflows", shape=(2, 1, 3))
    model = normflows.MultiscaleFlow([base], [[]], [])
    y = torch.arange(K)
    cold, _ = model.sample(y=y, temperature=1e-6)
    means = gaussians.means.float().reshape(K, 2, 1, 3)
    torch.testing.assert_close(cold, means, rtol=0, atol=1e-4)
    assert base.temperature is None
    torch.testing.assert_close(
        model.log_prob(cold, y), gaussians.log_prob(means.flatten(1), y), **CLOSE
    )


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_normflows_temperature_must_be_positive(gaussians, temperature):
    base = as_base(gaussians, "normflows")
    with pytest.raises(InvalidInputError, match=r"temperature is .*pass a finite number > 0"):
        base.temperature = temperature


# -- nflows -----------------------------------------------------------------------------------


def test_nflows_shapes_of_samples(gaussians):
    base = as_base(gaussians, "nflows", shape=(2, 3))
    y = torch.tensor([1, 3, 0])
    assert base.sample(5).shape == (5, 2, 3)
    assert base.sample(5, context=y).shape == (3, 5, 2, 3)
    samples, log_prob = base.sample_and_log_prob(5, context=y)
    expected = gaussians.log_prob(samples.reshape(15, D), y.repeat_interleave(5)).reshape(3, 5)
    torch.testing.assert_close(log_prob, expected)


def test_nflows_context_as_a_column(gaussians, batch):
    z, y = batch
    base = as_base(gaussians, "nflows")
    for context in (y[:, None], y[:, None].float()):
        assert torch.equal(base.log_prob(z, context), base.log_prob(z, y))


def test_nflows_coupling_needs_the_wrapper(gaussians, batch):
    x, y = batch
    coupling = AffineCouplingTransform(torch.arange(D) % 2, Net)
    base = as_base(gaussians, "nflows")
    with pytest.raises(AssertionError, match="labels reached the transform"):
        NflowsFlow(coupling, base).log_prob(x, context=y)
    wrapped = NflowsFlow(without_context(coupling), base)
    samples, log_prob = wrapped.sample_and_log_prob(2, context=y)
    again = wrapped.log_prob(samples.reshape(-1, D), y.repeat_interleave(2))
    torch.testing.assert_close(again, log_prob.flatten(), **CLOSE)


# -- zuko -------------------------------------------------------------------------------------


def test_zuko_labels_as_one_vector_are_refused(gaussians, batch):
    x, y = batch
    flow = Zuko(gaussians).model
    for c in (y, y.float(), y[0]):
        with pytest.raises(InvalidInputError, match=r"\(N, 1\) is needed.*pass c\[:, None\]"):
            flow(c).log_prob(x)


def test_zuko_float_labels_must_be_integral(gaussians, batch):
    x, y = batch
    flow = Zuko(gaussians).model
    c = y[:, None].float()
    assert torch.equal(flow(c).log_prob(x), flow(y[:, None]).log_prob(x))
    c[3] = 0.5
    with pytest.raises(InvalidInputError, match=r"labels is 0.5 in row 3; pass integers 0..3"):
        flow(c)
    with pytest.raises(InvalidInputError, match=r"labels has shape \(24, 2\); pass one label"):
        flow(torch.zeros(N, 2))


def test_zuko_transform_needs_the_wrapper(gaussians, batch):
    x, y = batch
    plain = zuko.flows.Flow(zuko.flows.NSF(D, transforms=1).transform, as_base(gaussians, "zuko"))
    with pytest.raises(RuntimeError):
        plain(y[:, None].float()).log_prob(x)


# -- torch and pyro ---------------------------------------------------------------------------


def test_torch_scores_every_row_under_every_class(gaussians, batch):
    x, _ = batch
    base = as_base(gaussians, "torch")
    assert (base.batch_shape, base.event_shape) == ((K,), (D,))
    flow = TransformedDistribution(base, [AffineTransform(1.0, 2.0, event_dim=1)])
    expected = gaussians.class_log_prob((x - 1.0) / 2.0) - D * math.log(2.0)
    torch.testing.assert_close(flow.log_prob(x[:, None]), expected, **CLOSE)
    assert flow.sample((3,)).shape == (3, K, D)
    assert flow.expand((2, K)).log_prob(x[:, None, None]).shape == (N, 2, K)


def test_torch_unlabeled_rows_broadcast(gaussians, batch):
    z, _ = batch
    some = as_base(gaussians, "torch").condition(torch.tensor([2, -1]))
    scores = some.log_prob(z[:, None])
    torch.testing.assert_close(scores[:, 0], gaussians.class_log_prob(z)[:, 2])
    torch.testing.assert_close(scores[:, 1], gaussians.log_prob(z))
    assert some.sample((5,)).shape == (5, 2, D)


@pytest.mark.parametrize("library", ["torch", "pyro"])
def test_reinterpreted_batches_sum(gaussians, batch, library):
    z, y = batch
    one = as_base(gaussians, library).condition(y)
    torch.testing.assert_close(Independent(one, 1).log_prob(z), gaussians.log_prob(z, y).sum())


def test_event_shape_of_latents(gaussians, batch):
    z, y = batch
    flow = as_base(gaussians, "torch", shape=(2, 3)).condition(y)
    assert flow.event_shape == (2, 3)
    torch.testing.assert_close(flow.log_prob(z.reshape(N, 2, 3)), gaussians.log_prob(z, y))


def test_latents_that_do_not_fit_are_named(gaussians, batch):
    z, y = batch
    base = as_base(gaussians, "torch")
    with pytest.raises(InvalidInputError, match=r"value has shape \(24, 5\), \(..., 6\) is needed"):
        base.condition(y).log_prob(z[:, :5])
    with pytest.raises(InvalidInputError, match=r"does not broadcast with the batch shape \(4,\)"):
        base.log_prob(z)
    for library in ("normflows", "nflows"):
        with pytest.raises(
            InvalidInputError, match=r"z has shape \(24, 2, 3\), \(N, 6\) is needed"
        ):
            as_base(gaussians, library).log_prob(z.reshape(N, 2, 3))


def test_a_base_works_as_a_site_of_pyro(gaussians, batch):
    z, y = batch
    site = as_base(gaussians, "pyro").condition(y)
    trace = pyro.poutine.trace(lambda: pyro.sample("z", site.to_event(1), obs=z)).get_trace()
    torch.testing.assert_close(trace.log_prob_sum(), gaussians.log_prob(z, y).sum())


# -- bad input --------------------------------------------------------------------------------


def test_weights_must_sum_to_one(gaussians):
    for library in ("torch", "pyro"):
        with pytest.raises(InvalidInputError, match=r"labels sums to 1\.5 in row 1"):
            as_base(gaussians, library).condition(torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0.5]]))


def test_libraries_that_are_not_there(gaussians):
    with pytest.raises(InvalidInputError, match=r"FrEIA.*have no base; use ClassFlow"):
        as_base(gaussians, "FrEIA")
    with pytest.raises(InvalidInputError, match="pass one of normflows, nflows, zuko, torch, pyro"):
        as_base(gaussians, "jax")
    with pytest.raises(InvalidInputError, match="gaussians is a Linear; pass LatentGaussians"):
        as_base(nn.Linear(2, 2), "zuko")
    with pytest.raises(
        InvalidInputError, match="transform is a Linear; pass a transform of nflows"
    ):
        without_context(nn.Linear(2, 2))


def test_shape_must_agree(gaussians):
    with pytest.raises(
        InvalidInputError, match=r"shape is \(2, 2\), with 4 elements.*6 dimensions"
    ):
        as_base(gaussians, "normflows", shape=(2, 2))


@pytest.mark.parametrize(
    ("library", "package"),
    [("normflows", "normflows"), ("nflows", "nflows"), ("zuko", "zuko"), ("pyro", "pyro-ppl")],
)
def test_a_library_that_is_not_installed_names_its_package(
    gaussians, library, package, monkeypatch
):
    for name in list(sys.modules):
        if name == f"fpigauss_torch.bases._{library}" or name.partition(".")[0] == library:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"^{library} is not installed; pip install {package}$"):
        as_base(gaussians, library)
