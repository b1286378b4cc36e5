"""Covariances and their factors agree, whatever changes the covariances; states are tensors."""

import copy
import math
import pickle
from dataclasses import dataclass

import pytest
import torch
from flow_builders import VECTOR_FLOWS
from helpers import FAMILIES, FAMILY_IDS
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from fpigauss import Dense, Diagonal, InvalidInputError
from fpigauss_torch import ClassFlow, LatentGaussians
from fpigauss_torch._support import state_tensor
from fpigauss_torch.priors import GradientGaussians, LearnedMeans

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
K, DIM = 3, 4
Y = torch.arange(90) % K


def latents(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(90, DIM, generator=generator) + torch.eye(K, DIM)[Y]


def fitted(covariance="diagonal", tied=True):
    gaussians = LatentGaussians(K, DIM, covariance, tied)
    gaussians.fit_(latents(), Y, 1.0)
    return gaussians


def assert_agrees(gaussians):
    core, z = gaussians.class_gaussians(), latents(1).double()
    torch.testing.assert_close(gaussians.log_prob(z, Y), core.log_prob(z, Y))
    torch.testing.assert_close(gaussians.class_log_prob(z), core.class_log_prob(z))
    noise = torch.eye(DIM, dtype=torch.float64)
    of_class = gaussians.color(noise, torch.ones(DIM, dtype=torch.int64))
    own = core.covariances if gaussians.family.tied else core.covariances[1]
    if own.ndim < 2:
        own = torch.diag_embed(own.expand(DIM))
    torch.testing.assert_close(of_class.T @ of_class, own)


@family
def test_an_average_integrates_to_one_and_is_the_same_after_loading(covariance, tied):
    gaussians = LatentGaussians(K, DIM, covariance, tied)
    averaged = AveragedModel(gaussians, avg_fn=get_ema_avg_fn(0.9), use_buffers=True)
    averaged.update_parameters(gaussians)
    gaussians.fit_(latents(), Y, 3.0)
    for _ in range(5):
        averaged.update_parameters(gaussians)
        assert_agrees(averaged.module)
    density = averaged.module.density()
    inverse = density.inverse
    if inverse.ndim == 2:
        inverse = torch.diag_embed(inverse.expand(-1, DIM))
    log_integral = -0.5 * density.log_det - inverse.slogdet().logabsdet
    torch.testing.assert_close(log_integral, torch.zeros_like(log_integral), atol=1e-12, rtol=0.0)
    loaded = LatentGaussians(K, DIM, covariance, tied)
    loaded.load_state_dict(averaged.module.state_dict())
    assert torch.equal(loaded.log_prob(latents(), Y), averaged.module.log_prob(latents(), Y))


@family
def test_edits_in_place_count(covariance, tied):
    gaussians = fitted(covariance, tied)
    other = LatentGaussians(K, DIM, covariance, tied)
    changes = {
        "covariances": lambda: gaussians.covariances.mul_(4.0),
        "means": lambda: gaussians.means.add_(1.0),
        "by name": lambda: dict(gaussians.named_buffers())["covariances"].copy_(other.covariances),
        "replaced": lambda: setattr(gaussians, "covariances", 3.0 * other.covariances),
        "state": lambda: gaussians.state_dict()["covariances"].mul_(2.0),
    }
    for change in changes.values():
        change()
        assert_agrees(gaussians)


@family
def test_copies_and_moves_are_made_of_the_present_covariances(covariance, tied):
    gaussians = fitted(covariance, tied)
    gaussians.covariances.mul_(4.0)  # and no density since
    for twin in (copy.deepcopy(gaussians), copy.copy(gaussians), gaussians.to("cpu").half()):
        assert_agrees(twin)
    assert_agrees(pickle.loads(pickle.dumps(gaussians)))
    twin = copy.deepcopy(gaussians)
    twin.covariances.mul_(4.0)
    assert_agrees(twin)
    assert_agrees(gaussians)


def test_factors_are_not_in_a_state_nor_among_the_buffers():
    gaussians = fitted()
    names = ["means", "covariances", "class_counts"]
    assert [name for name, _ in gaussians.named_buffers()] == names
    assert set(gaussians.state_dict()) == {*names, "_extra_state"}


def test_edits_to_what_is_no_covariance_are_told():
    gaussians = fitted()
    gaussians.covariances.fill_(-1.0)
    with pytest.raises(InvalidInputError, match="covariances"):
        gaussians.log_prob(latents(), Y)


@pytest.mark.parametrize("covariance", ["diagonal", "dense"])
def test_a_compiled_density_follows_refits_states_and_averages(covariance):
    torch._dynamo.reset()
    gaussians, z = fitted(covariance), latents()
    compiled = torch.compile(gaussians.class_log_prob, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(z), gaussians.class_log_prob(z))
    state = copy.deepcopy(gaussians.state_dict())
    gaussians.fit_(latents(3), Y, 0.0)
    refitted = compiled(z)
    torch.testing.assert_close(refitted, gaussians.class_log_prob(z))
    gaussians.load_state_dict(state)
    loaded = compiled(z)
    assert not torch.equal(loaded, refitted)
    torch.testing.assert_close(loaded, gaussians.class_log_prob(z))


def test_made_under_inference_mode():
    with torch.inference_mode():
        gaussians = fitted()
        assert_agrees(gaussians)
        gaussians.covariances.mul_(2.0)
        assert_agrees(gaussians)
    assert_agrees(gaussians)


# -- states --------------------------------------------------------------------------------


def priors():
    return [fitted(), LearnedMeans(K, DIM, seed=0), GradientGaussians(K, DIM, 1.0, seed=0)]


@pytest.mark.parametrize("prior", priors(), ids=lambda prior: type(prior).__name__)
def test_states_are_tensors_and_old_ones_load(prior):
    model = ClassFlow(VECTOR_FLOWS["zuko-maf"](DIM, seed=0), prior)
    model(latents())
    state = model.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    casts = [
        {name: value.cpu() for name, value in state.items()},
        {name: value.half() for name, value in state.items()},
        {name: 0.9 * value + 0.1 * value for name, value in state.items()},
        state
        | {  # as they were before
            "gaussians._extra_state": prior.described(),
            "codec._extra_state": {"codec": type(model.codec).__name__, "shapes": [[DIM]]},
        },
    ]
    for cast in casts:
        again = ClassFlow(VECTOR_FLOWS["zuko-maf"](DIM, seed=1), copy.deepcopy(prior))
        again.load_state_dict(cast)
        assert again.codec.shapes == model.codec.shapes == [(DIM,)]
        torch.testing.assert_close(again(latents(), Y), model(latents(), Y), rtol=2e-2, atol=2e-1)
    wrong = ClassFlow(
        VECTOR_FLOWS["zuko-maf"](DIM, seed=1), LatentGaussians(K, DIM, "dense", tied=False)
    )
    with pytest.raises(InvalidInputError, match=f"state is that of a {type(prior).__name__}"):
        wrong.load_state_dict(state)


def test_a_state_as_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="an optional reader of states")
    model = ClassFlow(VECTOR_FLOWS["zuko-maf"](DIM, seed=0), fitted())
    model(latents())
    safetensors.save_model(model, str(tmp_path / "a.safetensors"))
    again = ClassFlow(
        VECTOR_FLOWS["zuko-maf"](DIM, seed=1),
        LatentGaussians(K, DIM, tied=True, covariance="diagonal"),
    )
    safetensors.load_model(again, str(tmp_path / "a.safetensors"))
    assert torch.equal(again(latents(), Y), model(latents(), Y))
    assert again.sample([0]).shape == (1, DIM)


@family
def test_made_on_the_meta_device_and_assigned(covariance, tied):
    gaussians = fitted(covariance, tied)
    with torch.device("meta"):
        empty = LatentGaussians(K, DIM, covariance, tied)
    with pytest.raises(InvalidInputError, match="on the meta device"):
        empty.density()
    empty.load_state_dict(copy.deepcopy(gaussians.state_dict()), assign=True)
    assert_agrees(empty)
    empty.fit_(latents(3), Y, 0.0)
    assert_agrees(empty)


@family
def test_a_state_that_is_refused_changes_nothing(covariance, tied):
    gaussians = fitted(covariance, tied)
    before = copy.deepcopy(gaussians.state_dict())
    other = LatentGaussians(K, DIM, covariance, tied)
    other.fit_(latents(3), Y, 0.0)
    state = copy.deepcopy(other.state_dict())
    bad = [
        (state | {"covariances": -state["covariances"]}, InvalidInputError),
        (state | {"means": state["means"] * math.nan}, InvalidInputError),
        (state | {"covariances": torch.ones(7, 7)}, RuntimeError),
        (state | {"means": torch.zeros(K + 1, DIM)}, RuntimeError),
    ]
    for assign in (False, True):
        for wrong, error in bad:
            with pytest.raises(error):
                gaussians.load_state_dict(wrong, assign=assign)
            assert all(torch.equal(v, before[n]) for n, v in gaussians.state_dict().items())
            assert_agrees(gaussians)


# -- torch.func ----------------------------------------------------------------------------


@family
def test_gradients_of_single_rows_with_mapped_labels(covariance, tied):
    gaussians, z = fitted(covariance, tied), latents()
    for labels in (Y, torch.where(Y == 0, -1, Y), torch.nn.functional.one_hot(Y).float()):
        found = torch.func.vmap(
            torch.func.grad(lambda row, y: gaussians.log_prob(row[None], y[None])[0])
        )(z, labels)
        leaf = z.clone().requires_grad_()
        (wanted,) = torch.autograd.grad(gaussians.log_prob(leaf, labels).sum(), leaf)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert math.isfinite(float(found.sum()))


# -- families without a name of their own --------------------------------------------------


@dataclass(frozen=True)
class Blocks(Dense):
    """Blocks of two by two along the diagonal, under the name of all matrices."""

    def projections(self, covariances):
        block = torch.arange(covariances.shape[-1]) // 2
        return covariances * (block[:, None] == block).to(covariances)

    def outer(self, a, b):
        return self.projections(super().outer(a, b))


@dataclass(frozen=True)
class Pairs(Diagonal):
    """One variance per pair of axes, under the name of one per axis."""

    def fold(self, x):
        return x[..., 0::2] + x[..., 1::2]

    def per_axis(self, values):
        return values.repeat_interleave(2, dim=-1)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("own", "parent"), [(Blocks(), "dense"), (Pairs(), "diagonal")])
def test_a_family_without_a_name_does_not_pass_as_its_parent(own, parent, tied):
    ours, theirs = fitted(own, tied), fitted(parent, tied)
    for into, state in ((ours, theirs.state_dict()), (theirs, ours.state_dict())):
        before = into.covariances.clone()
        with pytest.raises(InvalidInputError, match=rf"{parent} \({type(own).__name__}\)"):
            into.load_state_dict(state)
        assert torch.equal(into.covariances, before)
    with pytest.raises(InvalidInputError, match=rf'"{parent} \({type(own).__name__}\)"'):
        ours.assign_(theirs.class_gaussians())
    again = LatentGaussians(K, DIM, own, tied)
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again.covariances, ours.covariances)


@pytest.mark.parametrize("tied", [False, True])
def test_states_that_do_not_say_the_class_load_where_they_fit(tied):
    ours = fitted(Blocks(), tied)
    old = ours.described() | {"covariance": "dense"}
    for said in (old, state_tensor(old)):
        again = LatentGaussians(K, DIM, Blocks(), tied)
        again.load_state_dict(ours.state_dict() | {"_extra_state": said})
        assert torch.equal(again.covariances, ours.covariances)
    with pytest.raises(InvalidInputError, match="the state is that of"):
        again.load_state_dict(fitted("dense", tied).state_dict())
