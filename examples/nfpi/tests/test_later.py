"""Classes that come later: their order, what learns them, and training further."""

import numpy as np
import pytest
import torch
from fpigauss import ClassStatistics, InvalidInputError, pairwise_kld
from fpigauss_torch import LatentGaussians

from nfpi.config import from_dict
from nfpi.data import load_images
from nfpi.later import Added, Arrivals, NearestMean, Refitted, StreamingLDA, accuracies, pixels
from nfpi.later_runs import measure_later

CONFIG = {
    "flow": {"name": "coupling", "options": {"n_couplings": 2, "hidden": 16}},
    "gaussians": {"scheme": "fixed_point", "separation": 50.0, "epochs": [1]},
    "training": {"epochs": 3, "batch_size": 128, "warmup_steps": 5},
}


@pytest.fixture(scope="module")
def images():
    training, test = load_images("digits")
    return training.limited(300, 0), test.limited(200, 0)


@pytest.fixture(scope="module")
def arrivals(images):
    return Arrivals.of(*images, first=6, per_step=3, seed=1)


def test_classes_arrive_in_the_order_of_the_seed(images, arrivals):
    assert arrivals.ends == (6, 9, 10) and arrivals.steps == ((6, 9), (9, 10))
    order = np.random.default_rng(1).permutation(10)
    for place, label in enumerate(order):
        ours = arrivals.training.images[arrivals.training.labels == place]
        assert torch.equal(ours, images[0].images[images[0].labels == label])
    first, test = arrivals.first
    assert first.n_classes == test.n_classes == 6
    assert set(first.labels.tolist()) == set(test.labels.tolist()) == set(range(6))


@pytest.mark.parametrize(("first", "per_step"), [(1, 2), (10, 2), (5, 0)])
def test_orders_without_a_later_class_are_refused(images, first, per_step):
    with pytest.raises(InvalidInputError, match=r"first is|per_step is"):
        Arrivals.of(*images, first=first, per_step=per_step, seed=0)


@pytest.mark.parametrize("learner", [NearestMean, StreamingLDA, lambda: Refitted(20.0)])
def test_what_is_learned_does_not_depend_on_the_steps(arrivals, learner):
    x, y = pixels(arrivals.training), arrivals.training.labels
    one, whole = learner(), learner()
    for start, end in ((0, 6), *arrivals.steps):
        new = (y >= start) & (y < end)
        one.learn(x[new], y[new])
    whole.learn(x, y)
    test = pixels(arrivals.test)
    assert torch.equal(one.predict(test), whole.predict(test))
    assert (whole.predict(test) == arrivals.test.labels).double().mean() > 0.8


def test_added_classes_keep_the_old_ones_and_their_distance(arrivals):
    x, y = pixels(arrivals.training).float(), arrivals.training.labels
    old = LatentGaussians(6, x.shape[1])
    statistics = ClassStatistics.from_samples(x[y < 6].double(), y[y < 6])
    old.solve_(statistics, separation=100.0)
    learner = Added(old, 100.0)
    figures = dict(accuracies(learner, arrivals, x, pixels(arrivals.test).float()))
    assert figures.keys() == {"acc_6", "acc_9", "acc_10", "acc", "first", "later"}
    assert figures["acc"] == figures["acc_10"] > 0.7
    assert torch.equal(learner.gaussians.means[:6], old.means)
    kld = pairwise_kld(learner.gaussians.class_gaussians())
    assert kld[~torch.eye(10, dtype=torch.bool)].min() >= 99.9


def test_every_arm_has_its_figures(images):
    arms = ["add", "add_0", "refit", "ncm", "slda", "tuned", "replay", "joint", "cnn_ncm"]
    options = {
        "first": 7, "per_step": 2, "arms": arms, "separation": 50.0, "replay": {"epochs": 1},
    }  # fmt: skip
    figures = dict(measure_later(options, from_dict(CONFIG), *images))
    again = dict(measure_later(options | {"arms": ["replay"]}, from_dict(CONFIG), *images))
    assert figures["replay_acc"] == again["replay_acc"]
    for arm in arms:
        assert 0.0 <= figures[f"{arm}_acc"] <= 1.0
        assert {f"{arm}_first", f"{arm}_later", f"{arm}_acc_10"} <= figures.keys()
    assert {f"add_acc_{k}" for k in (7, 9, 10)} <= figures.keys()
    assert "joint_acc_7" not in figures


def test_the_script_adds_classes_of_images_of_ones_own(add_classes, tmp_path, capsys):
    images, _ = load_images("digits")
    np.savez(tmp_path / "own.npz", x=images.images[:420, 0].numpy(), y=images.labels[:420].numpy())
    arguments = [str(tmp_path / "own.npz"), "--folder", str(tmp_path / "out"), "--size", "8"]
    small = ["--first", "8", "--epochs", "2", "--seeds", "1", "--limit", "300", "--further", "1"]
    assert add_classes.main([*arguments, *small]) == 0
    first, *lines = (tmp_path / "out" / "images.md").read_text().splitlines()
    assert "add_class classifies all classes better than streaming LDA" in first
    assert any("| frozen CNN: streaming LDA of features | 1 | 0." in line for line in lines)
    assert (tmp_path / "out" / "images.png").exists()
    assert add_classes.main([*arguments, "--first", "10"]) == 2
    assert "first is 10 of 10 classes" in capsys.readouterr().err
