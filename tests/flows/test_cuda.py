"""What only a GPU can show: compiled kernels, captured graphs, results beside those of the CPU."""

import copy
import io

import numpy as np
import pytest
import torch
from coupling import coupling_model

from fpigauss import ClassGaussians, fit_fixed_point
from fpigauss_torch import LatentGaussians, fixed_point_layer, mix_within_class, refit_

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    # torch's own, as it imports what compiles, and where products could be faster
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:TensorFloat32:UserWarning"),
]

K, D = 5, 4
Y = torch.arange(100) % K
X = torch.randn(100, D, generator=torch.Generator().manual_seed(0)) + 3.0 * Y[:, None]


@pytest.fixture
def model():
    model = coupling_model(K, D)
    refit_(model, [(X, Y)], lam=2.0)
    return model.cuda()


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("spread", [1.0, 100.0], ids=["near", "far"])
def test_a_compiled_flow_is_the_flow(model, mode, spread):
    torch._dynamo.reset()
    compiled = torch.compile(model, mode=mode)
    for _ in range(2):
        model.gaussians.means.mul_(spread)
        x = X.cuda().requires_grad_()
        loss = compiled(x, Y.cuda()).mean().clone()
        (gradient,) = torch.autograd.grad(loss, x)
        again = X.cuda().requires_grad_()
        expected = model(again, Y.cuda()).mean()
        (of_model,) = torch.autograd.grad(expected, again)
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient, of_model, rtol=1e-4, atol=1e-5)
    mixture = torch.compile(model.log_prob)(X.cuda())
    torch.testing.assert_close(mixture, model.log_prob(X.cuda()), rtol=1e-5, atol=1e-5 * D)


def test_densities_are_captured_in_a_graph(model):
    z = X.cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            model.gaussians.class_log_prob(z)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = model.gaussians.class_log_prob(z)
    z += 1.0
    graph.replay()
    torch.testing.assert_close(found, model.gaussians.class_log_prob(z))


@pytest.mark.parametrize("options", [{}, {"tied": True}, {"covariance": "dense", "pi": "mean"}])
def test_fits_and_their_gradients_are_those_of_the_cpu(options):
    found, gradients = [], []
    for device in ("cpu", "cuda"):
        z = X.double().to(device)
        found.append(fit_fixed_point(z, Y, 2.0, **options).gaussians)
        rows = z.clone().requires_grad_()
        fixed_point_layer(rows, Y.to(device), 2.0, **options).means.square().sum().backward()
        gradients.append(rows.grad.cpu())
    torch.testing.assert_close(found[1].means.cpu(), found[0].means, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-8, atol=1e-9)


def test_everything_runs_where_only_deterministic_kernels_may(model, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    x, y = X.cuda(), Y.cuda()
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            refit_(model, [(x, y)], lam=2.0)
            model(x, y).mean().backward()
            model.predict_proba(x)
            model.sample([0, 1], seed=0)
            mix_within_class(x, y, model.gaussians, seed=0)
            fixed_point_layer(x.clone().requires_grad_(), y, 1.0).means.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_states_copies_and_files_cross_devices(model, tmp_path):
    expected = model.class_log_prob(X.cuda()).cpu()
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    here = coupling_model(K, D)
    here.load_state_dict(torch.load(buffer, map_location="cpu", weights_only=True))
    there = copy.deepcopy(model).cpu().double().float()
    for same in (here, there, copy.deepcopy(here).cuda()):
        device = same.gaussians.means.device
        torch.testing.assert_close(
            same.class_log_prob(X.to(device)).cpu(), expected, rtol=1e-5, atol=1e-5 * D
        )
    model.gaussians.class_gaussians().save(tmp_path / "gaussians.npz")
    loaded = ClassGaussians.load(tmp_path / "gaussians.npz")
    np.testing.assert_array_equal(loaded.means, model.gaussians.means.cpu().numpy())


def test_products_in_tf32_cost_no_digits():
    rng = np.random.default_rng(0)
    means = 0.5 * rng.standard_normal((200, 256))
    gaussians = ClassGaussians(means, rng.uniform(0.5, 2.0, size=(200, 256)))
    prior = LatentGaussians.from_class_gaussians(gaussians).cuda()
    rows = torch.tensor(means, dtype=torch.float32, device="cuda")
    expected = prior.class_log_prob(rows.double())
    torch.set_float32_matmul_precision("high")
    try:
        found = prior.class_log_prob(rows)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert bool(((found - expected).abs() <= 1e-5 * (expected.abs() + 256)).all())


def test_memory_that_runs_out_is_told_as_that(model):
    rows = X.cuda().repeat(50_000, 1)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(1.5 * torch.cuda.memory_allocated() / total)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            model.predict_proba(rows)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
