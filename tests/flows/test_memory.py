"""Predictions of many rows under many classes: in blocks, within a limit, with the same results."""

import subprocess
import sys

import pytest
import torch
from coupling import coupling_model
from helpers import FAMILIES, FAMILY_IDS

from fpigauss import InvalidInputError
from fpigauss_torch import LatentGaussians, rejection_score, typicality_score

N_CLASSES, DIM = 5, 4


def fitted(covariance="diagonal", tied=False):
    y = torch.arange(200) % N_CLASSES
    z = torch.randn(200, DIM, generator=torch.Generator().manual_seed(0)) + 3.0 * y[:, None]
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance, tied)
    gaussians.fit_(z, y, 1.0)
    return gaussians, z


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_blocks_change_nothing(covariance, tied):
    gaussians, z = fitted(covariance, tied)
    expected = gaussians.class_log_prob(z)
    for limit in (1, 1000, 2**30):  # a row at a time, a few, and all
        assert torch.equal(gaussians.predict(z, memory_limit=limit), expected.argmax(1))
        found = gaussians.predict_proba(z, 2.0, memory_limit=limit)
        torch.testing.assert_close(found, torch.softmax(expected / 2.0, 1))
    assert gaussians.predict(z[:0], memory_limit=1).shape == (0,)
    assert gaussians.predict_proba(z[:0], memory_limit=1).shape == (0, N_CLASSES)


def test_flows_pass_the_limit_on(monkeypatch):
    model = coupling_model(N_CLASSES, DIM)
    _, x = fitted()
    model.gaussians.fit_(model.encode(x)[0].detach(), torch.arange(200) % N_CLASSES, 1.0)
    whole = model.predict(x), model.predict_proba(x), rejection_score(model, x)
    labels = torch.arange(200) % (N_CLASSES + 1) - 1
    with torch.no_grad():
        mixed = model.log_prob(x, labels)
    scores = typicality_score(model, x)
    seen = []
    of_rows = type(model.gaussians).class_log_prob
    monkeypatch.setattr(
        type(model.gaussians),
        "class_log_prob",
        lambda self, z: (seen.append(len(z)), of_rows(self, z))[1],
    )
    assert torch.equal(model.predict(x, memory_limit=1000), whole[0])
    torch.testing.assert_close(model.predict_proba(x, memory_limit=1000), whole[1])
    assert max(seen) <= 3
    seen.clear()
    monkeypatch.setattr("fpigauss_torch._support.blocks._IN_CACHE", 1000)
    torch.testing.assert_close(rejection_score(model, x), whole[2])
    torch.testing.assert_close(typicality_score(model, x), scores)
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(x, labels), mixed)
    assert max(seen) <= 3
    # gradients need all rows at once
    x.requires_grad_()
    model.log_prob(x).sum().backward()
    assert seen[-1] == 200 and x.grad.isfinite().all() and x.grad.abs().sum() > 0.0


@pytest.mark.parametrize("limit", [0, -1, 2.5, "all", None])
def test_bad_limits(limit):
    gaussians, z = fitted()
    for call in (gaussians.predict, gaussians.predict_proba):
        with pytest.raises(InvalidInputError, match="memory_limit is"):
            call(z, memory_limit=limit)


PEAK = """
import resource
import torch
from fpigauss_torch import LatentGaussians

torch.set_num_threads(1)
gaussians = LatentGaussians(1000, 8)
z = torch.randn(200_000, 8)
gaussians.predict(z[:100])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with torch.no_grad():
    gaussians.predict(z), gaussians.log_prob(z)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux only")
def test_the_peak_is_far_below_one_table_of_densities():
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    table = 200_000 * 1000 * 4 / 2**10  # kB
    assert int(done.stdout) < table / 3
