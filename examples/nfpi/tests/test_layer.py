"""Training through the fixed point: the loss, the memory, and what is refused."""

import pytest
import torch
from fpigauss import InvalidInputError

from nfpi.config import from_dict
from nfpi.data import load_images
from nfpi.layer import outer_loss
from nfpi.run import TrainingRun
from nfpi.training import train

BASE = {
    "flow": {"name": "coupling", "options": {"n_couplings": 2, "hidden": 16}},
    "gaussians": {"scheme": "layer", "lam": 100.0, "gradient": "batch", "epochs": [1]},
    "training": {"epochs": 3, "batch_size": 128},
}


def layered(**gaussians):
    return from_dict(BASE | {"gaussians": BASE["gaussians"] | gaussians})


@pytest.fixture(scope="module")
def images():
    return load_images("digits")[0].limited(512, 0)


def run_of(config, images):
    return TrainingRun(config, images, torch.device("cpu"), None)


def gradients(images, **gaussians):
    """Return the gradient in the flow's weights at the second batch of the layer."""
    run = run_of(layered(**gaussians), images)
    run.epoch(0)
    run.objective.active = True
    (x, y), (x_next, y_next) = list(run.batches.epoch(1))[:2]
    with torch.no_grad():
        run.objective(x, y)
    loss = run.objective(x_next, y_next)
    run.optimizer.zero_grad()
    loss.backward()
    return loss.detach(), torch.cat([w.grad.ravel() for w in run.model.parameters()])


def test_outer_loss_is_the_likelihood_plus_a_part_of_the_cross_entropy():
    by_class, y = torch.randn(5, 3), torch.tensor([0, 2, 1, 0, 1])
    nll = -by_class[torch.arange(5), y]
    assert torch.equal(outer_loss(by_class, y, 1.0), nll)
    entropy = nll + by_class.logsumexp(1)
    assert torch.allclose(outer_loss(by_class, y, 4.0), nll + 3.0 * entropy)


def test_gradients_differ_by_the_share_of_the_batch(images):
    (loss, held), (_, batch), (_, whole) = (
        gradients(images, gradient=kind) for kind in ("held", "batch", "whole")
    )
    assert torch.isfinite(loss)
    share = 128 / (128 + 0.9 * 128)
    assert (batch - held).norm() > 1e-3 * held.norm()
    torch.testing.assert_close(share * (whole - held), batch - held, rtol=1e-3, atol=1e-4)


def test_without_a_memory_the_batch_is_all(images):
    run = run_of(layered(decay=0.0, loss="held_out"), images)
    run.epoch(0)
    entry = run.epoch(1)
    assert run.objective.memory is None
    assert torch.isfinite(torch.tensor(entry["loss"]))
    assert "fit_status" in run.epoch(2)  # to all rows, at the end


def test_a_resumed_run_remembers(images, tmp_path):
    data = (images, images)
    whole = train(layered(), folder=tmp_path / "whole", data=data)

    def kill(entry):
        if entry["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(layered(), folder=tmp_path / "parts", data=data, callback=kill)
    parts = train(layered(), folder=tmp_path / "parts", data=data)
    assert parts.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], abs=1e-2)
    assert whole.metrics["fit_status"] == "converged"


def test_a_loss_that_only_the_layer_has_is_refused(images):
    with pytest.raises(InvalidInputError, match=r"held_out.*fixed_point"):
        run_of(layered(scheme="fixed_point", loss="held_out"), images)


def test_refits_find_a_separation(images):
    config = layered(scheme="fixed_point", separation=50.0, epochs=[1, 2])
    trained = train(config, data=(images, images))
    assert trained.metrics["smallest_kld"] >= 49.0
