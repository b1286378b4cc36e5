"""Codecs over real flows of every library: directions, log-determinants, densities, training."""

import math

import pytest
import torch
from flow_builders import (
    MULTISCALE_FLOWS,
    VECTOR_FLOWS,
    normflows_class_cond,
    normflows_multiscale,
    normflows_realnvp,
    torch_flow,
)
from torch import nn

from fpigauss_torch import ClassFlow, LatentGaussians, codec_for

N_CLASSES, DIM, IMAGE = 3, 4, (1, 4, 4)

FLOWS = [
    *(pytest.param(build, (DIM,), id=name) for name, build in VECTOR_FLOWS.items()),
    *(pytest.param(build, IMAGE, id=f"{n}-multiscale") for n, build in MULTISCALE_FLOWS.items()),
]
each_flow = pytest.mark.parametrize(("build", "shape"), FLOWS)


def flow_of(build, shape):
    return build(shape if len(shape) > 1 else shape[0])


def samples(n, shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator, dtype=dtype)


def model_of(build, shape):
    return ClassFlow(
        flow_of(build, shape),
        LatentGaussians(N_CLASSES, math.prod(shape), covariance="diagonal", tied=False),
    )


def log_prob_of_library(flow, x, y=None):
    """Compute log p(x) by the library itself, over its own base."""
    kind = type(flow).__module__.partition(".")[0]
    if kind == "FrEIA":  # has no base
        latents, logdet = flow(x)
        latents = [latents] if isinstance(latents, torch.Tensor) else latents
        normal = torch.distributions.Normal(0.0, 1.0)
        return sum(normal.log_prob(z).flatten(1).sum(1) for z in latents) + logdet
    if kind == "zuko":
        return flow().log_prob(x)
    if type(flow).__name__ in ("MultiscaleFlow", "ClassCondFlow"):
        return flow.log_prob(x, y)
    return flow.log_prob(x)


@each_flow
def test_round_trip(build, shape):
    codec = codec_for(flow_of(build, shape))
    x = samples(6, shape)
    z, logdet = codec.encode(x)
    assert z.shape == (6, math.prod(shape))
    assert logdet.shape == (6,) and logdet.dtype == z.dtype == torch.float32
    assert not torch.allclose(z, x.flatten(1), atol=0.1), "the identity would prove nothing"
    # a few layers, each with a condition below 10, times float32's eps of 1.2e-7
    torch.testing.assert_close(codec.decode(z), x, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(codec.encode(codec.decode(z))[0], z, rtol=1e-4, atol=1e-5)


@each_flow
def test_log_determinant_is_that_of_the_jacobian(build, shape):
    codec = codec_for(flow_of(build, shape)).double()
    x = samples(3, shape, torch.float64)
    z, logdet = codec.encode(x)
    # float64 to its own precision: normflows' own method would sum in float32
    assert logdet.dtype == torch.float64
    for row, actual in zip(x, logdet, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: codec.encode(v[None])[0][0], row)
        expected = torch.linalg.slogdet(jacobian.reshape(z.shape[1], -1)).logabsdet
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@each_flow
def test_density_is_that_of_the_library(build, shape):
    model = model_of(build, shape)
    x = samples(8, shape)
    ours = model.log_prob(x, torch.arange(8) % N_CLASSES)  # N(0, I) for every class
    torch.testing.assert_close(ours, log_prob_of_library(model.flow, x), rtol=1e-4, atol=1e-5)


def test_class_conditional_density_is_that_of_normflows():
    flow = normflows_class_cond(DIM, N_CLASSES)
    with torch.no_grad():
        flow.q0.loc.copy_(samples(DIM, (N_CLASSES,)))
        flow.q0.log_scale.copy_(0.3 * samples(DIM, (N_CLASSES,), seed=1))
    model = ClassFlow(flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False))
    assign(model.gaussians, flow.q0.loc.T, flow.q0.log_scale.T)
    x, y = samples(8, (DIM,)), torch.arange(8) % N_CLASSES
    theirs = log_prob_of_library(flow, x, y)
    torch.testing.assert_close(model.log_prob(x, y), theirs, rtol=1e-4, atol=1e-5)


def test_class_conditional_multiscale_density_is_that_of_normflows():
    flow = normflows_multiscale(IMAGE, N_CLASSES)
    for seed, base in enumerate(flow.q0):
        with torch.no_grad():
            base.loc.copy_(samples(base.loc.shape[0], base.loc.shape[1:], seed=seed))
            base.log_scale.copy_(0.3 * samples(*spread(base.log_scale), seed=seed + 9))
    x, y = samples(8, IMAGE), torch.arange(8) % N_CLASSES
    log_prob_of_library(flow, x, y)  # its ActNorm layers start from their first batch
    model = ClassFlow(
        flow, LatentGaussians(N_CLASSES, math.prod(IMAGE), covariance="diagonal", tied=False)
    )
    # each base has its own means, so that only levels in the right order agree: deepest first
    means = torch.cat([base.loc.flatten(0, -2) for base in flow.q0]).T
    log_scales = torch.cat([base.log_scale.flatten(0, -2) for base in flow.q0]).T
    assign(model.gaussians, means, log_scales)
    theirs = log_prob_of_library(flow, x, y)
    torch.testing.assert_close(model.log_prob(x, y), theirs, rtol=1e-4, atol=1e-4)
    assert model.codec.shapes == [tuple(base.loc.shape[:-1]) for base in flow.q0]


def spread(parameter):
    return parameter.shape[0], parameter.shape[1:]


def assign(gaussians, means, log_scales):
    core = gaussians.class_gaussians()
    covariances = (2.0 * log_scales.detach()).exp().double()
    gaussians.assign_(type(core)(means.detach().double(), covariances, covariance="diagonal"))


TRAINED = [p for p in FLOWS if p.id not in ("normflows-conditional", "nflows-maf", "zuko-realnvp")]


@pytest.mark.parametrize(("build", "shape"), TRAINED)
def test_training_and_refits_lower_the_loss(build, shape):
    model = model_of(build, shape)
    y = torch.arange(60) % N_CLASSES
    x = 0.5 * samples(60, shape) + y.reshape(-1, *[1] * len(shape))
    with torch.no_grad():
        before = model(x, y).mean()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(50):
        optimizer.zero_grad()
        model(x, y).mean().backward()
        optimizer.step()
        if step in (5, 25):
            with torch.no_grad():
                z, _ = model.encode(x)
            model.gaussians.fit_(z, y, lam=0.5)
    with torch.no_grad():
        after = model(x, y).mean()
    # nats per sample: chance alone changes it by less, since the batch is the same
    assert after < before - 1.0


@each_flow
def test_only_what_is_trained_is_registered(build, shape):
    model = model_of(build, shape)
    x = samples(6, shape)
    model(x, torch.arange(6) % N_CLASSES).mean().backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    # DDP waits for a gradient of every parameter
    assert trained == {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained and all(name.startswith("codec.") for name in trained)


def zuko_with_trained_base():
    import zuko

    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(DIM), torch.ones(DIM)
    )
    return zuko.lazy.Flow(VECTOR_FLOWS["zuko-maf"](DIM).transform, base)


def nflows_with_trained_base():
    from nflows.distributions.normal import DiagonalNormal
    from nflows.flows import Flow

    return Flow(VECTOR_FLOWS["nflows"](DIM)._transform, DiagonalNormal([DIM]))


def normflows_with_trained_base():
    import normflows as nf

    flow = normflows_realnvp(DIM)
    flow.q0 = nf.distributions.DiagGaussian(DIM)
    return flow


def torch_with_trained_base():
    from torch.distributions import Normal, TransformedDistribution

    base = Normal(nn.Parameter(torch.zeros(DIM)), 1.0)
    return TransformedDistribution(base, torch_flow(DIM).transforms)


@pytest.mark.parametrize(
    "build",
    [
        zuko_with_trained_base,
        nflows_with_trained_base,
        normflows_with_trained_base,
        torch_with_trained_base,
        lambda: normflows_class_cond(DIM, N_CLASSES),
        lambda: normflows_multiscale(IMAGE, N_CLASSES),
    ],
    ids=["zuko", "nflows", "normflows", "torch", "normflows-class", "normflows-multiscale"],
)
def test_a_base_with_parameters_is_left_out(build):
    flow = build()
    shape = IMAGE if type(flow).__name__ == "MultiscaleFlow" else (DIM,)
    model = ClassFlow(
        flow, LatentGaussians(N_CLASSES, math.prod(shape), covariance="diagonal", tied=False)
    )
    model(samples(6, shape), torch.arange(6) % N_CLASSES).mean().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_learned_scales_of_torch_transforms_are_trained():
    flow = torch_flow(DIM)
    affine = flow.transforms[-1]
    registered = {id(p) for p in codec_for(flow).parameters()}
    assert {id(affine.loc), id(affine.scale)} <= registered
