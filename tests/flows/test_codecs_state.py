"""How codecs are saved, copied and loaded."""

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flow_builders import (
    MULTISCALE_FLOWS,
    VECTOR_FLOWS,
    TorchCoupling,
    freia_inn,
    normflows_realnvp,
)
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import SigmoidTransform, SoftplusTransform

from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentGaussians

N_CLASSES, DIM, IMAGE = 3, 4, (1, 4, 4)
CASES = [
    *((name, build, (DIM,)) for name, build in VECTOR_FLOWS.items()),
    *((f"{name}-multiscale", build, IMAGE) for name, build in MULTISCALE_FLOWS.items()),
]
each_flow = pytest.mark.parametrize(
    ("build", "shape"), [pytest.param(build, shape, id=name) for name, build, shape in CASES]
)


def model_of(build, shape, seed=0):
    size = DIM if shape == (DIM,) else 16
    flow = build(shape if len(shape) > 1 else size, seed=seed)
    return ClassFlow(flow, LatentGaussians(N_CLASSES, size, covariance="diagonal", tied=False))


def batch(shape, n=30):
    y = torch.arange(n) % N_CLASSES
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))
    return x + y.reshape(-1, *[1] * len(shape)), y


def stepped(model, shape):
    """Take one optimizer step: what libraries remember of it is attached to a graph."""
    x, y = batch(shape)
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    model(x, y).mean().backward()
    optimizer.step()
    model.gaussians.fit_(model.encode(x)[0], y, lam=0.5)
    return model


LOADING = """
import sys
import torch
from fpigauss_torch import ClassFlow
from flows_in_state import models
for name, model in models(seed=1).items():
    saved = torch.load(f"{name}.pt", weights_only=True)
    model.load_state_dict(saved["state"])
    drawn = model.sample([2, 0, 1], seed=5)
    torch.testing.assert_close(drawn, saved["drawn"], rtol=1e-4, atol=1e-5, msg=name)
    print(name)
"""


def test_a_loaded_state_samples_at_once_in_a_fresh_process(tmp_path):
    for name, build, shape in CASES:
        model = stepped(model_of(build, shape), shape)
        drawn = model.sample([2, 0, 1], seed=5)
        torch.save({"state": model.state_dict(), "drawn": drawn}, tmp_path / f"{name}.pt")
    tests = Path(__file__).parents[1]
    (tmp_path / "flows_in_state.py").write_text(
        "from test_codecs_state import CASES, model_of\n"
        "def models(seed):\n"
        "    return {n: model_of(build, shape, seed) for n, build, shape in CASES}\n"
    )
    paths = [str(p) for p in (tests.parent, tests, tests / "flows", tmp_path)]
    script = f"import sys\nsys.path[:0] = {paths!r}\n{LOADING}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [name for name, _, _ in CASES]


@each_flow
def test_copies_are_whole_and_apart(build, shape):
    model = stepped(model_of(build, shape), shape)
    x, y = batch(shape)
    expected = model(x, y).detach()
    duplicates = [copy.deepcopy(model)]
    if type(model.flow).__module__.partition(".")[0] != "FrEIA":  # keeps lambdas in its blocks
        stored = io.BytesIO()
        torch.save(model, stored)
        stored.seek(0)
        duplicates.append(torch.load(stored, weights_only=False))
        duplicates.append(pickle.loads(pickle.dumps(model)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for duplicate in duplicates:
        torch.testing.assert_close(duplicate(x, y).detach(), expected)
        drawn = duplicate.sample([0, 1], seed=0)
        torch.testing.assert_close(drawn, duplicates[0].sample([0, 1], seed=0))
        duplicate(x, y).mean().backward()  # trains what it has registered, not the original
        assert all(p.grad is not None for p in duplicate.parameters() if p.requires_grad)


def test_inverses_of_torch_are_copied():
    # torch itself loses the transform of an inverse: t.inv cannot be used after a deepcopy
    transforms = [TorchCoupling(DIM), SoftplusTransform(), SigmoidTransform().inv]
    base = Independent(Normal(torch.zeros(DIM), torch.ones(DIM)), 1)
    flow = TransformedDistribution(base, [*transforms[1:], TorchCoupling(DIM).inv])
    model = ClassFlow(flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False))
    x = model.flow.sample((5,))
    expected = model.log_prob(x)
    torch.testing.assert_close(expected, flow.log_prob(x), rtol=1e-4, atol=1e-4)
    for duplicate in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(duplicate.log_prob(x), expected)


def test_shapes_of_latents_are_saved_in_their_order():
    build = MULTISCALE_FLOWS["freia"]
    model = model_of(build, IMAGE)
    model.encode(batch(IMAGE)[0])
    assert model.codec.shapes == [(2, 2, 2), (8, 1, 1)]
    other = model_of(build, IMAGE, seed=1)
    other.load_state_dict(model.state_dict())
    assert other.codec.shapes == model.codec.shapes


def test_sampling_before_any_encode_or_load_says_what_to_do():
    model = model_of(normflows_realnvp, (DIM,))
    with pytest.raises(InvalidInputError, match="not known yet; encode a batch first"):
        model.sample([0, 1])


def test_a_state_from_before_any_encode_leaves_known_shapes():
    state = model_of(normflows_realnvp, (DIM,)).state_dict()
    model = model_of(normflows_realnvp, (DIM,), seed=1)
    model.encode(batch((DIM,))[0])
    model.load_state_dict(state)
    assert model.sample([0, 1]).shape == (2, DIM)


def test_a_state_of_another_library_is_refused():
    state = model_of(freia_inn, (DIM,)).state_dict()
    with pytest.raises(
        InvalidInputError, match=r"the state is that of a FreiaCodec, this is a Normfl"
    ):
        model_of(normflows_realnvp, (DIM,)).load_state_dict(state, strict=False)


def test_finding_a_codec_imports_no_flow_library():
    script = """
import sys
import torch
from torch.distributions import Independent, Normal, TransformedDistribution, ExpTransform
import fpigauss_torch
flow = TransformedDistribution(Normal(torch.zeros(2), torch.ones(2)), [ExpTransform()])
fpigauss_torch.codec_for(Independent(flow, 1)).encode(torch.ones(3, 2))
found = {"normflows", "nflows", "zuko", "FrEIA", "pyro"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", script], check=True)
