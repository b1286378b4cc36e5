"""ClassFlow: one wrapper over any flow, here over a small flow of our own."""

import copy
import math
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
from coupling import Coupling, CouplingCodec, coupling_model
from torch._dynamo.testing import CompileCounter

import fpigauss_torch
from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, FunctionCodec, LatentGaussians, register_codec
from fpigauss_torch.priors import RandomMeans

N_CLASSES, DIM = 3, 4


def batch(n=60, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % N_CLASSES
    return torch.randn(n, DIM, generator=generator, dtype=dtype) + 2.0 * y[:, None], y


@pytest.fixture
def model():
    model = coupling_model(N_CLASSES, DIM)
    x, y = batch()
    with torch.no_grad():
        model.gaussians.fit_(model.encode(x)[0], y, 1.0)
    return model


def test_densities_are_those_of_the_latents_and_the_jacobian():
    model = coupling_model(N_CLASSES, DIM, dtype=torch.float64)
    x, y = batch(12, dtype=torch.float64)
    z, _ = model.encode(x)
    model.gaussians.fit_(z, y, 1.0)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: model.encode(row[None])[0][0]))(x)
    expected = model.gaussians.log_prob(z, y) + torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(model.log_prob(x, y), expected)
    torch.testing.assert_close(model(x, y), -expected)
    torch.testing.assert_close(
        model.class_log_prob(x).gather(1, y[:, None])[:, 0], expected, rtol=1e-9, atol=1e-9
    )
    mixture = torch.logsumexp(model.class_log_prob(x), 1) - math.log(N_CLASSES)
    torch.testing.assert_close(model.log_prob(x), mixture)
    torch.testing.assert_close(model(x, torch.full_like(y, -1)), -mixture)


def test_bits_per_dim():
    double = (lambda x: (2.0 * x, x.new_full(x.shape[:1], DIM * math.log(2.0))), lambda z: z / 2.0)
    model = ClassFlow(
        None, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=double
    )
    x = torch.zeros(2, DIM)
    # log N(0) + log 2 per axis, in bits
    expected = 0.5 * math.log2(2.0 * math.pi) - 1.0
    torch.testing.assert_close(model.bits_per_dim(x), torch.full((2,), expected))
    torch.testing.assert_close(model.bits_per_dim(x, levels=256), torch.full((2,), expected + 8.0))
    for levels in (0, -1, math.nan):
        with pytest.raises(InvalidInputError, match="levels"):
            model.bits_per_dim(x, levels=levels)


def test_classifies_and_samples(model):
    x, y = batch(300)
    assert float((model.predict(x) == y).float().mean()) > 0.8
    torch.testing.assert_close(model.predict_proba(x).sum(1), torch.ones(300))
    assert torch.equal(model.predict_proba(x).argmax(1), model.predict(x))
    labels = torch.arange(300) % N_CLASSES
    drawn = model.sample(labels, seed=0)
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, model.sample(labels, seed=0))
    assert float((model.predict(drawn) == labels).float().mean()) > 0.8
    means = model.sample([0, 1, 2], temperature=0.0)
    torch.testing.assert_close(
        model.encode(means)[0].double(), model.gaussians.means, rtol=1e-4, atol=1e-4
    )
    assert model.sample(7, seed=0).shape == (7, DIM)


def test_training_lowers_the_loss_and_refits_go_on(model):
    x, y = batch(300)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    before = float(model(x, y).mean().detach())
    for step in range(50):
        optimizer.zero_grad()
        model(x, y).mean().backward()
        optimizer.step()
        if step == 25:
            model.gaussians.fit_(model.encode(x)[0], y, 1.0)
    assert float(model(x, y).mean().detach()) < before


def test_double_flows_draw_double_samples():
    model = coupling_model(N_CLASSES, DIM, dtype=torch.float64)
    x, _ = batch(6, dtype=torch.float64)
    model.encode(x)
    assert model.sample([0], seed=0).dtype == torch.float64


def test_latents_of_another_width():
    model = ClassFlow(
        Coupling(DIM),
        LatentGaussians(N_CLASSES, DIM + 1, covariance="diagonal", tied=False),
        codec=CouplingCodec,
    )
    with pytest.raises(InvalidInputError, match="make LatentGaussians with dim=4"):
        model(batch()[0])


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda x: (x, x.new_zeros(len(x), 1)), r"logdet of shape \(60, 1\)"),
        (lambda x: (x[1:], x.new_zeros(len(x) - 1)), r"z of shape \(59, 4\)"),
        (lambda x: (x, 0.0), r"encodes to \(Tensor, float\)"),
        (lambda x: x, r"encodes to \(Tensor\)"),
        (lambda x: ([x[:, :1], x[:, 1:]], x.new_zeros(len(x))), r"encodes to \(list, Tensor\)"),
        (lambda x: None, r"encodes to \(NoneType\)"),
    ],
)
def test_what_a_codec_has_to_give(encode, message):
    model = ClassFlow(
        None,
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
        codec=(encode, lambda z: z),
    )
    with pytest.raises(InvalidInputError, match=message):
        model(*batch())


def test_decoding_gives_a_tensor():
    same = (lambda x: (x, x.new_zeros(len(x))), lambda z: (z, 0.0))
    model = ClassFlow(
        None, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=same
    )
    model(*batch())
    with pytest.raises(InvalidInputError, match="decodes to a tuple"):
        model.sample([0])


@pytest.mark.filterwarnings("ignore:the Gaussians have not been fitted:RuntimeWarning")
def test_prediction_and_sampling_are_in_evaluation_mode(model):
    class Noted(torch.nn.Module):
        modes = ()

        def forward(self, x):
            self.modes = (*self.modes, self.training)
            return x, x.new_zeros(len(x))

        def decode(self, z):
            self.modes = (*self.modes, self.training)
            return z

    flow = Noted()
    model = ClassFlow(
        flow,
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
        codec=(flow, flow.decode),
    )
    x, _ = batch()
    model.predict(x), model.predict_proba(x), model.sample([0])
    assert flow.modes == (False, False, False)
    assert flow.training
    model(x)
    assert flow.modes[-1]


def test_a_state_of_other_sizes_is_refused_before_any_is_loaded(model):
    other = coupling_model(N_CLASSES + 1, DIM, seed=1)
    before = copy.deepcopy(other.codec.state_dict())
    with pytest.raises(InvalidInputError, match="the state is that of a LatentGaussians with"):
        other.load_state_dict(model.state_dict())
    for name, value in other.codec.state_dict().items():
        assert name.endswith("_extra_state") or torch.equal(value, before[name])


def test_sampling_needs_the_shapes(model):
    fresh = coupling_model(N_CLASSES, DIM)
    with pytest.raises(InvalidInputError, match="encode a batch first"):
        fresh.sample([0])
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.sample([0, 1], seed=0), model.sample([0, 1], seed=0))
    with pytest.raises(InvalidInputError, match=r"\(N, 4\) is needed"):
        fresh.decode(torch.zeros(2, DIM + 1))


def test_a_state_of_another_codec(model):
    flow = Coupling(DIM)
    other = ClassFlow(
        None,
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
        FunctionCodec(flow, flow, flow.inverse),
    )
    with pytest.raises(InvalidInputError, match="the state is that of a CouplingCodec"):
        other.load_state_dict(model.state_dict())


def test_a_pair_of_functions_is_a_codec(model):
    flow = model.flow
    twin = ClassFlow(flow, model.gaussians, codec=(flow, flow.inverse))
    x, y = batch()
    assert torch.equal(twin(x, y), model(x, y))
    assert {id(p) for p in twin.parameters()} == {id(p) for p in flow.parameters()}
    assert twin.flow is flow


def test_a_registered_codec_is_found():
    class Own(Coupling):
        pass

    with pytest.raises(InvalidInputError, match=r"no codec is known for a .*Own"):
        ClassFlow(Own(DIM), LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False))

    @register_codec
    class OwnCodec(CouplingCodec):
        flow_types = (f"{Own.__module__}.{Own.__qualname__}",)

    model = ClassFlow(Own(DIM), LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False))
    assert type(model.codec) is OwnCodec
    with pytest.raises(InvalidInputError, match="flow_types is empty"):
        register_codec(CouplingCodec)
    for names in ((Own,), "own.Own", ("Own",)):
        codec = type("OtherCodec", (CouplingCodec,), {"flow_types": names})
        with pytest.raises(InvalidInputError, match="pass a tuple of qualified names"):
            register_codec(codec)


@pytest.mark.parametrize("codec", ["normflows", (1, 2), (lambda x: x,), Coupling])
def test_what_is_no_codec(codec):
    with pytest.raises(InvalidInputError, match="codec is"):
        ClassFlow(
            Coupling(DIM),
            LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
            codec=codec,
        )


def test_latents_of_another_width_name_the_prior_that_there_is():
    model = ClassFlow(Coupling(DIM), RandomMeans(N_CLASSES, DIM + 1), codec=CouplingCodec)
    with pytest.raises(InvalidInputError, match=r"make RandomMeans with dim=4$"):
        model(batch()[0])


def test_a_class_of_priors_is_no_prior():
    message = r"^gaussians is the class LatentGaussians; .* LatentGaussians\(n_classes, dim\)$"
    with pytest.raises(InvalidInputError, match=message):
        ClassFlow(Coupling(DIM), LatentGaussians, codec=CouplingCodec)


def test_what_is_no_prior():
    with pytest.raises(InvalidInputError, match="gaussians is a Linear"):
        ClassFlow(Coupling(DIM), torch.nn.Linear(2, 2), codec=CouplingCodec)


def test_copies_are_whole(model):
    x, y = batch()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x, y), model(x, y))
        assert twin.flow is not model.flow
        assert twin.flow is twin.codec.module
        with torch.no_grad():
            next(twin.parameters()).add_(1.0)
        assert not torch.equal(twin(x, y), model(x, y))


def test_half_modules_keep_the_gaussians(model):
    x, y = batch()
    before = model.gaussians.means.clone()
    low = copy.deepcopy(model).bfloat16()
    assert torch.equal(low.gaussians.means, before)
    log_prob = low.log_prob(x.bfloat16(), y)
    assert log_prob.dtype == torch.float32
    # bfloat16 latents: eps 2^-8 of values of some tens, squared
    torch.testing.assert_close(log_prob, model.log_prob(x, y), rtol=0.1, atol=1.0)


def test_one_graph_without_a_warning_of_ours(model):
    torch._dynamo.reset()
    x, y = batch()
    counter = CompileCounter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        loss = compiled(x, y).mean()
        loss.backward()
    torch.testing.assert_close(loss, model(x, y).mean())
    model.gaussians.fit_(model.encode(x)[0], y, 0.5)
    torch.testing.assert_close(compiled(x, y), model(x, y))
    # a refit recompiles nothing, except once before torch 2.6
    assert counter.frame_count == (1 if torch.__version__ >= "2.6" else 2)
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_gradients_of_the_traced_graph_agree(model):
    torch._dynamo.reset()
    x, y = batch()
    # the tracing of the default backend, without its C++ compiler
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    gradients = [
        torch.autograd.grad(loss(x, y).mean(), list(model.parameters()))
        for loss in (compiled, model)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_bf16_autocast_of_a_step(model):
    x, y = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x, y)
    assert loss.dtype == torch.float32
    loss.mean().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())


def test_the_import_brings_no_flow_library_along():
    code = (
        "import sys, fpigauss_torch; "
        "print(sorted({'normflows', 'nflows', 'zuko', 'FrEIA', 'pyro', 'lightning', 'sklearn',"
        " 'matplotlib', 'pytorch_lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names():
    names = set(fpigauss_torch.__all__)
    assert len(fpigauss_torch.__all__) == len(names)
    assert names == {
        *("ClassDensity", "ClassFlow", "Codec", "FixedPointSchedule", "FunctionCodec"),
        *("DifferentiableFit", "fixed_point_layer", "fixed_point_layer_of"),
        "LatentAugmentation",
        *("LatentGaussians", "LatentPrior", "PrincipalAxes", "RefitRejectedError", "__version__"),
        *("RepeatedRepulsionWarning", "TarFlowCodec"),
        *("add_class", "as_base", "calibrate_temperature", "class_preservation", "codec_for"),
        *("gather_statistics", "mix_within_class", "noise_along_axes", "refit_"),
        *(
            "register_codec",
            "rejection_score",
            "rejection_threshold",
            "typicality_score",
            "without_context",
        ),
    }
    for name in names:
        assert getattr(fpigauss_torch, name).__doc__, name
