"""Neighbors: closeness, severity and mixing, against a referee."""

import numpy as np
import pytest
import torch

from nfpi.data import load_images
from nfpi.grid.neighbors import neighbors_grid
from nfpi.grid.settings import small_flow
from nfpi.neighbors import closeness, midpoints, severity, train_referee
from nfpi.records import read_records
from nfpi.runner import run_grid

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")

#: Class 0 resembles 1 most and 3 least, and so on.
RESEMBLANCE = np.array(
    [[0.9, 0.06, 0.03, 0.01], [0.06, 0.9, 0.02, 0.04], [0.03, 0.02, 0.9, 0.05],
     [0.01, 0.04, 0.05, 0.9]]
)  # fmt: skip


def test_closeness_is_a_rank_correlation():
    assert closeness(1.0 / RESEMBLANCE, RESEMBLANCE) == pytest.approx(1.0)
    assert closeness(RESEMBLANCE, RESEMBLANCE) == pytest.approx(-1.0)
    assert closeness(np.zeros((4, 4)), RESEMBLANCE) == 0.0


def test_severity_ranks_the_other_classes_by_resemblance():
    labels = np.array([0, 0, 0, 0, 1])
    found = severity(np.array([0, 1, 2, 3, 2]), labels, RESEMBLANCE)
    assert found["severity"] == pytest.approx((0.0 + 0.5 + 1.0 + 1.0) / 4)
    assert found["grave"] == pytest.approx(3 / 5)
    assert found["accuracy"] == pytest.approx(1 / 5)
    without = severity(labels, labels, RESEMBLANCE)
    assert np.isnan(without["severity"]) and without["grave"] == 0.0


def test_midpoints_without_a_flow_are_means():
    first, second = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    assert torch.equal(midpoints(None, first, second), torch.full((2, 1, 2, 2), 0.5))


def test_the_referee_is_trained_once():
    training, test = load_images("digits")
    training = training.limited(400, 0)
    referee = train_referee(training, test, seed=0)
    assert train_referee(training, test, seed=0) is referee
    np.testing.assert_allclose(referee.resemblance, referee.resemblance.T)
    assert referee.accuracy > 0.8
    assert referee.resemblance.trace() / 10 > 0.6


def test_runs_measure_the_table_and_keep_their_distances(tmp_path):
    grid = neighbors_grid(
        {"digits": ("digits", "Digits", 10)}, seeds=(0,), base=small_flow(2, None, limit=300)
    )
    runs = [run for run in grid.runs if run.name == "digits-data-s0"]
    outcome = run_grid(grid, runs, tmp_path, {}, report=lambda _: None)
    assert not outcome.lost and not outcome.waiting
    (record,) = read_records(tmp_path / "records")
    table = grid.tables["digits"]
    rows = {row.metric: row for row in table.rows if row.setting == "digits-data"}
    figures = {
        name: [record["metrics"].get(row.metric_of(column)) for column in table.columns]
        for name, row in rows.items()
    }
    assert all(value is not None for value in figures["flow"])
    assert [value is not None for value in figures["pixels"]] == [False, True, False, False, True]
    assert [value is not None for value in figures["cnn"]] == [True, False, True, True, False]
    with np.load(tmp_path / "matrices" / "digits-data-s0.npz") as kept:
        assert kept["kld"].shape == kept["resemblance"].shape == (10, 10)
        assert closeness(kept["kld"], kept["resemblance"]) == pytest.approx(
            record["metrics"]["closeness_flow"], abs=1e-3
        )
