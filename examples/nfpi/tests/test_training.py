"""Runs of train_flow: schemes, determinism, kill and resume, and losses that are not finite."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fpigauss import ClassStatistics, InvalidInputError, NotPositiveDefiniteError
from fpigauss_torch import ClassFlow, LatentGaussians, LatentPrior, RefitRejectedError
from fpigauss_torch.priors import DataGaussians, LearnedMeans, RandomMeans, SymmetricKLMeans

from nfpi.batches import Batches
from nfpi.config import config_key, from_dict
from nfpi.data import ImageSet
from nfpi.evaluation import (
    calibration,
    class_scores,
    evaluate,
    expected_calibration_error,
    latent_shift,
    sample_grid,
    smallest_kld,
)
from nfpi.gaussians import make_prior, make_schedule, reestimated
from nfpi.optimization import WeightAverage, largest_gradient, make_optimizer
from nfpi.records import read_records
from nfpi.run import TrainingRun, chosen_device
from nfpi.training import NonFiniteLossError, _finished, load_data, train

PROJECT = Path(__file__).parents[1]
SCHEMES = ["fixed_point", "data", "gradient", "random_means", "learned_means", "ib_inn", "klj"]
CPU = torch.device("cpu")


def config_of(scheme="fixed_point", flow=None, training=None, **gaussians):
    """Return the config of a run that takes half a second."""
    return from_dict(
        {
            "data": {"source": "digits", "limit": 640},
            "flow": {"name": "coupling", "options": {"n_couplings": 2, "hidden": 16}}
            | (flow or {}),
            "gaussians": {"scheme": scheme, "lam": 0.5 if scheme == "klj" else 100.0} | gaussians,
            "training": {
                "epochs": 4,
                "batch_size": 64,
                "lr": 5e-3,
                "warmup_steps": 10,
                "ema_decay": 0.99,
                "seed": 3,
            }
            | (training or {}),
        }
    )


@pytest.fixture(scope="module")
def data():
    return load_data(config_of())


def without_times(entries):
    return [{k: v for k, v in entry.items() if "seconds" not in k} for entry in entries]


def weights_of(trained):
    states = [trained.model.state_dict(), trained.judged.state_dict()]
    return [value for state in states for value in state.values() if torch.is_tensor(value)]


# -- the schemes ---------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_learns(scheme, data):
    config = config_of(scheme, beta=5.0, training={"epochs": 6, "ema_decay": None})
    trained = train(config, data=data)
    losses = [entry["loss"] for entry in trained.history[1:]]  # a refit comes before epoch 1
    assert losses[-1] < losses[0]
    assert trained.metrics["nf_acc"] > 0.4  # chance is 0.1
    assert trained.ema is None
    assert all(math.isfinite(v) for v in trained.metrics.values() if not isinstance(v, str))
    assert ("fit_status" in trained.metrics) == (scheme in ("fixed_point", "data"))


@pytest.mark.parametrize(
    "gaussians",
    [
        {"covariance": "diagonal"},
        {"covariance": "dense"},
        {"update": "means", "init": "identity"},
        {"pi": "initial", "tied": False},
        {"covariance": "diagonal", "tied": False, "equations": "printed", "lam": 2.0},
        {
            "covariance": "diagonal",
            "tied": False,
            "equations": "released",
            "alpha": 10.0,
            "tol": 0.1,
        },
        {"single_iteration": True, "epochs": [0, 1, 2, 3]},
    ],
)
def test_readings_and_families_reach_the_fit(gaussians, data):
    config = config_of(**gaussians, training={"epochs": 2})
    trained = train(config, data=data)
    given = config.gaussians
    fits = [entry["fit_status"] for entry in trained.history if "fit_status" in entry]
    expected = "max_iter" if given.single_iteration else "converged"
    assert fits == [expected] * 2
    family = trained.judged.gaussians.family
    assert (family.name, family.tied) == (given.covariance, given.tied)
    if given.update == "means":
        assert (trained.judged.gaussians.covariances == 1.0).all()


def test_options_that_do_not_agree_are_refused_before_training(data):
    with pytest.raises(InvalidInputError, match=r'"released".*tied=False'):
        train(config_of(equations="released", epochs=[3]), data=data)
    with pytest.raises(InvalidInputError, match="no tied covariances"):
        make_schedule(config_of(equations="printed", covariance="dense").gaussians, 4)


def test_a_schedule_that_is_never_due_is_refused(data):
    with pytest.raises(
        InvalidInputError, match=r"gaussians\.epochs is \(7,\), none of .* 4 epochs"
    ):
        train(config_of(epochs=[7]), data=data)


def test_a_prior_a_scheme():
    kinds = {
        "fixed_point": LatentGaussians,
        "data": DataGaussians,
        "random_means": RandomMeans,
        "ib_inn": LearnedMeans,
        "learned_means": LearnedMeans,
        "klj": SymmetricKLMeans,
    }
    for scheme, kind in kinds.items():
        assert type(make_prior(config_of(scheme).gaussians, 3, 5, seed=0)) is kind


def test_trained_priors_start_from_the_latents(data):
    run = TrainingRun(config_of("gradient"), data[0], CPU, None)
    with torch.no_grad():
        pairs = [(run.model.encode(x)[0].double(), y) for x, y in run.batches]
    z, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    means = torch.stack([z[y == k].mean(0) for k in range(10)])
    # float32 latents of size 3 and their means: 1e-6
    torch.testing.assert_close(
        run.model.gaussians.means.detach().double(), means, atol=1e-5, rtol=0.0
    )


# -- determinism, and going on after a kill ------------------------------------------------


def test_a_seed_decides_everything(data):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = train(config_of(), data=data)
    assert torch.equal(torch.get_rng_state(), before[0])
    torch.rand(3)
    second = train(config_of(), data=data)
    other = train(config_of(training={"seed": 4}), data=data)
    assert without_times(first.history) == without_times(second.history)
    assert without_times([first.metrics]) == without_times([second.metrics])
    assert first.metrics["nll"] != other.metrics["nll"]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


class Killed(Exception):
    """In place of a kill: nothing of the run survives it but its files."""


def killed_after(epoch):
    def callback(entry):
        if entry["epoch"] == epoch:
            raise Killed

    return callback


@pytest.mark.parametrize(
    ("scheme", "flow", "gaussians", "training"),
    [
        ("fixed_point", {}, {"epochs": [0, 1]}, {"optimiser": "adamax", "augment": ["crop"]}),
        ("fixed_point", {}, {"epochs": [0, 1, 2, 3], "single_iteration": True}, {}),
        ("gradient", {}, {"policy": "sublinear_v1"}, {"clip": 50.0}),
        ("ib_inn", {}, {"beta": 5.0}, {"amp": True}),
    ],
)
def test_a_killed_and_resumed_run_equals_an_unbroken_one(
    scheme, flow, gaussians, training, data, tmp_path
):
    config = config_of(scheme, flow, training, **gaussians)
    unbroken = train(config, data=data, folder=tmp_path / "unbroken")
    with pytest.raises(Killed):
        train(config, data=data, folder=tmp_path / "killed", callback=killed_after(1))
    torch.rand(5)  # another process: its generators stand elsewhere
    seen = []
    resumed = train(config, data=data, folder=tmp_path / "killed", callback=seen.append)
    assert [entry["epoch"] for entry in seen] == [2, 3]
    # the same operations in the same order: no rounding differs
    assert without_times(resumed.history) == without_times(unbroken.history)
    assert without_times([resumed.metrics]) == without_times([unbroken.metrics])
    for ours, theirs in zip(weights_of(resumed), weights_of(unbroken), strict=True):
        assert torch.equal(ours, theirs)
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("unbroken", "killed")]
    losses = [[row["loss"] for row in csv.DictReader(log.splitlines())] for log in logs]
    assert losses[0] == losses[1] == [str(entry["loss"]) for entry in unbroken.history]


def test_a_flow_that_draws_as_it_trains_resumes_too(data, tmp_path):
    flow = {"name": "residual", "options": {"levels": 1, "steps": 1, "channels": 8}}
    config = config_of(flow=flow, training={"epochs": 2})
    small = tuple(part.limited(40, 0) for part in data)
    unbroken = train(config, data=small)
    with pytest.raises(Killed):
        train(config, data=small, folder=tmp_path, callback=killed_after(0))
    resumed = train(config, data=small, folder=tmp_path)
    assert without_times(resumed.history) == without_times(unbroken.history)


def test_a_finished_run_is_not_trained_again(data, tmp_path):
    first = train(config_of(), data=data, folder=tmp_path)
    seen = []
    second = train(config_of(), data=data, folder=tmp_path, callback=seen.append)
    assert seen == []
    assert second.metrics == first.metrics
    train(config_of(), data=data, folder=tmp_path, resume=False, callback=seen.append)
    assert len(seen) == 4


def test_a_checkpoint_of_another_config_is_refused(data, tmp_path):
    train(config_of(), data=data, folder=tmp_path)
    with pytest.raises(InvalidInputError, match=r"another config: gaussians\.lam was 100\.0"):
        train(config_of(lam=200.0), data=data, folder=tmp_path)


def test_a_checkpoint_of_other_images_is_refused(data, tmp_path):
    train(config_of(), data=data, folder=tmp_path)
    training, test = data
    turned = ImageSet(training.images.flip(-1), training.labels, 10, "turned")
    with pytest.raises(InvalidInputError, match="belongs to other images: fingerprint was"):
        train(config_of(), data=(turned, test), folder=tmp_path)


@pytest.mark.parametrize("n", [0, -1])
def test_epochs_between_evaluations_are_at_least_one(n, data):
    with pytest.raises(InvalidInputError, match=rf"evaluate_every is {n}; pass"):
        train(config_of(), data=data, evaluate_every=n)


@pytest.mark.parametrize("device", ["meta", "no device", "cuda:99"])
def test_devices_that_are_not_there_are_refused(device):
    with pytest.raises(InvalidInputError, match=f"device '{device}' cannot be used here"):
        chosen_device(device)
    assert chosen_device("cpu") == torch.device("cpu")


# -- what is not finite --------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_the_step(data, tmp_path, monkeypatch):
    config = config_of()
    entries = []

    def poison(entry):
        """Put a NaN into an image from the second step of epoch 1 on."""
        entries.append(entry)
        monkeypatch.setattr(Batches, "epoch", poisoned)

    def poisoned(batches, epoch):
        for step, (x, y) in enumerate(batches._batches(epoch, None)):
            yield (x * math.nan if step == 1 else x), y

    with pytest.raises(NonFiniteLossError, match=r"loss is nan at step 11 \(epoch 1\)") as caught:
        train(config, data=data, folder=tmp_path, callback=poison)
    assert isinstance(caught.value, RuntimeError)
    saved = torch.load(tmp_path / "nonfinite_batch.pt", weights_only=True)
    assert saved["step"] == 11
    assert saved["x"].isnan().all()
    assert saved["y"].shape == (64,)
    assert len(entries) == 1  # the checkpoint is that of epoch 0: nothing poisoned was saved


def test_each_process_saves_its_part_of_a_batch_that_is_not_finite(data, tmp_path, monkeypatch):
    run = TrainingRun(config_of(), data[0], CPU, tmp_path)
    monkeypatch.setattr("nfpi.run.place_among_processes", lambda: (1, 2))
    x, y = next(iter(run.batches))
    with pytest.raises(NonFiniteLossError, match=r"nonfinite_batch_1\.pt"):
        run._step(3, x * math.nan, y)
    assert torch.load(tmp_path / "nonfinite_batch_1.pt", weights_only=True)["step"] == 3


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_stops_at_its_own_step(clip, data, tmp_path):
    config = config_of(training={"clip": clip, "epochs": 1, "optimiser": "adam"})
    run = TrainingRun(config, data[0], CPU, tmp_path)
    seen = []

    def spoil_the_last(gradient):
        seen.append(gradient)
        return gradient * (math.nan if len(seen) == 10 else 1.0)

    next(run.model.parameters()).register_hook(spoil_the_last)
    with pytest.raises(NonFiniteLossError, match=r"gradient's size is nan at step 9 \(epoch 0\)"):
        run.epoch(0)
    assert all(weight.isfinite().all() for weight in run.model.parameters())
    assert torch.load(tmp_path / "nonfinite_batch.pt", weights_only=True)["step"] == 9


def test_large_gradients_are_finite_all_the_same():
    weights = [torch.nn.Parameter(torch.zeros(n)) for n in (2, 3, 1)]
    weights[0].grad = torch.tensor([1.0, -1e30])  # its square is none in float32
    weights[1].grad = torch.ones(3)
    assert largest_gradient(weights) == pytest.approx(1e30)
    weights[1].grad[1] = math.nan
    assert math.isnan(largest_gradient(weights))


def test_weights_that_are_not_finite_stop_a_prior_with_a_penalty(data):
    run = TrainingRun(config_of("gradient"), data[0], CPU, None)
    with torch.no_grad():
        run.model.gaussians.means[0, 0] = math.inf
    with pytest.raises(NonFiniteLossError, match=r"step 0 .*give a folder"):
        run.epoch(0)


def test_a_flow_that_has_diverged_in_the_end_is_a_failure(data):
    training, test = data
    run = TrainingRun(config_of(), training, CPU, None)
    with torch.no_grad():
        next(run.judged.codec.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match=r"test image is not finite.*training\.lr"):
        _finished(run, Batches(test, 100, seed=0, shuffle=False), [])


def test_a_learning_rate_that_is_too_high_does_not_go_on_silently(data):
    config = config_of(training={"lr": 1e30, "warmup_steps": 0, "optimiser": "adam"})
    with pytest.raises(NonFiniteLossError, match=r"at step \d+ .*training\.lr"):
        train(config, data=data)


# -- the optimizer and the average ---------------------------------------------------------


def test_learning_rates_of_the_flow_and_of_its_gaussians(data):
    config = config_of("gradient", lr=0.5, policy="linear", training={"epochs": 2})
    run = TrainingRun(config, data[0], CPU, None)
    _, (flow, prior) = make_optimizer(config, run.model, steps_per_epoch=10)
    # 10 warm-up steps to 5e-3; 0.5 to 0 over 20 steps
    assert [flow(0), flow(9), flow(15)] == pytest.approx([5e-4, 5e-3, 5e-3], rel=1e-12)
    assert [prior(0), prior(10), prior(20)] == pytest.approx([0.5, 0.25, 0.0], rel=1e-12)


def test_the_average_follows_by_its_formula():
    model = torch.nn.Linear(1, 1, bias=False)
    model.register_buffer("target", torch.zeros(1))
    average = WeightAverage(model, decay=0.5, power=0.75)
    expected, weight = 0.0, model.weight
    for step in range(6):
        with torch.no_grad():
            weight.fill_(float(step + 1))
        average.follow(step)
        decay = min(0.5, 1.0 - (1.0 + step) ** -0.75)
        expected = decay * expected + (1.0 - decay) * (step + 1)
    # six lerps of float32
    assert average.model.weight.item() == pytest.approx(expected, rel=1e-6)
    model.target.fill_(2.0)
    average.take_buffers()
    assert average.model.target.item() == 2.0
    assert not average.model.weight.requires_grad


def test_the_averaged_flow_has_the_gaussians_it_was_trained_toward(data):
    trained = train(config_of(), data=data)
    for name, buffer in trained.model.gaussians.named_buffers():
        assert torch.equal(buffer, dict(trained.ema.gaussians.named_buffers())[name])
    assert trained.judged is trained.ema
    assert trained.reestimated.codec is trained.ema.codec


# -- figures -------------------------------------------------------------------------------


def test_figures_of_known_scores():
    scores = torch.tensor([[0.0, -2.0], [0.0, -2.0], [-3.0, -1.0], [0.0, -4.0]]).double()
    labels = torch.tensor([0, 1, 1, 0])
    figures = evaluate(scores, labels, dim=3)
    assert figures["nf_acc"] == 0.75
    assert figures["nll"] == pytest.approx(0.75)  # (0 + 2 + 1 + 0) / 4
    assert figures["bits_per_dim"] == pytest.approx(0.75 / (3 * math.log(2.0)) + 8.0)


def test_calibration_error_of_known_posteriors():
    posterior = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    labels = torch.tensor([0, 1, 1, 1])
    # two bins of two rows: |0.5 - 0.9| and |1 - 0.6|, each half of all
    assert expected_calibration_error(posterior, labels) == pytest.approx(0.4, abs=1e-7)
    certain = torch.eye(3, dtype=torch.float64)  # confidence 1 has a bin
    assert expected_calibration_error(certain, torch.arange(3)) == 0.0


def test_temperatures_mend_posteriors_that_are_too_sure():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 5, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    figures = calibration(10.0 * logits, labels)
    assert figures["ece"] > 0.3
    # 15 bins of about 270 rows: gaps of at most 0.5 / sqrt(270) = 0.03 on average
    assert figures["ece_calibrated"] < 0.03
    assert figures["temperature"] == pytest.approx(10.0, rel=0.1)


def test_scores_without_a_difference_need_no_temperature():
    figures = calibration(torch.full((6, 3), -1e29, dtype=torch.float64), torch.arange(6) % 3)
    # posteriors of 1/3, and a third is right; the temperature is not looked for
    assert figures == pytest.approx({"ece": 0.0, "ece_calibrated": 0.0, "temperature": 1.0})


def test_shift_of_known_latents():
    prior = RandomMeans(2, 2, scale=0.0, seed=0)
    statistics = ClassStatistics(
        torch.tensor([5.0, 5.0]),
        torch.tensor([[3.0, 4.0], [0.0, 0.0]]),
        torch.tensor([[10.0, 1.0], [2.0, 7.0]]),
        classes=[0, 1],
    )
    shifts = latent_shift(prior, statistics)
    # distances 5 and 0; root mean squares sqrt(25 + 11) and sqrt(9)
    assert shifts == pytest.approx(
        {"latent_shift": 2.5, "latent_shift_max": 5.0, "latent_distance": 4.5}
    )


def test_gaussians_estimated_after_training_are_at_the_latents(data):
    trained = train(config_of(training={"epochs": 2}), data=data)
    with torch.no_grad():
        pairs = [
            (trained.judged.encode(x)[0].double(), y)
            for x, y in Batches(data[0], 64, seed=config_of().training.seed)
        ]
    z, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    means = torch.stack([z[y == k].mean(0) for k in range(10)])
    again = trained.reestimated.gaussians
    torch.testing.assert_close(again.means, means, atol=1e-5, rtol=0.0)
    shift = (means - trained.judged.gaussians.means).norm(dim=1).mean()
    assert trained.metrics["latent_shift"] == pytest.approx(float(shift), abs=1e-4)
    figures = evaluate(*class_scores(trained.reestimated, Batches(data[0], 64, seed=0)), 64)
    beside = evaluate(*class_scores(trained.judged, Batches(data[0], 64, seed=0)), 64)
    assert figures["nll"] < beside["nll"]  # of the training images: the best Gaussians there are


@pytest.mark.parametrize(
    ("scheme", "shape"),
    [
        ("fixed_point", ()),  # the config's family: here one variance for all
        ("data", ()),
        *((scheme, (10, 64)) for scheme in SCHEMES[2:]),
    ],
)
def test_gaussians_are_estimated_anew_in_the_priors_own_family(data, scheme, shape):
    run = TrainingRun(config_of(scheme, covariance="isotropic", tied=True), data[0], CPU, None)
    again, _ = reestimated(run.model, run.batches, run.config.gaussians)
    with torch.no_grad():
        pairs = [(run.model.encode(x)[0].double(), y) for x, y in run.batches]
    z, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    centered = torch.stack([(z[y == k] - z[y == k].mean(0)).square().mean(0) for k in range(10)])
    variances = centered
    if shape == ():  # of all dimensions and classes, each class counting alike
        variances = centered.mean()
    found = again.gaussians.class_gaussians().covariances
    assert found.shape == shape
    # float32 latents of size 3 in either sum
    torch.testing.assert_close(found.double(), variances, rtol=1e-5, atol=1e-5)


class _Identity(torch.nn.Module):
    """Images of 2x2 as they are."""

    def encode(self, x):
        return x, x.new_zeros(len(x))

    def decode(self, z):
        return z


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_has_a_row_a_class(channels):
    flow = _Identity()
    prior = LatentGaussians(2, 4 * channels, covariance="diagonal", tied=False)
    model = ClassFlow(flow, prior, codec=(flow.encode, flow.decode))
    model.encode(torch.zeros(1, channels, 2, 2))
    with torch.no_grad():
        prior.means[1] += 0.5
    picture = sample_grid(model, columns=3, temperature=0.0)
    assert picture.shape == ((8, 12) if channels == 1 else (8, 12, 3))
    assert (picture[1:3, 1:3] == 0).all()
    assert (picture[5:7, 9:11] == 128).all()
    assert (picture[0] == 255).all()  # the frames


# -- the script ----------------------------------------------------------------------------


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        '[data]\nsource = "digits"\nlimit = 640\n'
        "[flow]\noptions = { n_couplings = 2, hidden = 16 }\n"
        "[gaussians]\nlam = 100.0\n[training]\nepochs = 2\nbatch_size = 64\n"
    )
    return path


def test_two_processes_train_as_one_does(toml, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    script = PROJECT / "train_flow.py"
    done = subprocess.run(
        [sys.executable, *torchrun, script, toml, "--folder", tmp_path / "two"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (record,) = read_records(tmp_path / "two")
    config = from_dict(record["config"])
    alone = train(config)
    assert config_key(config) == record["key"]
    # parts of a batch are of one size, so that their mean gradient is that of the batch, but for
    # the rounding of float32 in 20 steps
    assert record["metrics"]["nll"] == pytest.approx(alone.metrics["nll"], rel=1e-3)
    assert record["metrics"]["latent_shift"] == pytest.approx(
        alone.metrics["latent_shift"], rel=1e-2
    )
    assert record["data"]["training"]["shape"] == [640, 1, 8, 8]
    assert record["history"][0]["fit_n_iter"] == alone.history[0]["fit_n_iter"]
    assert (tmp_path / "two" / "samples.png").stat().st_size > 0
    assert (tmp_path / "two" / "log.csv").read_text().count("\n") == 3


def test_the_script_says_what_is_wrong(train_flow, toml, tmp_path, capsys):
    given = [str(toml), "--folder", str(tmp_path / "run"), "--set", "gaussians.equations=released"]
    assert train_flow.main(given) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith('train_flow.py: equations is "released"')


@pytest.mark.parametrize(
    "error",
    [
        RefitRejectedError("the fit is rejected", None),
        NotPositiveDefiniteError(0, 3.0, "printed"),
        FloatingPointError("the loss is nan\nat step 3"),
        ImportError("classifier 'swin' needs transformers"),
    ],
)
def test_known_failures_take_one_line(train_flow, error, toml, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(train_flow, "train", fail)
    assert train_flow.main([str(toml), "--folder", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said == f"train_flow.py: {' '.join(str(error).split())}\n"


def test_a_classifier_that_fails_leaves_the_flows_figures(
    train_flow, toml, tmp_path, capsys, monkeypatch
):
    def one_and_no_more(*_):
        yield "cnn_acc_0.7", 0.5
        raise FloatingPointError("the loss is nan at step 3")

    monkeypatch.setattr(train_flow, "generated_accuracies", one_and_no_more)
    folder = tmp_path / "run"
    given = [str(toml), "--folder", str(folder), "--set", "evaluation.cnn=true"]
    assert train_flow.main(given) == 1
    (path,) = folder.glob("*.json")
    record = json.loads(path.read_text())
    assert record["failure"] == "FloatingPointError: the loss is nan at step 3"
    assert record["metrics"]["cnn_acc_0.7"] == 0.5 and "nf_acc" in record["metrics"]
    assert capsys.readouterr().err.splitlines()[-1].startswith("train_flow.py: the loss is nan")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("evaluation.n_generated=5", "n_images is 5"),
        ("data.size=3", "small_cnn needs images of at least"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_training(
    train_flow, value, words, toml, tmp_path, capsys
):
    given = [str(toml), "--folder", str(tmp_path / "run"), "--set", "evaluation.cnn=true"]
    assert train_flow.main([*given, "--set", value]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (OSError("full"), 1)])
def test_an_interruption_takes_one_line(
    train_flow, error, status, toml, tmp_path, capsys, monkeypatch
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(train_flow, "train", fail)
    assert train_flow.main([str(toml), "--folder", str(tmp_path / "run")]) == status
    assert capsys.readouterr().err.startswith("train_flow.py: ")


def test_a_reader_that_leaves_is_no_error_message(tmp_path):
    command = [sys.executable, str(PROJECT / "reproduce.py"), "all", "--scale", "tiny"]
    command += ["--no-runs", "--results", str(tmp_path)]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("given", "words"),
    [(["--device", "meta"], "device 'meta'"), (["--evaluate-every", "-1"], "evaluate_every is -1")],
)
def test_the_script_refuses_options(train_flow, given, words, toml, tmp_path, capsys):
    assert train_flow.main([str(toml), "--folder", str(tmp_path / "run"), *given]) == 1
    assert capsys.readouterr().err.startswith(f"train_flow.py: {words}")


def test_images_need_no_square(tmp_path):
    images = torch.randint(0, 256, (64, 1, 4, 6), dtype=torch.uint8)
    part = ImageSet(images, torch.arange(64) % 2, 2, "noise")
    trained = train(config_of(training={"epochs": 1}), data=(part, part))
    assert trained.judged.gaussians.dim == 24


def test_a_prior_without_gaussians_is_refused():
    class Other(LatentPrior):
        def density(self):
            raise NotImplementedError

        def color(self, noise, labels):
            return noise

    with pytest.raises(InvalidInputError, match="Other has no class_gaussians; use a prior whose"):
        smallest_kld(Other(2, 3))
