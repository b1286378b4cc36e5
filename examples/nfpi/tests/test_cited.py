"""Kinds of models that Table 4 cites: cross-entropy, a variational autoencoder, an energy model."""

import math

import pytest
import torch
from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentGaussians

from nfpi.config import from_dict
from nfpi.data import load_images
from nfpi.energy import EnergyOptions, train_energy
from nfpi.flows import latent_dim, make_flow
from nfpi.flows.variational import log_prob_of_levels
from nfpi.gaussians import Objective
from nfpi.generation import generate_images
from nfpi.grid import Column, Grid, PlannedRun, Row, Table, make_grid
from nfpi.records import read_records
from nfpi.run import NonFiniteLossError, TrainingRun
from nfpi.runner import run_grid
from nfpi.training import train

SHAPE = (1, 8, 8)
TINY_VAE = {"latents": 4, "channels": 4, "hidden": 32}
TINY_ENERGY = {"epochs": 2, "batch_size": 50, "channels": 4, "steps": 2, "kept": 100}
CPU = torch.device("cpu")

# normflows still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")


@pytest.fixture(scope="module")
def digits():
    training, test = load_images("digits")
    return training.limited(400, 0), test


def config_of(**tables):
    base = {
        "flow": {"name": "vae", "options": TINY_VAE},
        "gaussians": {"lam": 1e3, "epochs": [1]},
        "training": {"epochs": 12, "batch_size": 50, "lr": 3e-3},
    }
    return from_dict(base | tables)


# -- cross-entropy -------------------------------------------------------------------------


def residual(**options):
    return {"name": "residual", "options": {"channels": 4, "steps": 1, **options}}


def test_cross_entropy_needs_no_log_determinant(digits):
    torch.manual_seed(0)
    x, y = digits[0].images[::8].float() / 256.0, digits[0].labels[::8]
    gradients = []
    for trains_logdet in (True, False):
        torch.manual_seed(1)
        flow = make_flow("residual", SHAPE, channels=4, steps=1, trains_logdet=trains_logdet)
        prior = LatentGaussians(10, 64, "isotropic", tied=True)
        model = ClassFlow(flow, prior)
        model.train().encode(x)  # initializes ActNorm
        prior.fit_(model.encode(x)[0].detach(), y, lam=10.0)
        torch.manual_seed(2)
        loss = Objective(model, cross_entropy=True)(x, y)
        loss.backward()
        gradients.append(flow.flows[0].iresblock.nnet.net[1].bias.grad)
    assert float(loss.detach()) < 2.5 and float(gradients[0].norm()) > 0.0
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_a_residual_flow_trains_on_cross_entropy_and_samples(digits):
    config = config_of(
        flow=residual(trains_logdet=False),
        gaussians={"lam": 1e3, "epochs": [0], "loss": "cross_entropy"},
        training={"epochs": 4, "batch_size": 50, "lr": 3e-3},
    )
    trained = train(config, data=digits)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert trained.metrics["nf_acc"] > 0.6
    assert generate_images(trained.judged, 10).images.shape == (10, *SHAPE)


@pytest.mark.parametrize(
    ("gaussians", "flow", "words"),
    [
        ({"loss": "likelihood"}, residual(trains_logdet=False), "trains_logdet.*cross_entropy"),
        ({"scheme": "layer", "loss": "cross_entropy"}, residual(), "cross_entropy.*layer"),
    ],
)
def test_losses_that_cannot_be_are_refused(digits, gaussians, flow, words):
    with pytest.raises(InvalidInputError, match=words):
        TrainingRun(config_of(gaussians=gaussians, flow=flow), digits[0], CPU, None)


# -- a variational autoencoder -------------------------------------------------------------


def test_levels_have_a_density():
    torch.manual_seed(0)
    location, log_scale = torch.rand(5, dtype=torch.float64), -5.0 * torch.rand(5).double()
    levels = (torch.arange(256, dtype=torch.float64)[:, None] + 0.5) / 256.0
    log_prob = log_prob_of_levels(levels.expand(256, 5), location, log_scale)
    torch.testing.assert_close(log_prob.exp().mean(0), torch.ones(5).double(), atol=1e-9, rtol=0)
    # every place within a level has the same density
    ends = log_prob_of_levels(levels + 0.4 / 256.0, location, log_scale)
    torch.testing.assert_close(ends, log_prob)


def test_the_bound_is_below_the_density():
    # one latent, whose density is found by summing over a grid of z
    torch.manual_seed(0)
    flow = make_flow("vae", SHAPE, latents=1, channels=2, hidden=8).double()
    x = torch.rand(3, *SHAPE, dtype=torch.float64)
    prior = LatentGaussians(2, 1, "isotropic", tied=True).double()
    model = ClassFlow(flow, prior).eval()
    with torch.no_grad():
        bound = torch.stack([-model(x, [0, 1, 1]) for _ in range(200)])
        z = torch.linspace(-6.0, 6.0, 601, dtype=torch.float64)[:, None]
        pixels = [part[:, None] for part in flow._pixels(z)]
        log_p = log_prob_of_levels(x.expand(601, -1, -1, -1, -1), *pixels).flatten(2).sum(2)
        log_prior = -0.5 * z.square() - 0.5 * math.log(2.0 * math.pi)
        exact = (log_p + log_prior).logsumexp(0) + math.log(0.02)
    assert bool((bound.mean(0) < exact + 4.0 * bound.std(0) / 200**0.5).all())


def test_an_autoencoder_trains_judges_and_generates_like_a_flow(digits):
    trained = train(config_of(), data=digits)
    assert trained.judged.gaussians.dim == 4 == latent_dim(SHAPE, trained.judged.flow)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"] - 100.0
    nll = trained.metrics["nll"]
    assert trained.metrics["bits_per_dim"] == pytest.approx(nll / (64 * math.log(2.0)) + 8.0)
    assert generate_images(trained.judged, 20).images.float().std() > 10.0


def test_sizes_that_cannot_be_halved_twice_are_refused():
    with pytest.raises(InvalidInputError, match="multiples of 4"):
        make_flow("vae", (1, 14, 14))


# -- an energy model -----------------------------------------------------------------------


def test_an_energy_model_without_energies_is_a_classifier(digits):
    options = EnergyOptions(
        **TINY_ENERGY | {"epochs": 12, "channels": 8, "lr": 1e-2, "weight": 0.0}
    )
    assert train_energy(*digits, options, seed=0, device=CPU).metrics["nf_acc"] > 0.6


def test_an_energy_model_draws_as_its_seed_says_and_equally_many_per_class(digits):
    options = EnergyOptions(**TINY_ENERGY)
    runs = [train_energy(*digits, options, seed=0, device=CPU) for _ in range(2)]
    assert runs[0].metrics["nf_acc"] == runs[1].metrics["nf_acc"]
    drawn = runs[0].generate(20, 1)
    assert drawn.labels.bincount().tolist() == [2] * 10 and drawn.images.shape == (20, *SHAPE)
    assert torch.equal(drawn.images, runs[1].generate(20, 1).images)


def test_energies_that_run_away_stop_the_run(digits):
    options = EnergyOptions(**TINY_ENERGY | {"lr": 1e3})
    with pytest.raises(NonFiniteLossError, match="the loss is"):
        train_energy(*digits, options, seed=0, device=CPU)


def test_energy_options_are_checked():
    with pytest.raises(InvalidInputError, match="kept is 10"):
        EnergyOptions(epochs=1, kept=10)


def test_a_grid_runs_an_energy_model(tmp_path):
    run = PlannedRun(
        "energy", "energy", 0, ("cited",), "digits", kind="energy", options=TINY_ENERGY
    )
    base = {
        "data": {"limit": 200},
        "evaluation": {"cnn": True, "n_generated": 40, "cnn_epochs": 1, "temperatures": [1.0]},
    }
    table = Table("Cited", (Column("nf_acc", "NF-Acc"),), (Row("energy", "energy"),))
    grid = Grid("small", "", base, (run,), {"cited": table}, claims=())
    assert run_grid(grid, grid.runs, tmp_path, {}).done == ["energy"]
    (record,) = read_records(tmp_path / "records")
    assert {"nf_acc", "cnn_acc_1", "processor_seconds"} == record["metrics"].keys() - {"seconds"}


# -- the grid ------------------------------------------------------------------------------


def test_rows_of_the_grid_see_the_same_images_and_gaussians():
    grid = make_grid("cited")
    assert {run.config["gaussians"]["lam"] for run in grid.runs} == {1e4}
    assert not any("data" in run.config for run in grid.runs)
    assert {run.kind for run in grid.runs} == {"flow", "energy"}
