"""The parts of the TarFlow example: its bijection, its cache, and the removal of noise."""

import importlib
from pathlib import Path

import pytest
import torch

from fpigauss_torch import ClassFlow, LatentGaussians, TarFlowCodec

FOLDER = Path(__file__).parents[2] / "examples" / "flows"
DIM = 16


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("tarflow_digits")


@pytest.fixture
def flow(example):
    """Build a small flow in float64, away from the identity at which it starts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = example.TarFlow(size=4, n_blocks=3, n_layers=2, width=8, heads=2).double()
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
    return flow


def images(n=5):
    return torch.randn(n, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_log_determinant_is_that_of_the_jacobian(flow):
    model = ClassFlow(flow, LatentGaussians(2, DIM), codec=TarFlowCodec).double()
    x = images(2)
    _, logdet = model.encode(x)
    for one, told in zip(x, logdet, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda x: model.encode(x[None])[0].flatten(), one
        )
        exact = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(told.detach(), exact, rtol=1e-10, atol=1e-10)
        assert exact.abs() > 0.05


@torch.no_grad()
def test_cache_changes_nothing(flow):
    z = torch.randn(5, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with_cache, without = flow.reverse(z), flow.reverse(z, cached=False)
    torch.testing.assert_close(with_cache, without, rtol=0, atol=1e-12)
    torch.testing.assert_close(flow(with_cache)[0], z, rtol=0, atol=1e-10)


@torch.no_grad()
def test_order_of_patches_alternates(flow):
    x = images(1)
    first = [block(flow.patchify(x))[0] == flow.patchify(x) for block in flow.blocks]
    kept = [each.all(2).squeeze(0).tolist() for each in first]
    assert kept == [[True] + 3 * [False], 3 * [False] + [True], [True] + 3 * [False]]


def test_digits_know_their_clean_versions(example):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        digits = example.Digits(noise=2.0)
        x, _ = next(iter(digits.loader))
    noise = (digits.x_test - digits.clean_test) * digits.scale
    assert noise.std() == pytest.approx(2.0, rel=0.02)  # of 23,040 numbers
    plain = example.Digits()
    assert plain.x_test is plain.clean_test
    assert x.std() == pytest.approx(1.0, rel=0.1)


def test_noise_is_removed_as_far_as_is_known(example):
    # under N(0, 1), of which 0.5^2 is noise, the expected clean sample is 0.75 x
    model = ClassFlow(
        None, LatentGaussians(2, DIM), codec=(lambda x: (x, x.new_zeros(len(x))), lambda z: z)
    ).double()
    x = images()
    clean = example.denoised(model, x, torch.tensor([0, 1, 0, 1, 0]), 0.5)
    torch.testing.assert_close(clean, 0.75 * x, rtol=1e-12, atol=1e-12)
    assert not clean.requires_grad
