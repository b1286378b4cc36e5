"""Few and uneven rows: which are drawn, what learns them, and what evens them out."""

import numpy as np
import pytest
from fpigauss import InvalidInputError

from nfpi.config import from_dict
from nfpi.data import load_images
from nfpi.few import METHODS, drawn_rows, recalls, sampler, uneven_counts
from nfpi.few_runs import measure_few, measure_uneven

CONFIG = {
    "flow": {"name": "coupling", "options": {"n_couplings": 2, "hidden": 16}},
    "gaussians": {"scheme": "fixed_point", "separation": 50.0},
    "training": {"epochs": 3, "batch_size": 128, "warmup_steps": 5},
}


@pytest.fixture(scope="module")
def images():
    training, test = load_images("digits")
    return training, test.limited(200, 0)


def test_more_rows_include_the_fewer():
    y = np.arange(60) % 3
    few, many = drawn_rows(y, [2, 2, 2], 0), drawn_rows(y, [4, 2, 9], 0)
    assert set(few) < set(many)
    assert np.bincount(y[many]).tolist() == [4, 2, 9]
    with pytest.raises(InvalidInputError, match="class 1 has 20 rows, fewer than the 21"):
        drawn_rows(y, [1, 21, 1], 0)


def test_half_of_the_classes_are_rare():
    counts = uneven_counts(5, 100, 1, 0)
    assert sorted(counts) == [1, 1, 100, 100, 100]
    assert counts != uneven_counts(5, 100, 1, 1)


def test_every_class_weighs_the_same_in_recalls():
    y, found = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 0, 0, 2, 1])
    figures = dict(recalls(found, y, [False, True, True]))
    assert figures == {"acc": 0.5, "rare": 0.25, "common": 1.0}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_a_few_rows(images, method):
    options = {"counts": [5], "methods": [method]}
    figures = dict(measure_few(options, from_dict(CONFIG), *images))
    assert figures.keys() == {f"{method}_acc_5"}
    assert figures[f"{method}_acc_5"] > 0.6


def test_flows_and_networks_see_the_same_rows(images):
    options = {"counts": [5, 10], "methods": ["flow", "cnn"], "steps": 4}
    figures = dict(measure_few(options, from_dict(CONFIG), *images))
    assert list(figures) == ["flow_acc_5", "cnn_acc_5", "flow_acc_10", "cnn_acc_10"]


def test_latents_are_those_of_classes_that_the_flow_has_not_seen(images):
    options = {"counts": [10], "methods": ["data_iso"], "first": 6}
    figures = dict(measure_few(options, from_dict(CONFIG), *images))
    assert figures["data_iso_acc_10"] > 0.5  # of four classes


UNEVEN = {
    "common": 80, "rare": 5, "dim": 8, "separation": 20.0, "methods": ["data_dense"],
    "classifiers": ["logistic"],
}  # fmt: skip


def test_rare_classes_suffer_without_weights(images):
    options = UNEVEN | {"samplers": ["none", "weights"]}
    figures = dict(measure_uneven(options, from_dict(CONFIG), *images))
    assert figures["none_logistic_rare"] < figures["weights_logistic_rare"]
    assert figures["none_logistic_common"] > figures["none_logistic_rare"]
    assert figures["data_dense_acc"] > 0.5


def test_samplers_even_classes_out():
    pytest.importorskip("imblearn", reason='over-sampling needs the extra "few"')
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [60, 5])
    x = rng.normal(size=(65, 3)) + 3.0 * y[:, None]
    for name in ("random", "smote", "data", "apart"):
        x_even, y_even = sampler(name, 0, 30.0, 5).fit_resample(x, y)
        assert np.bincount(y_even).tolist() == [60, 60]
        assert np.array_equal(x_even[:65], x)
        assert x_even[65:].mean() > 2.0
    with pytest.raises(InvalidInputError, match="sampler is 'none'"):
        sampler("none", 0, 30.0, 5)


def test_the_script_compares_images_of_ones_own(few_rows, tmp_path, capsys):
    images, _ = load_images("digits")
    np.savez(tmp_path / "own.npz", x=images.images[:420, 0].numpy(), y=images.labels[:420].numpy())
    arguments = [str(tmp_path / "own.npz"), "--folder", str(tmp_path / "out"), "--size", "8"]
    small = ["--counts", "5", "8", "--steps", "3", "--seeds", "1"]
    assert few_rows.main([*arguments, *small]) == 0
    first, *lines = (tmp_path / "out" / "images.md").read_text().splitlines()
    assert "A flow toward separated Gaussians classifies a few rows" in first
    assert any("| shrunk LDA of scikit-learn | 1 | 0." in line for line in lines)
    assert (tmp_path / "out" / "images.png").exists()
    assert few_rows.main([*arguments, "--counts", "3"]) == 2
    assert few_rows.main([*arguments, "--counts", "500"]) == 2
    assert "rows, fewer than the 500 asked for" in capsys.readouterr().err
