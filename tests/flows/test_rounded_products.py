"""Densities keep their digits where torch may round products of float32 matrices to a few bits.

Users allow it for their layers: in TF32 on a GPU, in bfloat16 on processors that have it.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import FAMILIES, FAMILY_IDS, random_covariances
from torch.utils._python_dispatch import TorchDispatchMode

from fpigauss import ClassGaussians
from fpigauss._array import rounding
from fpigauss._array.rounding import rounds_products
from fpigauss_torch import ClassDensity, LatentGaussians, mix_within_class, noise_along_axes

K, D = 60, 24
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


@pytest.fixture
def allowed():
    """Allow products to be rounded as far as torch can."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


class Products(TorchDispatchMode):
    """The dtypes of all products of matrices, those of backward passes among them."""

    def __init__(self):
        super().__init__()
        self.dtypes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in PRODUCTS:
            self.dtypes |= {x.dtype for x in args if isinstance(x, torch.Tensor)}
        return function(*args, **(kwargs or {}))


def gaussians_of(covariance, tied, spread):
    rng = np.random.default_rng(0)
    means = 5.0 + spread * rng.standard_normal((K, D))
    covariances = random_covariances(rng, K, D, covariance, tied)
    return ClassGaussians(means, covariances, covariance=covariance, tied=tied)


def rows_near(gaussians):
    rng = np.random.default_rng(1)
    own = np.arange(4 * K) % K
    return torch.tensor(gaussians.means[own] + rng.standard_normal((4 * K, D)), dtype=torch.float32)


# near one another, where squares are expanded; far, where rows are taken relative to a mean
@pytest.mark.parametrize("spread", [0.5, 30.0])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_densities_and_gradients_are_those_of_whole_products(covariance, tied, spread, allowed):
    gaussians = gaussians_of(covariance, tied, spread)
    prior = LatentGaussians.from_class_gaussians(gaussians)
    rows = rows_near(gaussians)
    x = rows.clone().requires_grad_()
    wide = rows.double().requires_grad_()
    with Products() as products:
        found = prior.class_log_prob(x)
        own = prior.log_prob(x, torch.arange(4 * K) % K)
        (gradient,) = torch.autograd.grad(prior.log_prob(x).sum(), x)
    assert torch.float32 not in products.dtypes
    expected = prior.class_log_prob(wide)
    (of_wide,) = torch.autograd.grad(prior.log_prob(wide).sum(), wide)
    # to about 1e-5 of their size, as documented, and a gradient as the rounding of rows moves it
    bound = 1e-5 * (expected.abs() + D)
    assert found.dtype == torch.float32
    assert bool(((found - expected).abs() <= bound).all())
    codes = torch.arange(4 * K) % K
    assert bool(((own - expected.gather(1, codes[:, None])[:, 0]).abs() <= bound.amin(1)).all())
    assert (gradient - of_wide).abs().max() <= 1e-4 * of_wide.abs().max()


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_those_of_the_core_too(covariance, tied, allowed):
    gaussians = gaussians_of(covariance, tied, 0.5)
    rows = rows_near(gaussians)
    on_torch = gaussians.to(rows)
    with Products() as products:
        found = on_torch.class_log_prob(rows)
        shares = on_torch.predict_proba(rows)
        of_labels = on_torch.log_prob(rows, np.arange(4 * K) % K)
        distances = on_torch.mahalanobis(rows)
    assert torch.float32 not in products.dtypes
    assert {x.dtype for x in (found, shares, of_labels, distances)} == {torch.float32}
    expected = torch.as_tensor(gaussians.class_log_prob(rows.double().numpy()))
    assert bool(((found - expected).abs() <= 1e-5 * (expected.abs() + D)).all())


def test_float32_is_left_alone_where_nothing_is_rounded():
    gaussians = gaussians_of("diagonal", False, 0.5)
    prior = LatentGaussians.from_class_gaussians(gaussians)
    prior.class_log_prob(rows_near(gaussians))  # prepares, in float64
    with Products() as products:
        prior.class_log_prob(rows_near(gaussians))
    assert products.dtypes == {torch.float32}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_graph_is_compiled_anew_where_the_setting_changes():
    torch._dynamo.reset()
    density = ClassDensity(torch.randn(K, D), torch.ones(1, D), torch.zeros(1))
    rows = density.means + 0.1
    compiled = torch.compile(density.by_class, backend="aot_eager", fullgraph=True)
    expected = compiled(rows)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = compiled(rows)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * D)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize(("precision", "rounded"), [("ieee", False), ("bf16", True)])
def test_the_newer_setting_of_each_device_is_read(device, precision, rounded, monkeypatch):
    backend = {"cuda": torch.backends.cuda, "cpu": torch.backends.mkldnn}[device]
    if not hasattr(backend.matmul, "fp32_precision"):
        pytest.skip("this torch has one setting for all devices: torch 2.9 or newer has more")
    monkeypatch.setattr(backend, "matmul", type("", (), {"fp32_precision": precision}))
    assert rounding.torch_rounds_products(device) is rounded
    assert rounding.torch_rounds_products("mps") is False


def test_only_accelerators_round_products_of_jax_and_numpy_never_does(monkeypatch):
    assert not rounds_products(np.zeros((2, 2), dtype=np.float32))
    monkeypatch.setattr(rounding.array_api_compat, "is_jax_array", lambda x: True)
    for backend, rounded in (("cpu", False), ("gpu", True), ("tpu", True)):
        jax = SimpleNamespace(default_backend=lambda backend=backend: backend)
        monkeypatch.setitem(sys.modules, "jax", jax)
        assert rounds_products(np.zeros((2, 2), dtype=np.float32)) is rounded


@pytest.mark.parametrize("move", [mix_within_class, noise_along_axes])
def test_latents_move_along_whole_axes(move, allowed):
    gaussians = gaussians_of("dense", False, 0.5)
    prior = LatentGaussians.from_class_gaussians(gaussians)
    rows, codes = rows_near(gaussians), torch.arange(4 * K) % K
    with Products() as products:
        moved = move(rows, codes, prior, n_axes=3, seed=0)
    assert torch.float32 not in products.dtypes
    wide = move(rows.double(), codes, prior, n_axes=3, seed=0)
    assert (moved - wide).abs().max() <= 1e-5 * wide.abs().max()
