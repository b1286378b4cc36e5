"""Training as the authors' code has it: order of fits, first batch, averages, and augmentation."""

import copy
import math

import numpy as np
import pytest
import torch
from fpigauss import ClassStatistics, InvalidInputError, fit_fixed_point, pairwise_kld
from fpigauss_torch import ClassFlow

from nfpi.batches import Batches, make_augment
from nfpi.config import from_dict, load_config, to_dict
from nfpi.data import ImageSet
from nfpi.epochwise import EpochwiseGaussians, LatentSums, _geometric, _linear, gather_sums
from nfpi.grid import merged
from nfpi.grid.build import make_grid
from nfpi.recipes import RECIPES, RELEASED_ONE_CYCLE
from nfpi.run import TrainingRun

CPU = torch.device("cpu")


def image_set(n=64, n_classes=4, size=8, channels=3):
    rng = np.random.default_rng(0)
    y = torch.arange(n) % n_classes
    noise = rng.integers(0, 60, (n, channels, size, size))
    images = torch.from_numpy((noise + 40 * y.numpy()[:, None, None, None]).astype(np.uint8))
    return ImageSet(images, y, n_classes, "made up")


def config_of(**tables):
    base = {
        "flow": {"name": "coupling", "options": {"n_couplings": 2, "hidden": 8}},
        "gaussians": {"lam": 10.0, "alpha": 10.0, "covariance": "diagonal", "tied": False,
                      "equations": "released", "tol": 0.1},
        "training": {"epochs": 3, "batch_size": 16, "augment": ["released"]},
    }  # fmt: skip
    return from_dict(merged(base, tables))


def latents(run, batches):
    run.model.eval()
    with torch.no_grad():
        parts = [(run.model.encode(x)[0], y) for x, y in batches]
    return torch.cat([z for z, _ in parts]), torch.cat([y for _, y in parts])


def test_the_order_of_fits_is_that_of_the_code():
    fit = {"data_first": True, "epochs": [0, 1], "fit_augmented": True, "init": "current"}
    run = TrainingRun(config_of(gaussians=fit), image_set(), CPU, None)
    z, y = latents(run, run.batches.as_trained(0))
    run.epoch(0)
    prior = run.model.gaussians
    data = ClassStatistics.from_samples(z, y)  # of the untrained flow, on augmented images
    found = prior.class_gaussians()
    torch.testing.assert_close(found.means.double(), data.means, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.covariances.double(), data.covariances, rtol=1e-4, atol=1e-6)
    before = prior.class_gaussians()
    z, y = latents(run, run.batches.as_trained(1))
    run.epoch(1)
    expected = fit_fixed_point(
        z.double(), y, 10.0, alpha=10.0, equations="released", tol=0.1, init=before
    )
    torch.testing.assert_close(prior.means.double(), expected.gaussians.means, rtol=1e-5, atol=1e-6)
    frozen = prior.means.clone()
    assert "fit_status" not in run.epoch(2)
    assert torch.equal(prior.means, frozen)


def test_means_that_feel_no_repulsion_stay_those_of_the_untrained_flow():
    fit = {"data_first": True, "epochs": [0, 1], "init": "current", "update": "covariances"}
    run = TrainingRun(config_of(gaussians=fit), image_set(), CPU, None)
    run.epoch(0)
    means = run.model.gaussians.means.clone()
    variances = run.model.gaussians.class_gaussians().covariances.clone()
    run.epoch(1)
    assert torch.equal(run.model.gaussians.means, means)
    assert not torch.equal(run.model.gaussians.class_gaussians().covariances, variances)


def test_a_flow_starts_from_as_many_augmented_images_as_asked_for(monkeypatch):
    shown = []
    monkeypatch.setattr(TrainingRun, "_show", lambda self, x: shown.append(x))
    images = image_set()
    for training in ({"init_images": 48}, {}):
        TrainingRun(config_of(training=training), images, CPU, None)
    assert [len(x) for x in shown] == [48, 16]
    plain = next(iter(Batches(images, 16, seed=0)))[0]
    assert torch.equal(shown[1], plain)
    augmented = next(Batches(images, 48, seed=0, augment=make_augment(["released"])).epoch(0))[0]
    assert torch.equal(shown[0], augmented)


def test_the_average_starts_at_its_epoch():
    run = TrainingRun(
        config_of(training={"ema_decay": 0.9999, "ema_start": 1}), image_set(), CPU, None
    )
    assert run.average is not None
    pairs = list(zip(run.average.model.parameters(), run.model.parameters(), strict=True))
    run.epoch(0)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)  # it has not begun
    followed = []
    run.average.follow = followed.append
    run.epoch(1)
    assert followed == [0, 1, 2, 3]


def test_precision_of_products_is_set_for_every_run():
    try:
        for tf32, words in ((True, "high"), (False, "highest")):
            TrainingRun(config_of(training={"tf32": tf32}), image_set(), CPU, None)
            assert torch.get_float32_matmul_precision() == words
    finally:
        torch.set_float32_matmul_precision("highest")


# -- augmentation ----------------------------------------------------------------------------


def test_the_released_augmentation_moves_by_its_numbers():
    augment = make_augment(["released"], seed=0)
    side = 32
    ramp = torch.linspace(0.3, 0.6, side).expand(400, 1, side, side)
    made = augment(ramp)
    assert made.shape == ramp.shape
    middle, offset = made[:, 0, 6:26, 6:26], torch.arange(20.0) - 9.5
    down, across = ((middle * way).sum((1, 2)) for way in (offset[:, None], offset))  # slopes
    angles = torch.rad2deg(torch.atan2(down.abs(), across.abs()))
    assert 11.0 < angles.max() < 13.0  # up to 12 degrees, to the nearest pixel
    flipped = (across < 0).double().mean()
    assert 0.4 < flipped < 0.6
    # two pixels to spare each way, and a border of the last value: nothing is black
    assert made.min() > 0.3 * 0.9 * 0.9 - 0.05
    still = make_augment(["released"])(torch.full((200, 1, side, side), 0.5))
    levels = still[:, 0, 0, 0]
    assert torch.allclose(still, levels[:, None, None, None].expand_as(still))
    assert 0.449 <= levels.min() < 0.46 and 0.54 < levels.max() <= 0.551  # brightness by .1


def test_the_released_crop_is_by_up_to_two_pixels(monkeypatch):
    from nfpi import batches

    monkeypatch.setattr(batches, "_turned", lambda x, generator, degrees, mode: x)
    monkeypatch.setattr(batches, "_jittered", lambda x, *_: x)
    x = torch.zeros(300, 1, 32, 32)
    x[:, :, 16, 16] = 1.0
    made = make_augment(["released"])(x)
    rows = made.amax((1, 3)).argmax(1)
    assert set(rows.tolist()) == {14, 15, 16, 17, 18}


def test_saturation_moves_half_as_much():
    x = torch.zeros(500, 3, 8, 8)
    x[:, 0] = 0.5
    x[:, 1:] = 0.3
    made = make_augment(["released"], seed=1)(x)[:, :, 4, 4]
    ratio = (made[:, 0] - made[:, 1]) / 0.2  # brightness, contrast and saturation multiply
    assert ratio.min() >= 0.9 * 0.9 * 0.95 - 1e-3 and ratio.max() <= 1.1 * 1.1 * 1.05 + 1e-3
    assert ratio.max() > 1.1


# -- learning rates of the classifier --------------------------------------------------------


def test_one_cycle_as_released_is_torchs():
    recipe = RECIPES["resnet18"]
    released = type(recipe)(**{**vars(recipe), **RELEASED_ONE_CYCLE})
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], 1e-3, momentum=0.9)
    n_steps = 50
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=n_steps)
    for step in range(n_steps):
        group = optimizer.param_groups[0]
        assert released.rate(step, n_steps) == pytest.approx(group["lr"], rel=1e-9)
        assert released.momentum_at(step, n_steps) == pytest.approx(group["momentum"], rel=1e-9)
        optimizer.step()
        schedule.step()
    assert {recipe.momentum_at(step, n_steps) for step in range(n_steps)} == {0.9}
    assert recipe.rate(0, n_steps) == pytest.approx(1e-3, rel=1e-9)


# -- gradient descent ------------------------------------------------------------------------


def test_epochwise_steps_follow_the_gradient_of_likelihood_and_divergence():
    torch.manual_seed(0)
    prior = EpochwiseGaussians(3, 2, weight=50.0)
    z, y = torch.randn(60, 2).double() + torch.arange(60)[:, None] % 3, torch.arange(60) % 3
    one_hot = torch.nn.functional.one_hot(y, 3).double()

    def sums():
        nll = -prior.log_prob(z.float(), y)
        return LatentSums(one_hot.sum(0), one_hot.T @ z, one_hot.T @ z.square(),
                          float(nll.min()), float(nll.max()))  # fmt: skip

    assert pairwise_kld(prior.class_gaussians()).max() == 0.0
    assert prior.variances.unique().tolist() == [0.75]
    prior.step_(sums())
    # Adam's first step has the size of the rate, in the direction of the data
    toward = (one_hot.T @ z / one_hot.sum(0)[:, None]).float().sign()
    torch.testing.assert_close(prior.means, 0.1 * toward, rtol=1e-3, atol=0)
    assert int(prior.n_averaged) == 0 and bool((prior.moments == 0).all())
    data, step = sums(), int(prior.n_steps)
    # by autograd
    means = prior.means.double().requires_grad_()
    logits = prior.logits.double().requires_grad_()
    variances = 0.25 + torch.sigmoid(logits)
    nll = 0.5 * ((z - means[y]).square() / variances[y] + variances[y].log()).sum()
    kld = pairwise_kld(type(prior.class_gaussians())(means, variances))
    low, high = data.lowest + 2 * math.log(256), data.highest + 2 * math.log(256)
    of_nll = 60 * (high + 0.2 * abs(high) - low + 0.2 * abs(low))
    by_class = -(kld + kld.T).sum(1).detach() / 2
    low, high = by_class.min(), by_class.max()
    of_kld = 3 * 2 * (high + 0.2 * abs(high) - low + 0.2 * abs(low))
    weight = 50.0 * _linear(step)
    gradient = torch.autograd.grad(nll / of_nll - weight * kld.sum() / of_kld, (means, logits))
    before = prior.means.clone(), prior.logits.clone()
    made = prior.step_(data)
    assert made == {"fit_rate": 0.1, "fit_weight": weight}
    for old, new, slope in zip(before, (prior.means, prior.logits), gradient, strict=True):
        direction = slope / (slope.abs() + 1e-8)  # Adam's first step after its reset
        torch.testing.assert_close(new, old - 0.1 * direction.float(), rtol=1e-3, atol=1e-6)


def test_epochwise_rates_and_weights():
    assert [_geometric(step) for step in (0, 9, 10)] == [0.1, 0.1, 0.1]
    assert _geometric(11) == pytest.approx(0.01) and _geometric(99) == pytest.approx(0.001)
    assert _geometric(400) == 0.001
    assert [_linear(0), _linear(99), _linear(300)] == [1.0, 0.5, 0.5]


def test_epochwise_sums_are_those_of_the_latents():
    images = image_set()
    run = TrainingRun(config_of(gaussians={"scheme": "gradient_released"}), images, CPU, None)
    sums = gather_sums(run.model, run.batches, CPU)
    z, y = latents(run, run.batches)
    for k in range(4):
        torch.testing.assert_close(sums.sums[k], z[y == k].double().sum(0))
        torch.testing.assert_close(sums.squares[k], z[y == k].double().square().sum(0))
    nll = -run.model.log_prob(torch.cat([x for x, _ in run.batches]), y)
    assert sums.lowest == pytest.approx(float(nll.detach().min()), rel=1e-5)
    assert sums.highest == pytest.approx(float(nll.detach().max()), rel=1e-5)
    with pytest.raises(InvalidInputError, match="no training image"):
        EpochwiseGaussians(2, 1).step_(
            LatentSums(torch.tensor([1.0, 0.0]), torch.zeros(2, 1), torch.zeros(2, 1), 0.0, 1.0)
        )


def test_epochwise_gaussians_step_once_per_epoch_and_resume():
    config = config_of(gaussians={"scheme": "gradient_released", "lam": 50.0})
    run = TrainingRun(config, image_set(), CPU, None)
    assert "fit_rate" not in run.epoch(0)
    assert run.epoch(1)["fit_rate"] == 0.1
    again = TrainingRun(config, image_set(), CPU, None)
    again.restore(copy.deepcopy(run.state()))
    assert int(again.model.gaussians.n_steps) == 1
    assert torch.equal(again.model.gaussians.moments, run.model.gaussians.moments)
    assert run.epoch(2)["loss"] == again.epoch(2)["loss"]


# -- the configs and the grid ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting"),
    [("cifar10_paper", "released"), ("cifar100_paper", "cifar100-released-means")],
)
def test_the_papers_configs_are_runs_of_the_grid(reproduce, name, setting):
    config = to_dict(load_config(reproduce.PROJECT / "configs" / f"{name}.toml"))
    grid = make_grid("paper")
    run = grid.runs_of(setting)[0]
    planned = to_dict(from_dict(merged(grid.base, run.config)))
    planned["data"]["source"] = config["data"]["source"]
    for table in (config, planned):
        table["evaluation"]["cnn_augment"].sort()
    assert config == planned


def test_the_grid_has_the_released_lam():
    grid = make_grid("paper")
    found = {
        run.setting: run.config["gaussians"].get("lam")
        for run in grid.runs
        if "released" in run.setting and run.tables[0] in ("table1", "table3")
    }
    assert found == {
        "released": 3e5, "released-means": 5e5, "released-covariances": 1e5, "gd-released": 50.0,
        "cifar100-released": 3e6, "cifar100-released-means": 7.5e6,
        "cifar100-released-covariances": 2e6, "cifar100-gd-released": 50.0,
    }  # fmt: skip
    for name in ("table1", "table3", "table4", "table5"):
        settings = {row.setting for row in grid.tables[name].rows}
        assert any(one.startswith("cifar100-") for one in settings)
        assert any(not one.startswith("cifar100-") for one in settings)


def test_epochwise_gaussians_score_and_sample():
    same = (lambda x: (x, x[:, 0] * 0), lambda z: z)
    model = ClassFlow(None, EpochwiseGaussians(2, 3), codec=same)
    assert model.class_log_prob(torch.zeros(4, 3)).shape == (4, 2)
    assert model.sample([0, 1], seed=0).shape == (2, 3)
