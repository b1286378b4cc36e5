"""The flows of the paper's experiments are bijections, and know their Jacobians' determinants."""

import copy
import math
import sys
from types import SimpleNamespace

import pytest
import torch
from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentGaussians

from nfpi.flows import FLOW_NAMES, PRESETS, latent_dim, make_flow, without_log_determinants
from nfpi.flows.encoded import EncodedFlow, diffusers_vae
from nfpi.flows.layers import (
    MATRICES,
    ActNorm,
    MatrixExpConv,
    MatrixExpCoupling,
    ReleasedMatrix,
    log_rotation,
)
from nfpi.flows.matrix_exp import exp_action, n_terms, squashed, trace
from nfpi.flows.preprocessing import make_preprocessing

#: Small enough for a test; each flow exercises all of its layers.
TINY = {
    "coupling": ((1, 4, 4), {"hidden": 8, "n_couplings": 4}),
    "mef": ((1, 8, 8), {"channels": 4, "steps": 2, "blocks": (2, 1)}),
    "mef16": ((1, 16, 16), {"channels": 4, "steps": 2}),
    "mef28": ((1, 28, 28), {"channels": 4, "steps": 2}),
    "mef32": ((3, 32, 32), {"channels": 4, "steps": 2}),
    "mef64": ((3, 64, 64), {"channels": 4, "steps": 1}),
    "mef-released": (
        (1, 8, 8),
        {"channels": 4, "steps": 2, "blocks": (2, 1), "matrix": "released"},
    ),
    "tarflow": ((1, 4, 4), {"width": 8, "heads": 2}),
    "tarflow16": ((1, 8, 8), {"width": 8}),
    "glow": ((2, 8, 8), {"channels": 4, "steps": 2}),
    "residual": ((1, 8, 8), {"channels": 4, "steps": 2}),
}


# normflows' Glow still asks for a decomposition by its old name
pytestmark = pytest.mark.filterwarnings("ignore:torch.lu is deprecated:UserWarning")


@pytest.fixture(autouse=True)
def _double():
    """Set float64 and a fixed seed: what remains are rounding errors."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def images(shape, n=6):
    """Draw noise around a gradient: no two pixels have the same distribution."""
    ramp = torch.linspace(0.1, 0.6, math.prod(shape)).reshape(shape)
    return ramp + 0.3 * torch.rand(n, *shape)


def disturbed(module):
    """Move the parameters away from their start, where most layers are the identity."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 0:  # leaves out the estimator's settings of the residual flow
                fan_in = parameter[0].numel()
                parameter += 0.3 * torch.randn_like(parameter) / fan_in**0.5
    return module


def class_flow(name, trained=True):
    """Build a tiny flow under two Gaussians, its layers initialized by a batch and moved on."""
    shape, options = TINY[name]
    flow = make_flow(name.partition("-")[0], shape, **options)
    model = ClassFlow(
        flow, LatentGaussians(2, latent_dim(shape), covariance="diagonal", tied=False)
    )
    model.train()
    if name != "coupling":
        model.encode(images(shape, 16))
    if trained:
        disturbed(flow)
    return model.eval(), images(shape)


def jacobian_logdet(encode, x):
    """Compute log abs(det) of one image's Jacobian by autograd."""
    jacobian = torch.autograd.functional.jacobian(lambda one: encode(one)[0].flatten(), x)
    return torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet


# -- whole flows ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in TINY if name != "residual"])
def test_decoding_inverts_encoding(name):
    model, x = class_flow(name)
    with torch.no_grad():
        z, logdet = model.encode(x)
        back = model.decode(z)
    assert z.shape == (len(x), latent_dim(x.shape[1:]))
    assert logdet.shape == (len(x),)
    # at most 24 layers that each magnify an error by no more than 1e3 in all: far above 1e-16
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["coupling", "mef", "mef-released", "tarflow", "glow"])
@pytest.mark.parametrize("preprocessing", ["scale", "logit"])
def test_log_determinant_is_that_of_the_jacobian(name, preprocessing):
    shape, options = TINY[name]
    flow = make_flow(name.partition("-")[0], shape, preprocessing=preprocessing, **options)
    model = ClassFlow(
        flow, LatentGaussians(2, latent_dim(shape), covariance="diagonal", tied=False)
    )
    model.train().encode(images(shape, 16))
    disturbed(flow)
    model.eval()
    x = images(shape, 2)
    _, logdet = model.encode(x)
    for i in range(len(x)):
        exact = jacobian_logdet(model.encode, x[i : i + 1])
        torch.testing.assert_close(logdet[i].detach(), exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("matrix", MATRICES)
def test_low_rank_coupling_has_the_log_determinant_of_its_jacobian(matrix):
    # 26 channels of S: past the full ones
    coupling = MatrixExpCoupling(52, hidden=4, n_blocks=1, matrix=matrix)
    x = torch.randn(3, 52, 2, 1)
    coupling.initialize(x)
    disturbed(coupling)
    assert coupling.shapes == [(26, 3), (3, 26)]
    z, logdet = coupling.encode(x)
    torch.testing.assert_close(coupling.decode(z), x, rtol=0, atol=1e-12)
    assert logdet.abs().min() > 1e-2
    exact = jacobian_logdet(coupling.encode, x[:1])
    torch.testing.assert_close(logdet[0].detach(), exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("judged_terms", [None, 3])
def test_residual_flow_inverts_and_estimates_its_log_determinant(judged_terms):
    model, x = class_flow("residual", trained=False)
    for layer in model.codec.layers:
        layer.judged_terms = judged_terms
    z, _ = model.encode(x)
    # the fixed-point iteration of normflows ends at steps of about 3e-3, contracting by 0.73
    torch.testing.assert_close(model.decode(z).detach(), x, rtol=0, atol=2e-2)
    exact = jacobian_logdet(model.encode, x[:1])
    estimates = torch.stack([model.encode(x[:1])[1][0].detach() for _ in range(50)])
    error = (estimates.mean() - exact).abs()
    assert error < 4 * estimates.std() / 50**0.5 + 1e-6


def test_latents_alone_cost_no_log_determinants():
    model, x = class_flow("residual", trained=False)
    z, logdet = model.encode(x)
    with without_log_determinants(model):
        again, none = model.encode(x)
    torch.testing.assert_close(again, z, rtol=0, atol=1e-12)
    assert none.std() == 0.0 < logdet.std()  # what is left is that of the pixels
    assert model.encode(x)[1].std() > 0.0


def test_residual_layers_stay_contractions_under_training():
    model, x = class_flow("residual", trained=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 5.0
    model.train().encode(x)  # brings the bounds up to date
    model.eval()
    layers = [layer for layer in model.codec.layers if hasattr(layer, "iresblock")]
    shape = (4, 4, 4)  # of the first level, which the last layers of the flow are
    net = layers[-1].iresblock.nnet
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0], torch.randn(shape))
    norm = torch.linalg.matrix_norm(jacobian.reshape(64, 64), 2)
    assert norm < 1.0


def test_residual_layers_stay_contractions_where_neighbors_matter_more():
    # norms were once measured on images of one pixel, which only see the middle of a kernel
    model, x = class_flow("residual", trained=False)
    layers = [layer for layer in model.codec.layers if hasattr(layer, "iresblock")]
    with torch.no_grad():
        for layer in layers:
            for weight in layer.iresblock.nnet.parameters():
                if weight.ndim == 4 and weight.shape[-1] == 3:
                    weight.fill_(1.0)
                    weight[:, :, 1, 1] = 0.0
    model.train()
    for _ in range(20):
        model.encode(x)
    model.eval()
    z = model.encode(x)[0].detach()
    torch.testing.assert_close(model.decode(z), x, rtol=0, atol=2e-2)
    net = layers[-1].iresblock.nnet
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0], torch.randn(4, 4, 4))
    assert torch.linalg.matrix_norm(jacobian.reshape(64, 64), 2) < 1.0


def test_a_state_makes_an_equal_residual_flow_before_its_first_batch(tmp_path):
    model, x = class_flow("residual", trained=False)
    shape, options = TINY["residual"]
    other = ClassFlow(make_flow("residual", shape, **options), copy.deepcopy(model.gaussians))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval().encode(x)[0], model.encode(x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in FLOW_NAMES if name not in ("residual", "vae")])
def test_samples_by_class_and_temperature(name):
    model, x = class_flow(name)
    at_mean = model.sample([0, 1, 1], temperature=0.0, seed=0)
    assert at_mean.shape == (3, *x.shape[1:])
    torch.testing.assert_close(at_mean[1], at_mean[2])
    latents = model.encode(model.sample([0] * 8, temperature=0.5, seed=1))[0].detach()
    # N(0, 0.5^2) in 8 D dimensions, D >= 16
    assert latents.std() == pytest.approx(0.5, rel=0.3)


def test_a_flow_that_never_encoded_can_decode():
    shape, options = TINY["mef"]
    model = ClassFlow(
        make_flow("mef", shape, **options),
        LatentGaussians(2, 64, covariance="diagonal", tied=False),
    )
    assert model.sample([0, 1], seed=0).shape == (2, *shape)


@pytest.mark.parametrize("name", ["coupling", "mef", "tarflow"])
def test_training_lowers_the_loss_and_reaches_every_parameter(name):
    torch.set_default_dtype(torch.float32)
    shape, options = TINY[name]
    gaussians = LatentGaussians(2, latent_dim(shape), tied=True, covariance="diagonal")
    model = ClassFlow(make_flow(name, shape, **options), gaussians)
    x, y = images(shape, 64), torch.arange(64) % 2
    x[y == 1] = x[y == 1].flip(-1)
    optimizer = torch.optim.Adamax(model.parameters(), 1e-2)
    schedule = FixedPointSchedule(lam=10.0, epochs=(1,))
    losses = []
    for step in range(30):
        schedule.step(model, [(x, y)], step)
        optimizer.zero_grad()
        loss = model(x, y).mean()
        loss.backward()
        if step > 2:  # before, the zeros at the start of networks stop gradients
            still = [n for n, p in model.named_parameters() if not p.grad.abs().max() > 0]
            assert not still
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[2] - 1.0


@pytest.mark.parametrize("name", ["coupling", "mef", "tarflow"])
def test_compiles_to_one_graph(name):
    model, x = class_flow(name)
    model.train()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, [0] * 6), model(x, [0] * 6))


def test_memory_of_patches_changes_nothing():
    model, _ = class_flow("tarflow")
    for block in model.flow.blocks:
        z = torch.randn(3, 4, 4)
        x = z = block._ordered(z)
        for t in range(1, 4):  # all patches once more for each
            mu, alpha = block.transformer(x[:, :t])
            x = torch.cat([x[:, :t], z[:, t:] * alpha[:, -1:].exp() + mu[:, -1:]], 1)
            x[:, t + 1 :] = z[:, t + 1 :]
        decoded = block.decode(block._ordered(z))
        torch.testing.assert_close(decoded, block._ordered(x), rtol=0, atol=1e-12)


def test_a_patch_depends_on_those_before_it_alone():
    model, _ = class_flow("tarflow")
    block = model.flow.blocks[0]
    patches = torch.randn(1, 4, 4)
    jacobian = torch.autograd.functional.jacobian(lambda one: block.encode(one)[0], patches)
    by_patch = jacobian[0, :, :, 0].abs().amax((1, 3))  # (4, 4): outputs, inputs
    assert torch.equal(by_patch > 0, torch.ones(4, 4).tril().bool())


# -- initialization by data, states --------------------------------------------------------


def test_first_batch_in_train_mode_initializes_once():
    shape, options = TINY["mef"]
    flow = make_flow("mef", shape, **options)
    x = images(shape, 32)
    before = copy.deepcopy(flow.state_dict())
    flow.eval().encode(x)
    assert all(torch.equal(before[n], value) for n, value in flow.state_dict().items())
    flow.train().encode(x)
    first = flow.levels[0][0].norm
    pixels = torch.nn.functional.pixel_unshuffle(x - 0.5, 2)
    normed, _ = first.encode(pixels)
    torch.testing.assert_close(normed.mean(0), torch.zeros(4, 4, 4), rtol=0, atol=1e-12)
    torch.testing.assert_close(normed.std(0, correction=0), torch.ones(4, 4, 4))
    after = copy.deepcopy(flow.state_dict())
    flow.encode(images(shape, 32))
    assert all(torch.equal(after[n], value) for n, value in flow.state_dict().items())


def test_a_loaded_state_says_whether_it_was_initialized():
    shape, options = TINY["mef"]
    fresh, started = (make_flow("mef", shape, **options) for _ in range(2))
    x = images(shape, 16)
    untouched = copy.deepcopy(fresh.state_dict())
    started.train().encode(x)
    other = make_flow("mef", shape, **options)
    other.load_state_dict(started.state_dict())
    other.train()
    torch.testing.assert_close(other.encode(x + 0.1)[1], started.encode(x + 0.1)[1])
    other.load_state_dict(untouched)  # from before: the next batch initializes again
    other.encode(images(shape, 8))
    assert other.initialised
    assert not torch.equal(other.levels[0][0].norm.shift, fresh.levels[0][0].norm.shift)


def test_act_norm_does_not_magnify_what_is_constant_in_the_first_batch():
    norm = ActNorm((1, 2, 2))
    x = torch.randn(64, 1, 2, 2)
    x[:, 0, 0, 0] = 0.25
    norm.initialize(x)
    scale = torch.nn.functional.softplus(norm.raw_scale).detach()
    usual = x.std(0, correction=0).square().mean().sqrt()
    torch.testing.assert_close(scale[0, 0, 0], 10.0 / usual)


@pytest.mark.parametrize("name", ["coupling", "mef", "tarflow"])
def test_a_state_makes_an_equal_flow(name, tmp_path):
    model, x = class_flow(name)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(1)
    other, _ = class_flow(name, trained=False)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(other.encode(x)[0], model.encode(x)[0], rtol=0, atol=0)


# -- matrix exponentials -------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "n"), [(torch.float32, 15), (torch.float64, 23)])
def test_series_ends_where_its_remainder_is_below_rounding(dtype, n):
    eps = torch.finfo(dtype).eps
    assert n_terms(2.0, dtype) == n

    def remainder(k):
        return 2.0 ** (k + 1) / math.factorial(k + 1) / (1 - 2.0 / (k + 2))

    assert remainder(n) <= eps * math.exp(-2.0) < remainder(n - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_action_equals_the_matrix_exponential(dtype, sign):
    raw = (5.0 * torch.randn(2, 6, 6, 3, 1)).to(dtype)  # large: squashed to nearly the bound
    x = torch.randn(2, 6, 3, 1).to(dtype)
    matrices = squashed(raw, 2.0)
    norms = matrices.flatten(1, 2).norm(dim=1)
    assert norms.max() <= 2.0 * (1 + torch.finfo(dtype).eps)
    assert norms.min() > 1.9
    full = torch.linalg.matrix_exp(sign * matrices.permute(0, 3, 4, 1, 2).double().contiguous())
    expected = torch.einsum("nhwij,njhw->nihw", full, x.double())
    # terms of the series reach 2 norm(x), a result can be exp(-2) of it; some 15 roundings
    atol = 30 * torch.finfo(dtype).eps * x.norm().item()
    actual = exp_action((matrices,), x, 2.0, sign).double()
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def test_action_and_trace_of_a_product():
    left, right = torch.randn(2, 5, 3, 2, 2) / 4, torch.randn(2, 3, 5, 2, 2) / 4
    product = torch.einsum("nikhw,nkjhw->nijhw", left, right)
    x = torch.randn(2, 5, 2, 2)
    torch.testing.assert_close(
        exp_action((left, right), x, 2.0), exp_action((product,), x, 2.0), rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(trace((left, right)), trace((product,)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 12, 48])
def test_rotations_are_orthogonal_to_rounding(n):
    matrix = torch.linalg.matrix_exp(log_rotation(n))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(n), rtol=0, atol=1e-13)
    assert torch.linalg.det(matrix) == pytest.approx(1.0, abs=1e-12)


def test_single_precision_costs_the_convolution_no_more_than_its_rounding():
    torch.set_default_dtype(torch.float32)
    conv = MatrixExpConv(48)
    matrix = torch.linalg.matrix_exp(conv.log_matrix.detach().double())
    error = (matrix @ matrix.T - torch.eye(48, dtype=torch.float64)).abs().max()
    # a skew-symmetric matrix stays one when it is rounded: what is left is of products in float64
    assert error < 48 * torch.finfo(torch.float64).eps * 10
    x = torch.randn(2, 48, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        z, _ = conv.encode(x)
        back = conv.decode(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-5)


def test_autocast_reaches_networks_only():
    torch.set_default_dtype(torch.float32)
    model, x = class_flow("mef")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        z, logdet = model.encode(x.float())
        back = model.decode(z)
    assert z.dtype == logdet.dtype == torch.float32
    # the networks see the same inputs up to float32 rounding, which bfloat16 can magnify to its own
    torch.testing.assert_close(back, x.float(), rtol=0, atol=2e-2)


# -- preprocessing -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scale", "logit"])
def test_preprocessing_is_exact_at_the_ends_of_the_range(name):
    layer = make_preprocessing(name)
    x = torch.tensor([0.0, 1.0, 0.5, 1.0 / 512]).reshape(1, 1, 2, 2)
    z, logdet = layer.encode(x)
    torch.testing.assert_close(layer.decode(z), x, rtol=0, atol=1e-15)
    exact = jacobian_logdet(layer.encode, x)
    torch.testing.assert_close(logdet[0], exact, rtol=1e-12, atol=0)


# -- bad input -----------------------------------------------------------------------------


def test_unknown_names_and_options_are_refused():
    with pytest.raises(InvalidInputError, match=r"flow is 'nice'; pass one of coupling, mef"):
        make_flow("nice", (1, 8, 8))
    with pytest.raises(InvalidInputError, match=r"'mef16' has no option width; it has blocks"):
        make_flow("mef16", (1, 16, 16), width=3)
    with pytest.raises(InvalidInputError, match="preprocessing is 'sqrt'"):
        make_flow("coupling", (1, 8, 8), preprocessing="sqrt")
    with pytest.raises(InvalidInputError, match="image_shape is"):
        make_flow("coupling", (8, 8))


@pytest.mark.parametrize("name", ["mef32", "glow", "residual"])
def test_images_that_cannot_be_squeezed_are_refused(name):
    with pytest.raises(InvalidInputError, match=r"\(1, 14, 14\).*multiples of"):
        make_flow(name, (1, 14, 14))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 7, 8), {}, r"\(1, 7, 8\): patches of 2x2 need .*multiples of 2; resize"),
        ((1, 8, 8), {"width": 30}, "width is 30, not a multiple of heads, 4"),
        ((1, 8, 8), {"patch": 8}, "one patch of 8x8 has nothing to depend on"),
    ],
)
def test_images_that_cannot_be_cut_into_patches_are_refused(shape, options, message):
    with pytest.raises(InvalidInputError, match=message):
        make_flow("tarflow", shape, **options)


def test_images_of_another_shape_are_refused():
    model, _ = class_flow("coupling")
    with pytest.raises(InvalidInputError, match=r"shape \(1, 5, 5\).*made for \(1, 4, 4\)"):
        model.encode(torch.zeros(2, 1, 5, 5))


def test_presets_build_what_they_are_named_after():
    assert sorted(PRESETS) == ["mef16", "mef28", "mef32", "mef64", "tarflow16"]
    flow = make_flow("mef32", (3, 32, 32), channels=4)
    assert [len(steps) for steps in flow.levels] == [8, 8, 8]
    assert [len(steps[0].coupling.net.blocks) for steps in flow.levels] == [8, 4, 2]
    assert flow.latent_shapes == [(6, 16, 16), (12, 8, 8), (48, 4, 4)]


@pytest.mark.parametrize("name", FLOW_NAMES)
def test_no_layer_hides_a_method_of_its_base_class(name):
    # an attribute once hid Module.half
    own = {key for key in vars(torch.nn.Module) if not key.startswith("_")}
    for layer in make_flow(name, (1, 64, 64)).modules():
        assert not own & vars(layer).keys() - {"training"}, type(layer)


# -- as the authors' code has it -------------------------------------------------------------


def test_the_released_flow_has_as_many_parameters_as_the_authors():
    torch.set_default_dtype(torch.float32)  # 160 MB instead of 320
    flow = make_flow("mef32", (3, 32, 32), matrix="released")
    assert sum(parameter.numel() for parameter in flow.parameters()) == 42_815_440


def test_released_matrices_follow_from_four_numbers():
    matrix = ReleasedMatrix([(6, 6)])
    raw = 1e-4 * torch.randn(2, 6, 6, 1, 1)
    (small,) = matrix([raw])
    torch.testing.assert_close(small, raw / 48, rtol=1e-6, atol=0)  # slope 1 / (8 n)
    with torch.no_grad():
        for number, value in zip(
            (matrix.rescale, matrix.scale, matrix.shift, matrix.reshift),
            (0.7, 0.3, -0.2, 0.1),
            strict=True,
        ):
            number.fill_(value)
    raw = 30 * torch.randn(2, 6, 6, 1, 1)
    (made,) = matrix([raw])
    torch.testing.assert_close(made, 0.7 * torch.tanh(0.3 * raw - 0.2) + 0.1)
    norms = torch.linalg.matrix_norm(made[..., 0, 0], ord=2)
    assert bool((norms <= matrix.bound()).all()) and matrix.bound() == pytest.approx(4.8)


@pytest.mark.parametrize("size", [1.0, 8.0, 30.0])
def test_large_matrices_are_applied_in_parts(size):
    matrix = torch.randn(3, 5, 5)
    matrix = size * matrix / torch.linalg.matrix_norm(matrix)[:, None, None]
    x = torch.randn(3, 5, 1, 1)
    factors = (matrix[..., None, None],)
    exact = torch.linalg.matrix_exp(matrix) @ x[:, :, 0]
    made = exp_action(factors, x, size)
    # a step loses no more than exp(2) roundings, and steps multiply by exp of norms of at most 2
    scale = torch.linalg.matrix_norm(torch.linalg.matrix_exp(matrix)).max()
    torch.testing.assert_close(made[:, :, 0], exact, rtol=0, atol=float(1e-12 * scale * size))
    back = exp_action(factors, made, size, -1.0)
    spread = torch.linalg.cond(torch.linalg.matrix_exp(matrix)).max()
    torch.testing.assert_close(back, x, rtol=0, atol=float(1e-13 * spread * size))


def test_a_first_batch_that_is_too_small_is_refused():
    flow = make_flow("mef", (1, 8, 8), channels=4, steps=1, blocks=(1,))
    with pytest.raises(InvalidInputError, match=r"first batch is of size 2.*at least 8 images"):
        flow.train().encode(images((1, 8, 8), 2))
    flow.encode(images((1, 8, 8), 8))
    flow.encode(images((1, 8, 8), 2))  # only the first one counts


def test_unknown_matrices_are_refused():
    with pytest.raises(InvalidInputError, match="matrix is 'full'; pass one of bounded, released"):
        make_flow("mef", (1, 8, 8), blocks=(1,), matrix="full")


# -- latents of an encoder -------------------------------------------------------------------


class Halves(torch.nn.Module):
    """Averages of 2x2 pixels in three channels, and back: an encoder and a decoder."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, -1.0]), requires_grad=False)

    def encode(self, x):
        return torch.nn.functional.avg_pool2d(x, 2) * self.weight[:, None, None]

    def decode(self, z):
        x = (z / self.weight[:, None, None]).mean(1, keepdim=True)
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def halves(factor=1.0):
    """Make the autoencoder of these tests; configs name this function."""
    made = Halves()
    made.weight *= factor
    return made


def test_a_flow_of_latents_encodes_first_and_decodes_last(monkeypatch):
    module = type(sys)("encoders")
    module.halves = halves
    monkeypatch.setitem(sys.modules, "encoders", module)
    flow = make_flow(
        "coupling", (1, 4, 4), hidden=8, n_couplings=2,
        autoencoder="encoders:halves", autoencoder_options={"factor": 2.0},
    )  # fmt: skip
    assert isinstance(flow, EncodedFlow)
    assert latent_dim((1, 4, 4), flow) == 3 * 2 * 2
    disturbed(flow)
    model = ClassFlow(flow, LatentGaussians(2, 12))
    x = torch.nn.functional.avg_pool2d(images((1, 4, 4)), 2).repeat_interleave(2, 2)
    x = x.repeat_interleave(2, 3)  # what the autoencoder keeps
    z, logdet = model.encode(x)
    inner, change = flow.flow.encode(halves(2.0).encode(x))
    torch.testing.assert_close(z, inner[0])
    torch.testing.assert_close(logdet, change)
    torch.testing.assert_close(model.decode(z), x)
    assert not any("weight" in name and "held" in name for name in flow.state_dict())
    assert copy.deepcopy(flow)._held is flow._held
    model.log_prob(x, torch.tensor([0, 1] * 3)).mean().backward()


def test_autoencoders_that_cannot_be_used_are_refused(monkeypatch):
    for name, words in (
        ("nowhere:make", "No module named"),
        ("math:make", "has no attribute"),
        ("math", "pass .module:function."),
        ("builtins:dict", "returns a dict, without encode and decode"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            make_flow("coupling", (1, 4, 4), autoencoder=name)
    with pytest.raises(InvalidInputError, match="no effect without autoencoder"):
        make_flow("coupling", (1, 4, 4), autoencoder_options={})
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match="pip install diffusers"):
        diffusers_vae("nowhere")


@pytest.mark.parametrize("sample", [True, False])
def test_an_autoencoder_of_diffusers(sample, monkeypatch):
    class Posterior:
        def __init__(self, z):
            self.z = z

        def sample(self):
            return self.z + 1.0

        def mode(self):
            return self.z

    class Vae(torch.nn.Module):
        @classmethod
        def from_pretrained(cls, path, local_files_only):
            assert path == "weights" and local_files_only
            return cls()

        def encode(self, x):
            return SimpleNamespace(latent_dist=Posterior(3.0 * x))

        def decode(self, z):
            return SimpleNamespace(sample=z / 3.0)

    models = type(sys)("diffusers.models")
    models.AutoencoderKL = Vae
    monkeypatch.setitem(sys.modules, "diffusers", type(sys)("diffusers"))
    monkeypatch.setitem(sys.modules, "diffusers.models", models)
    vae = diffusers_vae("weights", sample=sample, scale=0.5)
    x = images((1, 4, 4))
    z = vae.encode(x)
    torch.testing.assert_close(z, 0.5 * (3.0 * (2.0 * x - 1.0) + float(sample)))
    torch.testing.assert_close(vae.decode(z), x + float(sample) / 6.0)
