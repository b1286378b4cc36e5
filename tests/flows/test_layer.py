"""The fixed point as a layer of torch."""

import numpy as np
import pytest
import torch
from helpers import FAMILIES, FAMILY_IDS, blobs
from torch.autograd import forward_ad

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    InvalidInputError,
    NotDifferentiableError,
    RunningStatistics,
    fit_fixed_point,
)
from fpigauss_torch import fixed_point_layer, fixed_point_layer_of

K, DIM, LAM, TOL = 3, 2, 1.0, 1e-12


def data(dtype=torch.float64, seed=0):
    z, y = blobs(K, DIM, 12, seed=seed, spread=1.5)
    return torch.tensor(z, dtype=dtype, requires_grad=True), torch.tensor(y)


def scalar(fit, seed=1):
    """A random linear function of the means and covariances."""
    rng = np.random.default_rng(seed)
    parts = (fit.means, fit.covariances)
    draws = [torch.tensor(rng.standard_normal(tuple(x.shape)), dtype=x.dtype) for x in parts]
    return sum((a * b).sum() for a, b in zip(parts, draws, strict=True))


@pytest.mark.parametrize("pi", ["forward", 3.0, "initial"])
@pytest.mark.parametrize("update", ["both", "means", "covariances"])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_is_that_of_the_core(covariance, tied, update, pi):
    z, y = data()
    weight = torch.linspace(0.5, 2.0, len(z), dtype=torch.float64, requires_grad=True)
    lam = torch.tensor(LAM, dtype=torch.float64, requires_grad=True)
    options = {"covariance": covariance, "tied": tied, "update": update, "pi": pi, "tol": TOL}
    fit = fixed_point_layer(z, y, lam, sample_weight=weight, **options)
    assert fit.converged and fit.residual <= TOL and fit.status == "converged"
    scalar(fit).backward()
    plain = [x.detach().numpy() for x in (z, weight)]
    result = fit_fixed_point(plain[0], y.numpy(), LAM, sample_weight=plain[1], **options)
    rng = np.random.default_rng(1)
    shapes = (result.gaussians.means.shape, result.gaussians.covariances.shape)
    gradient = result.vjp(*(rng.standard_normal(shape) for shape in shapes))
    of_z, of_weight = gradient.of_samples(plain[0], y.numpy(), plain[1])
    np.testing.assert_allclose(z.grad.numpy(), of_z, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(weight.grad.numpy(), of_weight, rtol=1e-8, atol=1e-10)
    assert lam.grad.item() == pytest.approx(gradient.lam, rel=1e-8)


def test_gradcheck():
    z, y = data()
    weight = torch.linspace(0.5, 2.0, len(z), dtype=torch.float64, requires_grad=True)
    lam = torch.tensor(LAM, dtype=torch.float64, requires_grad=True)

    def fitted(z, weight, lam):
        fit = fixed_point_layer(
            z, y, lam, sample_weight=weight, covariance="dense", tied=True, tol=TOL
        )
        return fit.means, fit.covariances, fit.gaussians.log_prob(z, y).sum()

    assert torch.autograd.gradcheck(fitted, (z, weight, lam), eps=1e-4, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_of_statistics(covariance, tied):
    z, y = data()
    kind = "dense" if covariance == "dense" else "diagonal"
    statistics = ClassStatistics.from_samples(z, y, covariance=kind)
    means = statistics.means.clone().requires_grad_()
    covariances = statistics.covariances.clone().requires_grad_()
    options = {"covariance": covariance, "tied": tied, "tol": TOL}
    fit = fixed_point_layer_of(statistics.counts, means, covariances, LAM, **options)
    scalar(fit).backward()
    gradient = statistics_gradient(z, y, options)
    np.testing.assert_allclose(means.grad, gradient.means, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(covariances.grad, gradient.covariances, rtol=1e-8, atol=1e-10)


def statistics_gradient(z, y, options):
    result = fit_fixed_point(z.detach().numpy(), y.numpy(), LAM, **options)
    rng = np.random.default_rng(1)
    shapes = (result.gaussians.means.shape, result.gaussians.covariances.shape)
    return result.vjp(*(rng.standard_normal(shape) for shape in shapes))


def test_the_path_of_the_objective_itself_vanishes():
    """Envelope theorem: with Gaussians that follow, the gradient is that of held ones."""
    z, y = data()
    fit = fixed_point_layer(z, y, LAM, tied=True, tol=TOL)

    def objective(gaussians):
        gap = (gaussians.means[:, None] - gaussians.means[None]) ** 2 / gaussians.covariances
        kld = 0.5 * gap.sum(-1)[~torch.eye(K, dtype=torch.bool)]
        nll = -gaussians.log_prob(z, y)
        share = torch.bincount(y)[y]
        return (nll / share).sum() - LAM * np.exp(-1.0) * kld.log().mean()

    (followed,) = torch.autograd.grad(objective(fit.gaussians), z)
    held = fit_fixed_point(z, y, LAM, tied=True, tol=TOL).gaussians
    (stayed,) = torch.autograd.grad(objective(held), z)
    torch.testing.assert_close(followed, stayed, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_is_solved_in_float64(dtype):
    z, y = data(dtype)
    fit = fixed_point_layer(z, y, LAM, covariance="dense", tol=1e-10)
    assert fit.means.dtype == fit.covariances.dtype == dtype
    scalar(fit).backward()
    exact = z.detach().double().requires_grad_()
    scalar(fixed_point_layer(exact, y, LAM, covariance="dense", tol=1e-10)).backward()
    error = (z.grad.double() - exact.grad).abs().max() / exact.grad.abs().max()
    assert error <= 8 * torch.finfo(dtype).eps


def test_warm_starts_carry_gradients_of_what_they_hold():
    z, y = data()
    first = fixed_point_layer(z, y, 0.0, tol=TOL)
    fit = fixed_point_layer(z, y, LAM, init=first.gaussians, update="means", tol=TOL)
    (found,) = torch.autograd.grad(scalar(fit), z)
    plain = fixed_point_layer(z, y, LAM, update="means", tol=TOL)
    (expected,) = torch.autograd.grad(scalar(plain), z)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_without_a_gradient_nothing_is_kept_and_an_unfinished_fit_is_a_warning():
    z, y = data()
    with torch.no_grad(), pytest.warns(UserWarning, match="max_iter"):
        fit = fixed_point_layer(z, y, 50.0, tied=True, max_iter=2)
    assert not fit.means.requires_grad and fit.status == "max_iter"
    with (
        pytest.warns(UserWarning, match="max_iter"),
        pytest.raises(NotDifferentiableError, match='status "max_iter"'),
    ):
        fixed_point_layer(z, y, 50.0, tied=True, max_iter=2)


def test_a_class_that_is_missing_is_named_or_remembered():
    z, y = data()
    with pytest.raises(InvalidInputError, match="no sample of class 3"):
        fixed_point_layer(z, y, LAM, classes=[0, 1, 2, 3])
    memory = RunningStatistics(0.9, classes=[0, 1, 2]).update(z.detach(), y)
    some = y > 0
    fit = fixed_point_layer(z[some], y[some], LAM, memory=memory)
    assert fit.gaussians.n_classes == 3
    scalar(fit).backward()
    assert bool((z.grad[~some] == 0.0).all()) and bool((z.grad[some] != 0.0).any())


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_with_memory_the_gradient_is_that_of_this_batch(covariance, tied):
    old, y = data(seed=3)
    z = data(seed=4)[0]
    kind = "dense" if covariance == "dense" else "diagonal"
    memory = RunningStatistics(0.5, covariance=kind).update(old.detach(), y)
    options = {"covariance": covariance, "tied": tied, "tol": TOL}

    def function(z):
        return scalar(fixed_point_layer(z, y, LAM, memory=memory, **options))

    (gradient,) = torch.autograd.grad(function(z), z)
    step = torch.tensor(np.random.default_rng(5).standard_normal(z.shape))
    with torch.no_grad():
        near, far = (function(z + t * step) - function(z - t * step) for t in (1e-3, 2e-3))
    expected = (8 * near - far) / 12e-3
    assert (gradient * step).sum().item() == pytest.approx(expected.item(), rel=1e-6)
    assert function(z).requires_grad and not old.grad


def test_a_memory_that_was_loaded_goes_on_as_tensors(tmp_path):
    z, y = data()
    memory = RunningStatistics(0.9).update(z, y)
    memory.save(tmp_path / "memory.npz")
    fits = [
        fixed_point_layer(z, y, LAM, memory=m)
        for m in (memory, RunningStatistics.load(tmp_path / "memory.npz"))
    ]
    expected, found = (torch.autograd.grad(scalar(fit), z) for fit in fits)
    torch.testing.assert_close(found, expected)
    assert isinstance(fits[1].memory.statistics.means, torch.Tensor)


def test_strings_are_labels_too():
    z, y = data()
    names = [["a", "b", "c"][k] for k in y.tolist()]
    found, known = (scalar(fixed_point_layer(z, labels, LAM)) for labels in (names, y))
    torch.testing.assert_close(*(torch.autograd.grad(x, z)[0] for x in (found, known)))


def test_transforms_of_torch_func_are_refused():
    z, y = data()

    def function(z):
        return scalar(fixed_point_layer(z, y, LAM))

    with pytest.raises(InvalidInputError, match=r"torch\.func"):
        torch.func.grad(function)(z.detach())
    with pytest.raises(InvalidInputError, match=r"torch\.func"):
        torch.func.vmap(function)(z.detach()[None])


# as torch loads what forward mode decomposes into
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("of", ["z", "lam"])
def test_forward_mode_is_refused(of):
    z, y = data()
    given = {"z": z.detach(), "lam": torch.tensor(LAM)}
    with forward_ad.dual_level():
        given[of] = forward_ad.make_dual(given[of], torch.ones_like(given[of]))
        with pytest.raises(InvalidInputError, match="forward-mode"):
            fixed_point_layer(y=y, **given)


def test_many_cotangents_at_once_are_refused():
    z, y = data()
    means = fixed_point_layer(z, y, LAM).means
    ones = torch.ones(2, *means.shape, dtype=means.dtype)
    with pytest.raises(InvalidInputError, match="take them one by one"):
        torch.autograd.grad(means, z, ones, is_grads_batched=True)


def test_second_derivatives_are_an_error():
    z, y = data()
    loss = scalar(fixed_point_layer(z, y, LAM)) + (z**3).sum()
    (first,) = torch.autograd.grad(loss, z, create_graph=True)
    with pytest.raises(NotDifferentiableError, match="no second derivatives"):
        (first**2).sum().backward()


@pytest.mark.parametrize("of", ["latents", "weights", "lam", "statistics"])
def test_autograd_does_not_take_a_gradient_for_a_constant(of):
    # autograd.grad visits only what leads to the tensors asked for
    z, y = data()
    inputs = {
        "latents": z,
        "weights": torch.ones(len(y), dtype=torch.float64, requires_grad=True),
        "lam": torch.tensor(LAM, dtype=torch.float64, requires_grad=True),
    }
    if of == "statistics":
        statistics = ClassStatistics.from_samples(z.detach(), y)
        inputs[of] = statistics.means.requires_grad_()
        covariances = statistics.covariances
        fit = fixed_point_layer_of(statistics.counts, inputs[of], covariances, LAM)
    else:
        weights = inputs["weights"] if of == "weights" else None
        lam = inputs["lam"] if of == "lam" else LAM
        fit = fixed_point_layer(z, y, lam, sample_weight=weights)
    x = inputs[of]
    (first,) = torch.autograd.grad(scalar(fit), x, create_graph=True)
    with pytest.raises(NotDifferentiableError, match="no second derivatives"):
        torch.autograd.grad((first**2).sum() + (x**3).sum(), x)


def test_there_is_no_hessian_of_zeros():
    z, y = data()
    with pytest.raises(NotDifferentiableError, match="no second derivatives"):
        torch.autograd.functional.hessian(lambda z: scalar(fixed_point_layer(z, y, LAM)), z)


# torch.compile looks at .grad of what the layer returns
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_what_surrounds_it_is_compiled():
    z, y = data()

    def loss(z):
        fit = fixed_point_layer(torch.tanh(z), y, LAM, tied=True)
        return (fit.means**2).sum()

    expected = torch.autograd.grad(loss(z), z)[0]
    found = torch.autograd.grad(torch.compile(loss, backend="eager")(z), z)[0]
    torch.testing.assert_close(found, expected)


# array-api-compat's caches are traced through
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_densities_of_its_gaussians_are_compiled_too():
    z, y = data()

    def loss(z):
        fit = fixed_point_layer(torch.tanh(z), y, LAM, tied=True)
        return torch.nn.functional.cross_entropy(fit.gaussians.class_log_prob(torch.tanh(z)), y)

    expected = torch.autograd.grad(loss(z), z)[0]
    found = torch.autograd.grad(torch.compile(loss, backend="eager")(z), z)[0]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": np.zeros((4, 2))}, "z is a ndarray; pass a tensor"),
        ({"z": torch.zeros(4, 2, device="meta")}, "z is on the meta device"),
        ({"lam": -1.0}, "lam"),
        ({"lam": torch.ones(2)}, r"lam has shape \(2,\); pass one number"),
        ({"memory": 0.9}, "memory is a float; pass a RunningStatistics"),
        (
            {"memory": RunningStatistics(0.9), "covariance": "dense"},
            "memory has diagonal covariances",
        ),
        ({"memory": RunningStatistics(0.9), "classes": [0, 1, 2]}, "RunningStatistics alone"),
        ({"y": [0, 1]}, "2 labels"),
        ({"sample_weight": torch.ones(3)}, "sample_weight has shape"),
        ({"equations": "printed"}, "have no gradient"),
        ({"covarianse": "dense"}, "did you mean covariance"),
    ],
)
def test_bad_input(change, message):
    z, y = data()
    with pytest.raises(InvalidInputError, match=message):
        fixed_point_layer(**({"z": z, "y": y, "lam": LAM} | change))


def test_lam_may_have_an_axis_or_low_precision():
    z, y = data()
    for lam in (torch.tensor([LAM]), torch.tensor(LAM, dtype=torch.bfloat16)):
        scalar(fixed_point_layer(z, y, lam.requires_grad_())).backward()
        assert lam.grad.shape == lam.shape and lam.grad.dtype == lam.dtype


def test_an_in_place_change_of_the_latents_is_found():
    z, y = data()
    moved = z * 1.0
    fit = fixed_point_layer(moved, y, LAM)
    with torch.no_grad():
        moved += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        scalar(fit).backward()


@pytest.mark.parametrize("writable", [True, False])
def test_a_change_of_weights_in_an_array_does_not_reach_the_gradient(writable):
    z, y = data()
    weights = np.linspace(0.5, 2.0, len(y), dtype=np.longdouble if writable else np.float64)
    weights.setflags(write=writable)
    expected = torch.autograd.grad(
        scalar(fixed_point_layer(z, y, LAM, sample_weight=torch.tensor(weights.astype(float)))), z
    )
    fit = fixed_point_layer(z, y, LAM, sample_weight=weights)
    if writable:
        weights *= 5.0
    torch.testing.assert_close(torch.autograd.grad(scalar(fit), z), expected)


def test_of_statistics_in_arrays_beside_tensors():
    means = torch.tensor([[1.0], [4.0]], requires_grad=True)
    counts, covariances = np.array([2.0, 2.0], dtype=np.longdouble), np.ones((2, 1))
    covariances.setflags(write=False)
    scalar(fixed_point_layer_of(counts, means, covariances, LAM, tied=True)).backward()
    assert means.grad.abs().sum() > 0.0


def test_of_latents_from_inference_mode():
    z, y = data()
    weights = torch.ones(len(y), dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(
        scalar(fixed_point_layer(z.detach(), y, LAM, sample_weight=weights)), weights
    )
    with torch.inference_mode():
        latents = z.detach() * 1.0
    fit = fixed_point_layer(latents, y, LAM, sample_weight=weights)
    torch.testing.assert_close(torch.autograd.grad(scalar(fit), weights), expected)


@pytest.mark.parametrize("size", [1e-250, 1e250])
def test_the_gradient_is_proportional_to_what_arrives(size):
    z, y = data()
    fit = fixed_point_layer(z, y, LAM)
    (unit,) = torch.autograd.grad(scalar(fit), z, retain_graph=True)
    (found,) = torch.autograd.grad(size * scalar(fit), z)
    torch.testing.assert_close(found / size, unit)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_makes_all_gradients_nan(value):
    """As GradScaler expects of a step that it scaled too far."""
    z, y = data()
    lam = torch.tensor(LAM, requires_grad=True)
    weights = torch.ones(len(y), requires_grad=True)
    fit = fixed_point_layer(z, y, lam, sample_weight=weights)
    (value * fit.covariances.sum()).backward()
    assert all(x.grad.isnan().all() for x in (z, lam, weights))


def test_a_scaled_step_that_overflows_is_skipped():
    z, y = data(torch.float32)
    before, optimizer = z.detach().clone(), torch.optim.SGD([z], 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    fit = fixed_point_layer(z, y, LAM)
    scaler.scale((1e4 * fit.means.half()).sum().float()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**15
    torch.testing.assert_close(z.detach(), before)


def test_init_of_another_library_is_held():
    z, y = data()
    init = fit_fixed_point(z.detach().numpy(), y.numpy(), LAM).gaussians
    assert isinstance(init, ClassGaussians)
    fit = fixed_point_layer(z, y, LAM, init=init)
    scalar(fit).backward()
    assert bool(torch.isfinite(z.grad).all())


# -- against unrolled iterations -----------------------------------------------------------


def unrolled(z, y, n_steps):
    """Plain updates of a tied diagonal family (Eqs. 5 to 7), in the graph: v <- sqrt(B v / A)."""
    m = torch.stack([z[y == k].mean(0) for k in range(K)])
    c = torch.stack([z[y == k].var(0, correction=0) for k in range(K)])
    mu, v = m, c.mean(0)
    own = torch.eye(K, dtype=z.dtype)
    for _ in range(n_steps):
        gap = mu[:, None] - mu[None, :]
        kld = 0.5 * (gap**2 / v).sum(-1) + own
        w = LAM / (K * (K - 1)) * np.exp(-1.0) / kld * (1.0 - own)
        a = K / v + (w[:, :, None] * gap**2).sum((0, 1)) / v**2
        b = (c + (m - mu) ** 2).sum(0)
        mu = m + 2.0 * (w[:, :, None] * gap).sum(1)
        v = torch.sqrt(b / a)
    return mu, v


class SavedBytes:
    """Bytes of the tensors that graphs made inside have saved."""

    def __enter__(self):
        self.storages = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda x: x)
        self.hooks.__enter__()
        return self

    def pack(self, x):
        self.storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    def __exit__(self, *args):
        self.hooks.__exit__(*args)

    @property
    def total(self):
        return sum(self.storages.values())


def bytes_within(value, seen=None):
    """Bytes of the arrays and tensors that an object leads to, through fields and containers."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        return value.untyped_storage().nbytes()
    if isinstance(value, np.ndarray):
        return value.nbytes
    inside = list(getattr(value, "__dict__", {}).values())
    if isinstance(value, dict):
        inside += value.values()
    elif isinstance(value, tuple | list):
        inside += value
    return sum(bytes_within(part, seen) for part in inside)


def test_agrees_with_unrolled_differentiation_in_a_tenth_of_its_memory():
    z, y = data()
    rng = np.random.default_rng(1)
    draws = [torch.tensor(rng.standard_normal(shape)) for shape in ((K, DIM), DIM)]

    kept = [0]  # beside the graph: by unrolled iterations, and by the layer

    def layer():
        fit = fixed_point_layer(z, y, LAM, tied=True, tol=TOL)
        kept.append(bytes_within(fit.result._adjoint))
        return fit.means, fit.covariances

    gradients, saved = [], []
    for function in (lambda: unrolled(z, y, 100), layer):
        with SavedBytes() as held:
            value = sum((a * b).sum() for a, b in zip(function(), draws, strict=True))
        gradients.append(torch.autograd.grad(value, z)[0])
        saved.append(held.total + kept[-1])
    unrolled_gradient, gradient = gradients
    error = (gradient - unrolled_gradient).abs().max() / unrolled_gradient.abs().max()
    assert error <= 1e-6
    assert saved[1] <= saved[0] / 10
