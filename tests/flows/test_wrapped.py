"""Flows, priors and models under torch.compile, DistributedDataParallel and AveragedModel."""

import flow_builders
import pytest
import torch
from coupling import Coupling, CouplingCodec, coupling_model
from torch.optim.swa_utils import AveragedModel

from fpigauss import InvalidInputError
from fpigauss_torch import (
    ClassFlow,
    LatentAugmentation,
    LatentGaussians,
    PrincipalAxes,
    add_class,
    as_base,
    class_preservation,
    codec_for,
    gather_statistics,
    mix_within_class,
    refit_,
    rejection_score,
    typicality_score,
)
from fpigauss_torch.priors import information_bottleneck_loss

N_CLASSES, DIM = 3, 4


def compiled(module):
    return torch.compile(module, backend="eager")


def batch(n=30):
    y = torch.arange(n) % N_CLASSES
    x = torch.randn(n, DIM, generator=torch.Generator().manual_seed(0)) + 2.0 * y[:, None]
    return x, y


@pytest.mark.parametrize("name", ["normflows", "nflows", "zuko-maf", "freia"])
def test_the_codec_of_a_compiled_flow_is_that_of_the_flow(name):
    flow = flow_builders.VECTOR_FLOWS[name](DIM)
    x, _ = batch()
    model = ClassFlow(
        compiled(flow), LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
    )
    expected = ClassFlow(flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False))
    assert type(model.codec) is type(expected.codec)
    torch.testing.assert_close(model(x), expected(x))
    assert list(model.state_dict()) == list(expected.state_dict())


def test_compiled_codecs_and_flows_of_ones_own():
    flow, (x, _) = Coupling(DIM), batch()
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
    expected = ClassFlow(flow, gaussians, codec=CouplingCodec)(x)
    for given, codec in [
        (compiled(flow), CouplingCodec),
        (flow, compiled(CouplingCodec(flow))),
        (compiled(flow), (flow, flow.inverse)),
    ]:
        torch.testing.assert_close(ClassFlow(given, gaussians, codec=codec)(x), expected)


def test_a_wrapper_that_would_lose_its_purpose_is_refused():
    flow = flow_builders.VECTOR_FLOWS["zuko-maf"](DIM)
    with pytest.raises(InvalidInputError, match=r"flow is a AveragedModel; .*flow\.module"):
        codec_for(AveragedModel(flow))


def test_compiled_priors():
    model, (x, y) = coupling_model(N_CLASSES, DIM), batch()
    refit_(model, [(x, y)], 1.0)
    gaussians, statistics = model.gaussians, gather_statistics(model, [(x, y)])
    z = model.encode(x)[0].detach()
    wrapped = compiled(gaussians)
    assert ClassFlow(model.flow, wrapped, codec=model.codec).gaussians is gaussians
    assert as_base(wrapped, "torch").gaussians is gaussians
    assert torch.equal(PrincipalAxes.of(wrapped, 2).axes, PrincipalAxes.of(gaussians, 2).axes)
    moved = mix_within_class(z, y, wrapped, seed=0)
    assert torch.equal(moved, mix_within_class(z, y, gaussians, seed=0))
    assert add_class(wrapped, statistics, z[y == 0] + 9.0, 1.0).gaussians.n_classes == 4


USES = {
    "rejection": lambda model, x, y: rejection_score(model, x),
    "typicality": lambda model, x, y: typicality_score(model, x),
    "augmentation": lambda model, x, y: LatentAugmentation(model, seed=0)(x, y)[0],
    "preservation": lambda model, x, y: class_preservation(model, x, x + 1.0, y),
    "statistics": lambda model, x, y: gather_statistics(model, [(x, y)]).means,
    "refit": lambda model, x, y: refit_(model, [(x, y)], 1.0).gaussians.means,
}


@pytest.mark.parametrize("wrap", [compiled, AveragedModel], ids=["compile", "average"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_models_are_recognized_under_what_wraps_them(use, wrap):
    model, (x, y) = coupling_model(N_CLASSES, DIM), batch()
    refit_(model, [(x, y)], 1.0)
    found, expected = use(wrap(model), x, y), use(model, x, y)
    torch.testing.assert_close(found, expected)


def test_losses_and_calls_of_compiled_models():
    model, (x, y) = coupling_model(N_CLASSES, DIM), batch()
    refit_(model, [(x, y)], 1.0)
    wrapped = compiled(model)
    torch.testing.assert_close(wrapped(x, y), model(x, y))
    assert torch.equal(wrapped.predict(x), model.predict(x))
    found = information_bottleneck_loss(wrapped, x, y, 2.0)
    torch.testing.assert_close(found, information_bottleneck_loss(model, x, y, 2.0))


def test_what_is_no_class_flow_is_refused():
    for use in USES.values():
        with pytest.raises(
            InvalidInputError, match="model is, or wraps, a Linear; pass a ClassFlow"
        ):
            use(compiled(torch.nn.Linear(DIM, DIM)), *batch())
