"""Surprises of the flow libraries, and what a codec refuses."""

import pytest
import torch
from flow_builders import (
    TorchCoupling,
    freia_graph,
    freia_inn,
    freia_multiscale,
    nflows_coupling,
    nflows_maf,
    nflows_multiscale,
    normflows_conditional,
    normflows_multiscale,
    normflows_realnvp,
    pyro_flow,
    torch_flow,
    zuko_maf,
    zuko_nsf,
    zuko_realnvp,
)
from torch import nn
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    Independent,
    Normal,
    ReshapeTransform,
    SoftmaxTransform,
    TransformedDistribution,
)

from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentGaussians, codec_for

N_CLASSES, DIM = 3, 4


def samples(n=8, *shape, seed=0):
    return torch.randn(n, *(shape or (DIM,)), generator=torch.Generator().manual_seed(seed))


def over(*transforms, dim=DIM):
    return TransformedDistribution(Normal(torch.zeros(dim), torch.ones(dim)), list(transforms))


# -- pyro and torch: what transforms remember, and what an event is ----------------------------


def test_pyro_gives_new_latents_after_a_step():
    flow = pyro_flow(DIM)
    model = ClassFlow(flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False))
    x = samples()
    before = model.encode(x)[0].detach()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    after = model.encode(x)[0].detach()  # encodes the very same tensor
    assert not torch.allclose(before, after, atol=1e-2)
    torch.testing.assert_close(after, codec_for(flow).encode(x.clone())[0].detach())


def test_pyro_has_gradients_after_a_pass_without():
    model = ClassFlow(
        pyro_flow(DIM), LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
    )
    x = samples()
    with torch.no_grad():
        model(x)
    model(x).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    z, logdet = model.encode(x)  # and a second time, through another graph
    (z.sum() + logdet.sum()).backward()


def test_pyro_decodes_the_same_latents_anew_after_a_step():
    codec = codec_for(pyro_flow(DIM))
    z = codec.encode(samples())[0].detach()
    before = codec.decode(z).detach()
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.add_(0.5)
    assert not torch.allclose(before, codec.decode(z).detach(), atol=1e-2)


@pytest.mark.parametrize(
    ("transforms", "shape"),
    [
        ([AffineTransform(1.0, 2.0)], (DIM,)),
        ([AffineTransform(torch.ones(DIM), 2.0 * torch.ones(DIM), event_dim=1)], (DIM,)),
        ([ExpTransform(), AffineTransform(0.0, 3.0)], (DIM,)),
        ([TorchCoupling(DIM), ExpTransform()], (DIM,)),
        ([ComposeTransform([ExpTransform(), AffineTransform(1.0, 2.0)])], (DIM,)),
        ([AffineTransform(torch.ones(DIM), 2.0), ReshapeTransform((DIM,), (2, 2))], (2, 2)),
        ([ExpTransform().inv.inv, AffineTransform(torch.ones(2), 2.0)], (2, 2)),
    ],
    ids=["scalar", "vector", "elementwise", "coupled", "composed", "reshaped", "image"],
)
def test_elementwise_transforms_count_every_dimension(transforms, shape):
    base_shape = (DIM,) if any(isinstance(t, ReshapeTransform) for t in transforms) else shape
    base = Independent(Normal(torch.zeros(base_shape), torch.ones(base_shape)), len(base_shape))
    flow = TransformedDistribution(base, transforms)
    x = flow.sample((6,))
    model = ClassFlow(flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False))
    assert x.shape == (6, *shape)
    torch.testing.assert_close(model.log_prob(x), flow.log_prob(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.decode(model.encode(x)[0]), x, rtol=1e-4, atol=1e-5)


def test_a_batch_of_scalars_in_torch_is_a_vector_here():
    flow = over(AffineTransform(1.0, 2.0))  # event_shape (): log_prob (N, DIM)
    x = samples()
    expected = flow.log_prob(x).sum(1)
    for distribution in (flow, Independent(flow, 1)):
        model = ClassFlow(
            distribution, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
        )
        torch.testing.assert_close(model.log_prob(x), expected)


def test_pyro_batch_norm_is_repeated_over_rows():
    from pyro.distributions import TransformedDistribution as PyroDistribution
    from pyro.distributions.transforms import batchnorm

    base = Normal(torch.zeros(DIM), torch.ones(DIM)).expand((DIM,))
    flow = PyroDistribution(Independent(base, 1), [batchnorm(DIM)])
    codec = codec_for(flow)
    codec.encode(samples(20))
    for mode in (True, False):
        codec.train(mode)
        x = samples(DIM)  # as many rows as columns: a (D,) of a transform must not pass for (N,)
        flow_log_prob = flow.log_prob(x)
        z, logdet = codec.encode(x)
        normal = Normal(0.0, 1.0).log_prob(z).sum(1)
        torch.testing.assert_close(normal + logdet, flow_log_prob, rtol=1e-4, atol=1e-5)


# -- FrEIA: what a log-determinant may be ------------------------------------------------------


def test_freia_log_determinants_that_are_numbers():
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import HaarDownsampling, PermuteRandom

    permutation = SequenceINN(DIM)
    permutation.append(PermuteRandom)
    haar = SequenceINN(1, 4, 4)
    haar.append(HaarDownsampling, rebalance=2.0)
    for network, x in ((permutation, samples()), (haar, samples(8, 1, 4, 4))):
        _, number = network(x)
        assert not isinstance(number, torch.Tensor)
        for dtype in (torch.float32, torch.float64):
            z, logdet = codec_for(network).to(dtype).encode(x.to(dtype))
            assert logdet.shape == (8,) and logdet.dtype == z.dtype == dtype
            torch.testing.assert_close(logdet, torch.full((8,), float(number), dtype=dtype))


def test_freia_modules_without_a_network_around_them():
    from FrEIA.modules import ActNorm, AllInOneBlock

    block = AllInOneBlock([(DIM,)], subnet_constructor=lambda n, m: nn.Linear(n, m))
    for module in (block, ActNorm([(DIM,)])):
        codec, x = codec_for(module), samples()
        z, logdet = codec.encode(x)
        torch.testing.assert_close(logdet, module((x,))[1].expand(8))
        torch.testing.assert_close(codec.decode(z), x, rtol=1e-4, atol=1e-5)


# -- multi-scale latents -----------------------------------------------------------------------


def test_order_of_multiscale_latents():
    x = samples(5, 1, 4, 4)
    normflows = normflows_multiscale((1, 4, 4))
    codec = codec_for(normflows)
    z, _ = codec.encode(x)
    levels, _ = normflows.inverse_and_log_det(x)  # a list, deepest first
    assert codec.shapes == [(8, 1, 1), (2, 2, 2)]
    torch.testing.assert_close(z, torch.cat([level.flatten(1) for level in levels], 1))

    nflows = nflows_multiscale((1, 4, 4))
    z, _ = codec_for(nflows).encode(x)  # one vector, shallow first
    first, _ = nflows._transform._transforms[0](x)
    torch.testing.assert_close(z[:, :8], first.chunk(2, 1)[0].flatten(1))

    freia = freia_multiscale((1, 4, 4))
    codec = codec_for(freia)
    z, _ = codec.encode(x)
    outputs, _ = freia(x)  # a tuple, in the order of the output nodes
    assert codec.shapes == [(2, 2, 2), (8, 1, 1)]
    torch.testing.assert_close(z, torch.cat([output.flatten(1) for output in outputs], 1))


def test_a_transform_of_the_input_is_part_of_the_flow():
    import normflows as nf

    flow = normflows_multiscale((1, 4, 4))
    flow.transform = nf.transforms.Logit(alpha=0.05)
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    flow.log_prob(x, None)  # its ActNorm layers start from their first batch
    model = ClassFlow(flow, LatentGaussians(N_CLASSES, 16, covariance="diagonal", tied=False))
    torch.testing.assert_close(model.log_prob(x), flow.log_prob(x, None), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.decode(model.encode(x)[0]), x, rtol=1e-4, atol=1e-5)


# -- layers that start from data, and calls that libraries refuse ------------------------------


def test_act_norm_starts_at_the_first_encode():
    x = 5.0 + 3.0 * samples(64)
    for build in (normflows_realnvp, nflows_coupling):
        model = ClassFlow(
            build(DIM, n_layers=0, act_norm=True),
            LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
        )
        z, _ = model.train().encode(x)
        torch.testing.assert_close(z.mean(0), torch.zeros(DIM), rtol=0, atol=1e-4)
        torch.testing.assert_close(z.std(0), torch.ones(DIM), rtol=0, atol=1e-4)
        # and stays as it is
        torch.testing.assert_close(model.encode(x + 1.0)[0], z + 1.0 / x.std(0))


def test_nflows_act_norm_does_not_start_in_eval_mode():
    model = ClassFlow(
        nflows_coupling(DIM, n_layers=0, act_norm=True),
        LatentGaussians(3, DIM, covariance="diagonal", tied=False),
    )
    x = 5.0 + 3.0 * samples(64)
    torch.testing.assert_close(model.eval().encode(x)[0], x)


def test_nflows_can_be_called():
    flow = nflows_coupling(DIM)
    x = samples()
    with pytest.raises(RuntimeError, match="Forward method cannot be called"):
        flow(x)
    assert ClassFlow(flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False))(
        x
    ).shape == (8,)


def test_normflows_residual_layers_sample_though_they_keep_scalars_in_float64():
    import normflows as nf

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nf.nets.LipschitzMLP([DIM, 16, DIM], lipschitz_const=0.9)
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(DIM), [nf.flows.Residual(net)])
    scalars = {p.dtype for p in flow.parameters() if p.ndim == 0}
    assert torch.float64 in scalars  # the trap: the first of the layer's parameters
    model = ClassFlow(flow, LatentGaussians(N_CLASSES, DIM)).eval()
    model.encode(samples(8, DIM))
    drawn = model.sample([0, 1, 2], seed=0)
    assert drawn.dtype == torch.float32
    # rows of Python's numbers take the dtype of the weights too
    assert model.encode(drawn.tolist())[0].dtype == torch.float32


# -- contexts ----------------------------------------------------------------------------------


def normflows_with_labels():
    import normflows as nf

    base = nf.distributions.DiagGaussian(DIM)
    return nf.NormalizingFlow(base, [nf.flows.CCAffineConst((DIM,), N_CLASSES)])


def nflows_with_embedding():
    flow = nflows_coupling(DIM)
    return type(flow)(flow._transform, flow._distribution, embedding_net=nn.Linear(2, 3))


def pyro_conditional():
    import pyro.distributions as dist
    from pyro.distributions.transforms import conditional_affine_coupling

    layer = conditional_affine_coupling(DIM, 2, hidden_dims=[8])
    base = Normal(torch.zeros(DIM), torch.ones(DIM))
    return dist.conditional.ConditionalTransformedDistribution(base, [layer])


def zuko_continuous():
    import zuko

    return zuko.flows.CNF(DIM, 2, hidden_features=(8,))


def freia_two_inputs():
    from FrEIA.modules import Concat

    return Concat([(2,), (2,)])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: normflows_conditional(DIM, 2), "conditional: 0.mprqat.autoregressive_net takes a"),
        (normflows_with_labels, "a CCAffineConst that needs y, and none is passed"),
        (lambda: nflows_coupling(DIM, context=2), "conditional: _transforms.0.transform_net takes"),
        # would run without its context, and leave a part of it untrained
        (lambda: nflows_maf(DIM, context=2), "conditional: autoregressive_net takes a context"),
        (nflows_with_embedding, "an embedding_net for its context"),
        (lambda: zuko_maf(DIM, 2), r"context of width 2 \(transform transforms.0\)"),
        (lambda: zuko_maf(1, 2), r"context of width 2 \(transform transforms.0\)"),
        (lambda: zuko_nsf(DIM, 1), "build it with context=0"),
        (lambda: zuko_realnvp(DIM, 3), "context of width 3"),
        (zuko_continuous, r"context of width 2 \(transform FFJTransform\)"),
        (lambda: freia_inn(DIM, cond=2), "flow has conditions"),
        (lambda: freia_graph(DIM, cond=2), "flow has conditions"),
        (freia_two_inputs, "flow has 2 inputs; concatenate them"),
        (pyro_conditional, "a ConditionalTransformedDistribution, which needs a context"),
    ],
)
def test_conditional_flows_are_refused(build, message):
    with pytest.raises(InvalidInputError, match=message):
        codec_for(build())


# -- what has no codec, or no inverse ----------------------------------------------------------


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (nn.Linear(2, 2), r"no codec is known for a torch.nn.modules.linear.Linear \(known: flows"),
        (None, "no codec is known for a builtins.NoneType"),
        (Independent(Normal(torch.zeros(2), 1.0), 1), "a Normal without transforms"),
        (over(SoftmaxTransform()), "a SoftmaxTransform, which is not bijective"),
    ],
    ids=["module", "none", "normal", "softmax"],
)
def test_what_is_no_flow(flow, message):
    with pytest.raises(InvalidInputError, match=message):
        ClassFlow(flow, LatentGaussians(N_CLASSES, 2, covariance="diagonal", tied=False))


def test_pyro_transforms_without_an_inverse():
    from pyro.distributions.transforms import planar

    codec = codec_for(over(planar(DIM)))
    with pytest.raises(InvalidInputError, match="a Planar whose inverse cannot be computed"):
        codec.encode(samples())
    codec = codec_for(over(planar(DIM).inv))
    z, _ = codec.encode(samples())  # densities need only one direction
    with pytest.raises(InvalidInputError, match="a Planar whose inverse cannot be computed"):
        codec.decode(z)


def test_latents_of_another_width_are_named():
    codec = codec_for(torch_flow(DIM))
    codec.encode(samples())
    with pytest.raises(InvalidInputError, match=r"z has shape \(2, 3\), \(N, 4\) is needed"):
        codec.decode(torch.zeros(2, 3))


def test_an_empty_batch_has_no_latents():
    for build in (normflows_realnvp, nflows_coupling, freia_graph, torch_flow):
        z, logdet = codec_for(build(DIM)).encode(torch.zeros(0, DIM))
        assert z.shape == (0, DIM) and logdet.shape == (0,)
