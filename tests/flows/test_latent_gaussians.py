"""LatentGaussians: the core's Gaussians as a module; densities, refits, state."""

import copy
import io
import math
import pickle
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from helpers import FAMILIES, FAMILY_IDS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    InvalidInputError,
    PooledCovarianceWarning,
    UnboundedObjectiveWarning,
    fit_fixed_point,
)
from fpigauss_torch import LatentGaussians, LatentPrior, RefitRejectedError

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
N_CLASSES, DIM = 4, 5


def latents(n=200, seed=0, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % N_CLASSES
    scale = torch.tensor([1.0, 0.3, 3.0, 1.0, 0.5], dtype=torch.float64)
    means = 2.0 * torch.randn(N_CLASSES, DIM, generator=generator, dtype=torch.float64)
    z = torch.randn(n, DIM, generator=generator, dtype=torch.float64) * scale + means[y]
    return z + offset, y


def fitted(covariance="diagonal", tied=False, lam=3.0, offset=0.0):
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance, tied)
    gaussians.fit_(*latents(offset=offset), lam)
    return gaussians


# -- before the first fit ------------------------------------------------------------------


@family
def test_standard_normal_until_the_first_fit(covariance, tied):
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance, tied)
    z, y = latents()
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(gaussians.log_prob(z, y), standard)
    torch.testing.assert_close(gaussians.log_prob(z), standard)
    assert gaussians.means.dtype == gaussians.covariances.dtype == torch.float64
    assert list(gaussians.parameters()) == []


def test_a_prior_needs_sizes():
    for sizes in ((0, 2), (2, 0), (2.0, 2), (True, 2)):
        with pytest.raises(InvalidInputError, match=r"n_classes|dim"):
            LatentGaussians(*sizes)
    with pytest.raises(TypeError):
        LatentPrior(2, 2)


# -- densities -----------------------------------------------------------------------------


@family
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_densities_are_those_of_the_core(covariance, tied, offset):
    gaussians = fitted(covariance, tied, offset=offset)
    core = gaussians.class_gaussians()
    z, y = latents(seed=1, offset=offset)
    z = z[:, :DIM]
    # the error of products is eps times squared distances from the center, here about 1e4
    torch.testing.assert_close(
        gaussians.class_log_prob(z), core.class_log_prob(z), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(gaussians.log_prob(z, y), core.log_prob(z, y), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(gaussians.log_prob(z), core.log_prob(z), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gaussians.predict_proba(z), core.predict_proba(z))
    assert torch.equal(gaussians.predict(z), core.predict(z))


@family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_dtype_of_the_latents_decides(covariance, tied, dtype):
    gaussians = fitted(covariance, tied)
    z, y = latents(seed=1)
    z = z.to(dtype)
    log_prob = gaussians.log_prob(z, y)
    assert log_prob.dtype == torch.float32  # half precision is computed in float32
    # eps of float32 times squared distances of some hundreds, five terms
    torch.testing.assert_close(
        log_prob.double(), gaussians.log_prob(z.double(), y), rtol=1e-5, atol=1e-3
    )
    assert gaussians.class_log_prob(z).dtype == torch.float32


@family
def test_labeled_rows_of_float32_keep_their_digits_far_from_the_origin(covariance, tied):
    offset = 1e3
    gaussians = fitted(covariance, tied, offset=offset)
    z, y = latents(seed=1, offset=offset)
    z = z.float()  # compare at latents that are already rounded to float32
    torch.testing.assert_close(
        gaussians.log_prob(z, y).double(), gaussians.log_prob(z.double(), y), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("tied", [False, True])
def test_blocks_of_a_dense_family_change_nothing(monkeypatch, tied):
    gaussians = fitted("dense", tied)
    z, y = latents()
    whole = gaussians.class_log_prob(z), gaussians.log_prob(z, y)
    monkeypatch.setattr("fpigauss_torch._support.distances._BLOCK", 2 * z.numel())
    torch.testing.assert_close(gaussians.class_log_prob(z), whole[0])
    torch.testing.assert_close(gaussians.log_prob(z, y), whole[1])


def test_rows_keep_their_order_whatever_classes_they_are_of():
    gaussians = fitted("dense")
    z, _ = latents()
    for labels in ([3, 0, 3, 1, 0], [2, 2], []):
        some = z[: len(labels)]
        labels = torch.tensor(labels, dtype=torch.int64)
        expected = gaussians.class_log_prob(some).gather(1, labels[:, None])[:, 0]
        torch.testing.assert_close(gaussians.log_prob(some, labels), expected)


@family
def test_gradients_are_those_of_a_multivariate_normal(covariance, tied):
    gaussians = fitted(covariance, tied)
    z, y = latents(n=12, seed=2)
    z.requires_grad_()
    core = gaussians.class_gaussians()
    matrices = core.covariances
    if covariance == "isotropic":
        matrices = matrices[..., None, None] * torch.eye(DIM, dtype=torch.float64)
    elif covariance == "diagonal":
        matrices = torch.diag_embed(matrices)
    expected = torch.distributions.MultivariateNormal(
        core.means[y], matrices.expand(N_CLASSES, DIM, DIM)[y]
    ).log_prob(z)
    (wanted,) = torch.autograd.grad(expected.sum(), z)
    for log_prob in (
        gaussians.log_prob(z, y),
        gaussians.class_log_prob(z).gather(1, y[:, None])[:, 0],
    ):
        torch.testing.assert_close(log_prob, expected)
        torch.testing.assert_close(torch.autograd.grad(log_prob.sum(), z)[0], wanted)


@given(seed=st.integers(0, 2**31), unlabeled=st.lists(st.booleans(), min_size=8, max_size=8))
@settings(max_examples=20, deadline=None)
def test_rows_without_a_label_get_the_mixture(seed, unlabeled):
    gaussians = fitted(tied=True)
    z, y = latents(n=8, seed=seed)
    hidden = torch.tensor(unlabeled)
    some = torch.where(hidden, -torch.ones_like(y), y)
    expected = torch.where(hidden, gaussians.log_prob(z), gaussians.log_prob(z, y))
    torch.testing.assert_close(gaussians.log_prob(z, some), expected)


def test_soft_labels_mix_likelihoods():
    gaussians = fitted()
    z, y = latents(n=8)
    one_hot = torch.nn.functional.one_hot(y, N_CLASSES).double()
    torch.testing.assert_close(gaussians.log_prob(z, one_hot), gaussians.log_prob(z, y))
    even = torch.full((8, N_CLASSES), 1.0 / N_CLASSES, dtype=torch.float64)
    torch.testing.assert_close(gaussians.log_prob(z, even), gaussians.log_prob(z))
    weights = torch.softmax(torch.randn(8, N_CLASSES, generator=torch.manual_seed(0)), 1)
    likelihoods = gaussians.class_log_prob(z).exp()
    torch.testing.assert_close(
        gaussians.log_prob(z, weights), (weights * likelihoods).sum(1).log(), rtol=1e-6, atol=1e-6
    )
    z.requires_grad_()
    gaussians.log_prob(z, one_hot).sum().backward()
    assert bool(torch.isfinite(z.grad).all())


def test_the_temperature_of_the_posterior():
    gaussians = fitted()
    z, _ = latents()
    cold, warm = (gaussians.predict_proba(z, t).max(1).values for t in (1.0, 5.0))
    assert bool((warm <= cold + 1e-12).all())
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InvalidInputError, match="temperature"):
            gaussians.predict_proba(z, temperature)


def test_bf16_autocast_costs_no_digits():
    dim = 3072
    gaussians = LatentGaussians(3, dim, covariance="diagonal", tied=False)
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(30) % 3
    z = torch.randn(30, dim, generator=generator) + y[:, None]
    gaussians.fit_(z, y, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gaussians.class_log_prob(z), gaussians.log_prob(z, y)
    outside = gaussians.class_log_prob(z), gaussians.log_prob(z, y)
    for ours, exact in zip(inside, outside, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-3, atol=0.0)
        assert torch.equal(ours, exact)  # outside autocast, so that no product is in bfloat16


# -- samples -------------------------------------------------------------------------------


@family
def test_samples_have_the_moments_of_their_class(covariance, tied):
    gaussians = fitted(covariance, tied)
    n = 20_000
    draws = gaussians.sample([2] * n, seed=0, dtype=torch.float64)
    core = gaussians.class_gaussians()
    # whitened draws are standard normal: five sigma of a mean, and of a variance
    white = core.log_prob(draws, [2] * n)
    entropy = core.log_prob(core.means[2:3], [2]) - DIM / 2
    assert abs(float(white.mean() - entropy)) < 5 * math.sqrt(DIM / 2 / n)
    bound = 5 * draws.std(0) / math.sqrt(n)
    assert bool(((draws.mean(0) - gaussians.means[2]).abs() < bound).all())


def test_samples_are_repeatable_in_order_and_of_the_default_dtype():
    gaussians = fitted()
    labels = torch.tensor([3, 0, 0, 1])
    draws = gaussians.sample(labels, seed=1)
    assert draws.dtype == torch.float32
    assert torch.equal(draws, gaussians.sample(labels.tolist(), seed=1))
    assert torch.equal(draws, gaussians.sample(labels, seed=torch.Generator().manual_seed(1)))
    assert not torch.equal(draws, gaussians.sample(labels, seed=2))
    torch.testing.assert_close(
        gaussians.sample(labels, 0.0).double(), gaussians.means[labels], rtol=1e-6, atol=1e-6
    )
    assert gaussians.sample(10, seed=0).shape == (10, DIM)
    assert gaussians.sample(0).shape == (0, DIM)
    assert gaussians.sample([]).shape == (0, DIM)
    torch.manual_seed(0)
    first = gaussians.sample(labels)
    torch.manual_seed(0)
    assert torch.equal(first, gaussians.sample(labels))


# -- fits ----------------------------------------------------------------------------------


@family
def test_a_fit_is_the_core_s(covariance, tied):
    z, y = latents()
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance, tied)
    result = gaussians.fit_(z, y, 5.0)
    core = fit_fixed_point(z.numpy(), y.numpy(), 5.0, covariance=covariance, tied=tied)
    np.testing.assert_allclose(gaussians.means.numpy(), core.gaussians.means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        gaussians.covariances.numpy(), core.gaussians.covariances, rtol=1e-9, atol=1e-9
    )
    assert result.status == core.status == "converged"


def test_half_latents_are_fitted_in_float64():
    z, y = latents()
    z = z.to(torch.bfloat16)
    a, b = (LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False) for _ in range(2))
    a.fit_(z, y, 5.0)
    b.fit_(z.double(), y, 5.0)
    assert torch.equal(a.means, b.means)


def test_rows_without_a_label_are_left_out_of_a_fit():
    z, y = latents()
    some = y.clone()
    some[::7] = -1
    a, b = (LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False) for _ in range(2))
    a.fit_(z, some, 5.0, sample_weight=torch.ones(len(z)))
    b.fit_(z[some >= 0], y[some >= 0], 5.0)
    torch.testing.assert_close(a.means, b.means, rtol=1e-12, atol=1e-12)


def test_a_refit_stays_in_the_same_buffers():
    gaussians = fitted()
    before = {name: buffer.data_ptr() for name, buffer in gaussians.named_buffers()}
    gaussians.fit_(*latents(seed=3), 1.0)
    assert before == {name: buffer.data_ptr() for name, buffer in gaussians.named_buffers()}


def unbounded():
    """Two classes on top of each other, far past lam*."""
    z, y = latents()
    return z - torch.stack([z[y == k].mean(0) for k in range(N_CLASSES)])[y] + 1e-3 * y[:, None], y


def test_a_runaway_fit_leaves_the_old_gaussians():
    gaussians = fitted()
    before = copy.deepcopy(gaussians.state_dict())
    # an error, without warnings
    with pytest.raises(RefitRejectedError, match=r"unbounded.*were kept.*below 5\.44") as caught:
        gaussians.fit_(*unbounded(), 1e4)
    assert caught.value.result.status == "unbounded"
    assert all(torch.equal(before[k], v) for k, v in gaussians.state_dict().items() if k[0] != "_")
    with pytest.warns(UnboundedObjectiveWarning):
        result = gaussians.fit_(*unbounded(), 1e4, accept=("unbounded",))
    torch.testing.assert_close(gaussians.means, result.gaussians.means)


def test_the_bound_that_a_rejection_names_is_that_of_alpha():
    with pytest.raises(RefitRejectedError, match=r"below 22\.1"):  # 4 * 10 * exp(1 / 10) / 2
        fitted().fit_(*unbounded(), 1e5, alpha=10.0)


def test_a_rejected_fit_can_be_pickled():
    with pytest.raises(RefitRejectedError) as caught:
        fitted().fit_(*unbounded(), 1e4)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert copied.result.status == "unbounded"
    assert str(copied) == str(caught.value)


def with_nan(z, y):
    z[7, 2] = math.nan
    return z, y


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_nan, r"row 7"),
        (lambda z, y: (z[:, :3], y), r"z has shape \(200, 3\), \(N, 5\) is needed"),
        (lambda z, y: ("latents", y), "z cannot be converted to a tensor"),
        (lambda z, y: (z.long(), y), r"torch\.int64"),
        (lambda z, y: (z, y + 1), "y is 4 in row 3"),
        (lambda z, y: (z, y - 2), "y is -2 in row 0"),
        (lambda z, y: (z, y.double()), r"torch\.float64"),
        (lambda z, y: (z, y[:-1]), r"y has shape \(199,\)"),
        (lambda z, y: (z, y.clamp_max(2)), "no sample of class 3"),
    ],
)
def test_bad_input_of_a_fit_leaves_the_old_gaussians(change, message):
    gaussians = fitted()
    before = gaussians.means.clone()
    with pytest.raises(InvalidInputError, match=message):
        gaussians.fit_(*change(*latents()), 1.0)
    assert torch.equal(before, gaussians.means)


@pytest.mark.parametrize("lam", [-1.0, math.nan, "1"])
def test_bad_options_of_a_fit_are_told_by_the_core(lam):
    with pytest.raises(InvalidInputError, match="lam"):
        fitted().fit_(*latents(), lam)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accept": "converged"}, "accept is 'converged'"),
        ({"accept": None}, "accept is None"),
        ({"accept": ["bogus"]}, "accept is"),
        ({"covariance": "dense"}, "covariance is not an option"),
        ({"maxiter": 3}, "maxiter is not an option of a fit; did you mean max_iter"),
        ({"min_kld": 3.0}, "min_kld is not an option of a fit; pass separation="),
        ({"sample_weight": torch.ones(3)}, "sample_weight"),
        ({"sample_weight": 1.0}, "sample_weight"),
    ],
)
def test_bad_options_of_a_fit(options, message):
    gaussians = fitted()
    z, y = latents()
    y[0] = -1
    with pytest.raises(InvalidInputError, match=message):
        gaussians.fit_(z, y, 1.0, **options)


def test_every_empty_class_is_named():
    gaussians = LatentGaussians(9, DIM, covariance="diagonal", tied=False)
    z, y = latents()
    with pytest.raises(InvalidInputError, match=r"no sample of class 4, 5, 6, 7, 8; give every"):
        gaussians.fit_(z, y, 1.0)


def test_statistics_of_other_sizes():
    gaussians = fitted()
    z, y = latents()
    with pytest.raises(InvalidInputError, match="3 classes in 5 dimensions"):
        gaussians.solve_(ClassStatistics.from_samples(z[y < 3], y[y < 3]), 1.0)
    with pytest.raises(InvalidInputError, match="ClassStatistics"):
        gaussians.solve_(z, 1.0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda y: y + 1, "labels is 4 in row 3"),
        (lambda y: y.float(), r"torch\.float32"),
        (lambda y: y[:, None], r"shape \(200, 1\)"),
        (lambda y: y[:-1], r"labels has shape \(199,\)"),
        (lambda y: "abc", "cannot be converted to a tensor"),
        (lambda y: torch.ones(200, N_CLASSES), "sums to 4 in row 0"),
        (lambda y: torch.ones(200, 3), r"\(200, 4\)"),
        (lambda y: torch.full((200, N_CLASSES), math.nan), "sums to nan in row 0"),
    ],
)
def test_bad_labels(labels, message):
    z, y = latents()
    with pytest.raises(InvalidInputError, match=message):
        fitted().log_prob(z, labels(y))


def test_bad_samples():
    gaussians = fitted()
    for labels, message in (
        ([4], "labels is 4 in row 0"),
        ([-1], "labels is -1 in row 0"),
        (-3, "-3"),
        ([0.5], "labels is 0.5 in row 0"),
        ([True], "bool"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            gaussians.sample(labels)
    for temperature in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidInputError, match="temperature"):
            gaussians.sample([0], temperature)
    for dtype in (torch.int64, "float32"):
        with pytest.raises(InvalidInputError, match="dtype"):
            gaussians.sample([0], dtype=dtype)
    for seed in (-1, 1.5, True, "a", 2**64):
        with pytest.raises(InvalidInputError, match="seed"):
            gaussians.sample([0], seed=seed)


# -- beside autograd -----------------------------------------------------------------------


def test_a_refit_between_forward_and_backward_is_an_error_of_ours():
    gaussians = fitted()
    z, y = latents()
    z.requires_grad_()
    for density in (lambda: gaussians.log_prob(z, y), lambda: gaussians.class_log_prob(z)):
        loss = density().sum()
        gaussians.fit_(z, y, 2.0)
        with pytest.raises(InvalidInputError, match="between forward and backward"):
            loss.backward()
    gaussians.log_prob(z, y).sum().backward()  # after that it works
    gaussians.fit_(z, y, 2.0)


def test_a_refit_inside_a_backward_pass_is_an_error():
    gaussians = fitted()
    z, y = latents()
    z.requires_grad_()
    z.register_hook(lambda gradient: gaussians.fit_(z, y, 1.0) and None)
    with pytest.raises(InvalidInputError, match="inside a backward pass"):
        gaussians.log_prob(z, y).sum().backward()


def test_a_refit_under_inference_mode_does_not_poison_training():
    gaussians = fitted()
    z, y = latents()
    with torch.inference_mode():
        gaussians.fit_(z, y, 2.0)
    z.requires_grad_()
    gaussians.log_prob(z, y).sum().backward()
    assert bool(torch.isfinite(z.grad).all())


def test_loading_under_inference_mode_does_not_poison_a_refit():
    gaussians = fitted()
    state = copy.deepcopy(gaussians.state_dict())
    z, y = latents()
    for assign in (False, True):
        with torch.inference_mode():
            made_there = LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
            made_there.load_state_dict(copy.deepcopy(state), assign=assign)
        for loaded in (made_there, copy.deepcopy(gaussians)):
            loaded.fit_(z, y, 2.0)
            fresh = LatentGaussians.from_class_gaussians(loaded.class_gaussians())
            assert torch.equal(loaded.log_prob(z, y), fresh.log_prob(z, y))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_the_transforms_of_torch_func_pass_through():
    gaussians = fitted()
    z, y = latents(n=6)
    expected = z.clone().requires_grad_()
    gaussians.log_prob(expected, y).sum().backward()
    found = torch.func.grad(lambda z: gaussians.log_prob(z, y).sum())(z)
    torch.testing.assert_close(found, expected.grad)
    jacobian = torch.func.jacrev(lambda z: gaussians.log_prob(z, y))(z)
    torch.testing.assert_close(jacobian.sum(0), expected.grad)
    _, change = torch.func.jvp(lambda z: gaussians.log_prob(z, y), (z,), (torch.ones_like(z),))
    torch.testing.assert_close(change, expected.grad.sum(1))


# -- the state -----------------------------------------------------------------------------


@family
def test_the_state_comes_back(covariance, tied):
    gaussians = fitted(covariance, tied)
    z, y = latents()
    file = io.BytesIO()
    torch.save(gaussians.state_dict(), file)
    file.seek(0)
    loaded = LatentGaussians(N_CLASSES, DIM, covariance, tied)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for twin in (loaded, copy.deepcopy(gaussians), pickle.loads(pickle.dumps(gaussians))):
        assert torch.equal(twin.log_prob(z, y), gaussians.log_prob(z, y))
        assert torch.equal(twin.sample([0, 1], seed=0), gaussians.sample([0, 1], seed=0))
    twin.fit_(z, y, 0.0)
    assert not torch.equal(twin.means, gaussians.means)


@pytest.mark.parametrize("assign", [False, True])
def test_a_loaded_state_has_factors_of_its_own(assign):
    gaussians, other = fitted(), LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
    other.load_state_dict(copy.deepcopy(gaussians.state_dict()), assign=assign)
    z, y = latents()
    other.fit_(z, y, 1.0)
    assert not torch.equal(other.log_prob(z, y), gaussians.log_prob(z, y))


@pytest.mark.parametrize(
    "other",
    [
        LatentGaussians(N_CLASSES + 1, DIM, covariance="diagonal", tied=False),
        LatentGaussians(N_CLASSES, DIM + 1, covariance="diagonal", tied=False),
        LatentGaussians(N_CLASSES, DIM, "dense", tied=False),
        LatentGaussians(N_CLASSES, DIM, tied=True, covariance="diagonal"),
    ],
    ids=["K", "d", "covariance", "tied"],
)
def test_a_state_of_other_gaussians_is_refused(other):
    gaussians = fitted()
    with pytest.raises(InvalidInputError, match="the state is that of a LatentGaussians with"):
        other.load_state_dict(gaussians.state_dict())
    nested = torch.nn.ModuleDict({"g": other})
    with pytest.raises(InvalidInputError, match="the state is that of a LatentGaussians with"):
        nested.load_state_dict({f"g.{k}": v for k, v in gaussians.state_dict().items()})


@pytest.mark.parametrize("cast", [lambda m: m.half(), lambda m: m.to(torch.bfloat16)])
def test_a_cast_leaves_the_dtype(cast):
    gaussians = fitted()
    before = gaussians.means.clone()
    module = cast(torch.nn.Sequential(gaussians, torch.nn.Linear(2, 2)))
    assert module[1].weight.dtype in (torch.float16, torch.bfloat16)
    assert torch.equal(gaussians.means, before)
    assert {b.dtype for b in gaussians.buffers()} == {torch.float64}


@pytest.mark.parametrize(
    ("name", "value"), [("covariances", -1.0), ("covariances", math.nan), ("means", math.inf)]
)
def test_a_state_without_positive_definite_covariances_is_refused(name, value):
    state = fitted().state_dict()
    state[name] = torch.full_like(state[name], value)
    with pytest.raises(InvalidInputError, match=name):
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False).load_state_dict(state)


def test_half_states_are_held_in_float64():
    state = {
        name: value.half() if isinstance(value, Tensor) else value
        for name, value in fitted().state_dict().items()
    }
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
    gaussians.load_state_dict(state, assign=True)
    assert {buffer.dtype for buffer in gaussians.buffers()} == {torch.float64}


def test_meta_and_back():
    gaussians = fitted()
    empty = copy.deepcopy(gaussians).to("meta")
    for use in (lambda: empty.log_prob(latents()[0]), lambda: empty.sample([0])):
        with pytest.raises(InvalidInputError, match="on the meta device"):
            use()
    empty = empty.to_empty(device="cpu")
    assert empty.means.dtype == torch.float64
    empty.reset_parameters()
    z, y = latents()
    assert torch.equal(
        empty.log_prob(z, y),
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False).log_prob(z, y),
    )
    empty.load_state_dict(gaussians.state_dict())
    z, y = latents()
    assert torch.equal(empty.log_prob(z, y), gaussians.log_prob(z, y))


@family
def test_to_the_core_and_back(covariance, tied):
    gaussians = fitted(covariance, tied)
    core = gaussians.class_gaussians(classes=["a", "b", "c", "d"])
    assert isinstance(core, ClassGaussians)
    assert core.classes.tolist() == ["a", "b", "c", "d"]
    as_numpy = core.to(np.zeros(1))
    for source in (core, as_numpy):
        back = LatentGaussians.from_class_gaussians(source)
        assert torch.equal(back.means, gaussians.means)
        assert torch.equal(back.covariances, gaussians.covariances)
    core.means.zero_()  # a copy
    assert bool((gaussians.means != 0).any())
    with pytest.raises(InvalidInputError, match="they must agree"):
        LatentGaussians(N_CLASSES, DIM + 1, covariance, tied).assign_(core)
    with pytest.raises(InvalidInputError, match="ClassGaussians"):
        gaussians.assign_(gaussians)
    with pytest.raises(InvalidInputError, match="ClassGaussians"):
        LatentGaussians.from_class_gaussians(gaussians)


def test_nothing_keeps_the_gaussians_alive():
    gaussians = fitted()
    z, y = latents()
    loss: Tensor = gaussians.log_prob(z.requires_grad_(), y).sum()
    gone = weakref.ref(gaussians)
    del gaussians
    assert gone() is None
    loss.backward()


# -- compiled ------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["diagonal", "dense"])
@pytest.mark.parametrize("tied", [False, True])
def test_one_graph_that_a_refit_does_not_recompile(covariance, tied):
    torch._dynamo.reset()
    gaussians = fitted(covariance, tied=tied)
    z, y = latents()
    counter = CompileCounter()
    compiled = torch.compile(gaussians.log_prob, fullgraph=True, backend=counter)
    some = y.clone()
    some[::5] = -1
    for labels in (y, some):
        torch.testing.assert_close(compiled(z, labels), gaussians.log_prob(z, labels))
    gaussians.fit_(z, y, 1.0)
    torch.testing.assert_close(compiled(z, y), gaussians.log_prob(z, y))
    # before 2.6, torch compiles once more
    assert counter.frame_count == (1 if torch.__version__ >= "2.6" else 2)


# -- classes held fixed --------------------------------------------------------------------


@family
def test_frozen_classes_keep_the_present_gaussians(covariance, tied):
    gaussians = fitted(covariance, tied)
    before = copy.deepcopy(gaussians)
    z, y = latents(seed=1)
    some = y >= 2  # there is no sample of the frozen ones
    with pytest.warns(PooledCovarianceWarning) if tied else nullcontext():
        result = gaussians.fit_(z[some], y[some], 2.0, init="current", frozen=(0, 1))
    assert result.converged
    assert torch.equal(gaussians.means[:2], before.means[:2])
    assert not torch.equal(gaussians.means[2:], before.means[2:])
    if not tied:
        assert torch.equal(gaussians.covariances[:2], before.covariances[:2])


def test_frozen_classes_need_gaussians_to_start_from():
    z, y = latents()
    for gaussians, init in (
        (LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), "current"),
        (fitted(), None),
    ):
        with pytest.raises(InvalidInputError, match=r'^frozen is \(0,\), .* init="current"'):
            gaussians.fit_(z, y, 1.0, init=init, frozen=[0])
    with pytest.raises(InvalidInputError, match=r"no sample of class 1"):
        fitted().fit_(z[y > 1], y[y > 1], 1.0, init="current", frozen=[0])
