"""Rows of no class: which classes are left out, and how well scores tell them apart."""

import numpy as np
import pytest
import torch
from fpigauss import InvalidInputError
from sklearn.metrics import roc_auc_score

from nfpi.classifiers import make_classifier
from nfpi.data import load_images
from nfpi.grid.reject import CLASSIFIER_ROWS, FLOW_ROWS, reject_grid
from nfpi.grid.settings import small_flow
from nfpi.records import read_records
from nfpi.rejection import (
    CLASSIFIER_SCORES,
    FLOW_SCORES,
    classifier_outputs,
    left_out_classes,
    split_classes,
    told_apart,
)
from nfpi.runner import run_grid

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")


@pytest.fixture(scope="module")
def images():
    return load_images("digits")[0]


def test_every_class_is_left_out_once():
    chosen = [left_out_classes(2, 10, seed) for seed in range(5)]
    assert sorted(k for pair in chosen for k in pair) == list(range(10))
    assert left_out_classes([7, 3], 10, 4) == (3, 7)


@pytest.mark.parametrize("wanted", [0, 9, [], [10], list(range(9))])
def test_classes_that_cannot_be_left_out_are_refused(wanted):
    with pytest.raises(InvalidInputError, match="left_out"):
        left_out_classes(wanted, 10, 0)


def test_split_classes_numbers_the_others_anew(images):
    known, unknown = split_classes(images, (0, 4))
    assert known.n_classes == 8 and len(known) + len(unknown) == len(images)
    assert set(unknown.labels.tolist()) == {0, 4}
    of_nine = images.images[images.labels == 9]
    assert torch.equal(known.images[known.labels == 7], of_nine)
    assert known.checked_classes() is known


def test_told_apart_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 20, 300) * 1.0, rng.integers(5, 25, 200) * 1.0
    found = told_apart(known, unknown)
    both = np.concatenate([known, unknown])
    assert found["auroc"] == pytest.approx(roc_auc_score(np.arange(500) >= 300, both))
    accepted = np.sort(known)[-1 - 15]  # 15 of 300 may score higher
    assert found["fpr95"] == np.mean(unknown <= accepted)
    assert told_apart(known, np.array([np.inf])) == {"auroc": 1.0, "fpr95": 0.0}


def test_outputs_of_a_classifier_fit_each_other(images):
    model = make_classifier("small_cnn", 10, images.image_shape, seed=0)
    some = images.limited(50, 0)
    features, logits = classifier_outputs(model, some)
    weight, bias = (
        p.detach().double().numpy() for p in (model.body[-1].weight, model.body[-1].bias)
    )
    np.testing.assert_allclose(features @ weight.T + bias, logits, atol=1e-5)
    assert not model.body[-1]._forward_pre_hooks


@pytest.fixture(scope="module")
def rejected(tmp_path_factory):
    """Run two of the grid's runs on digits, with digits again as the foreign images."""
    folder = tmp_path_factory.mktemp("rejected")
    grid = reject_grid("digits", "digits", seeds=(3,), base=small_flow(2, None, limit=300))
    runs = [run for run in grid.runs if run.setting in ("exact", "plain")]
    outcome = run_grid(grid, runs, folder, {}, report=lambda _: None)
    assert not outcome.lost and not outcome.waiting
    return grid, {record["key"]: record for record in read_records(folder / "records")}


def test_runs_measure_every_score_of_the_table(rejected):
    assert set(FLOW_ROWS) == set(FLOW_SCORES)
    assert set(CLASSIFIER_ROWS) == {f"cnn_{score}" for score in CLASSIFIER_SCORES}
    grid, records = rejected
    table = grid.tables["reject"]
    for row in table.rows:
        if row.setting != "data":
            metrics = records[f"{row.setting}-s3"]["metrics"]
            assert all(0.0 <= metrics[row.metric_of(column)] <= 1.0 for column in table.columns)


def test_runs_are_trained_without_the_classes_left_out(rejected):
    _, records = rejected
    assert records["exact-s3"]["options"] == {"left_out": 2, "foreign": "digits"}
    assert records["exact-s3"]["foreign"] == records["exact-s3"]["data"]["test"]
    # a plain flow, with the same Gaussian for all of them, guesses among eight
    assert records["plain-s3"]["metrics"]["accuracy_likelihood"] < 0.25
    assert records["exact-s3"]["metrics"]["smallest_kld"] > 50.0


def test_a_run_waits_for_the_path_of_the_foreign_images(tmp_path):
    grid = reject_grid("digits", "mnist", seeds=(3,), base=small_flow(1, None, limit=300))
    outcome = run_grid(grid, grid.runs[:1], tmp_path, {}, report=lambda _: None)
    assert "path" in outcome.waiting["exact-s3"]
