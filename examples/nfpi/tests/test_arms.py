"""Table 5 as worded: mixing in the span of axes, arms of a run, and their pictures."""

import numpy as np
import pytest
import torch
from fpigauss_torch.augment import PrincipalAxes

from nfpi.arms import standard_of
from nfpi.batches import Batches
from nfpi.config import from_dict
from nfpi.data import load_images
from nfpi.gaussians import over_dense
from nfpi.grid import Column, Grid, PlannedRun, Row, Table, make_grid
from nfpi.mixing_figures import figure2_of_moves
from nfpi.records import read_records
from nfpi.runner import run_grid
from nfpi.training import train

BASE = {
    "data": {"limit": 200},
    "flow": {"options": {"n_couplings": 2, "hidden": 8}},
    "gaussians": {"lam": 100.0, "epochs": [0]},
    "training": {"epochs": 1, "batch_size": 50},
    "evaluation": {"cnn": False},
}

ARMS = {
    "none": {},
    "mix-4": {"flow": {"strength": 0.5, "n_axes": 4}},
    "noise": {"flow": {"strength": 0.5, "method": "noise"}},
    "standard": {"standard": True},
    "standard-mix": {"standard": True, "flow": {"strength": 0.5}},
}


def test_a_run_trains_a_classifier_per_arm_and_draws_its_moves(tmp_path):
    options = {
        "classifier": "small_cnn", "epochs": 1, "standard": ["mixup"], "arms": ARMS,
        "pictures": True,
    }  # fmt: skip
    run = PlannedRun("one", "one", 0, ("mixing",), "digits", kind="augmentation", options=options)
    rows = tuple(Row(arm, "one", metric=f"accuracy_{arm}") for arm in ARMS)
    table = Table("Mixing", (Column("accuracy", "accuracy"),), rows)
    grid = Grid("small", "", BASE, (run,), {"mixing": table}, claims=())
    assert run_grid(grid, grid.runs, tmp_path, {}).done == ["one"]
    (record,) = read_records(tmp_path / "records")
    assert record["failure"] is None
    assert {f"accuracy_{arm}" for arm in ARMS} <= record["metrics"].keys()
    with np.load(tmp_path / "images" / "one.npz") as file:
        assert list(file["moves"]) == ["mix-4", "noise"]
        assert file["images"].shape == (10, 1 + 2 * 3, 1, 8, 8)
    figure2_of_moves(tmp_path / "fig2.png", tmp_path / "images" / "one.npz")
    assert (tmp_path / "fig2.png").stat().st_size > 0


def test_dense_gaussians_have_the_axes_of_the_latents():
    images, _ = load_images("digits")
    few = images.limited(100, 0)  # ten per class, in 64 dimensions
    config = from_dict(BASE)
    trained = train(config, data=(few, few))
    model = over_dense(trained.judged, Batches(few, 50, seed=0))
    axes = PrincipalAxes.of(model.gaussians, 4)
    with torch.no_grad(), torch.random.fork_rng():
        z, y = zip(*((model.encode(x)[0], y) for x, y in Batches(few, 50, seed=0)), strict=True)
    own = torch.cat(z)[torch.cat(y) == 3].double()
    move = torch.linalg.svd(own - own.mean(0)).Vh[:4]
    labels = torch.full((4,), 3)
    # directions of the sample's axes are kept whole, those across them vanish
    torch.testing.assert_close(axes.project(move.float(), labels), move.float(), atol=1e-3, rtol=0)
    across = torch.linalg.svd(own - own.mean(0)).Vh[4:8].float()
    assert float(axes.project(across, labels).norm()) < 1e-2


def test_the_grid_sets_every_way_beside_the_same_classifier():
    grid = make_grid("mixing")
    (options,) = {str(run.options | {"pictures": None}) for run in grid.runs}
    assert len(grid.runs) == 5 and "'n_axes': 8" in options and "'n_axes': 32" in options
    assert sum("pictures" in run.options for run in grid.runs) == 1
    arms = grid.runs[0].options["arms"]
    for claim in grid.claims:
        for left, right in claim.pairs:
            assert {side.metric.removeprefix("accuracy_") for side in (left, right)} <= arms.keys()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"classifier": "small_cnn"}, ("flip", "crop")),
        ({"classifier": "small_cnn", "standard": ["mixup"]}, ("mixup",)),
    ],
)
def test_a_run_may_bring_its_own_standard_augmentation(options, names):
    assert standard_of(options) == names
