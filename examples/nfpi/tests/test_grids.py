"""The committed grids: what the code makes, and what they need to contain."""

from dataclasses import replace

import pytest
from fpigauss import InvalidInputError

from nfpi.config import from_dict
from nfpi.grid import merged, read_grid, write_grid
from nfpi.grid.build import GRIDS, make_grid
from nfpi.grid.scales import SCALES
from nfpi.records import write_record

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")


@pytest.mark.parametrize("scale", GRIDS)
def test_the_committed_grid_is_what_the_code_makes(reproduce, grid_as_read, scale):
    grid = make_grid(scale)
    assert read_grid(reproduce.GRIDS / f"{scale}.json") == grid_as_read(grid)


@pytest.mark.parametrize("scale", GRIDS)
def test_every_run_of_a_grid_is_a_config(scale):
    grid = make_grid(scale)
    for run in grid.runs:
        config = from_dict(merged(grid.base, run.config, run.choice))
        generates = scale not in ("layer", "levels") and not run.is_tuning
        assert config.evaluation.cnn is generates or run.kind != "flow"
    assert len({run.name for run in grid.runs}) == len(grid.runs)


def test_baselines_get_as_many_tuning_runs_as_the_fixed_point():
    grid = make_grid("cpu")
    tuned = {run.setting: len(run.tuned_by) for run in grid.runs if run.tuned_by}
    assert set(tuned.values()) == {3}
    assert {"exact", "released", "gd-linear", "gd-superlinear-v2", "ib-inn"} <= tuned.keys()


def test_claims_compare_what_was_tuned_alike():
    for grid in map(make_grid, SCALES):
        tuned = {run.setting: run.tuned_by for run in grid.runs if not run.is_tuning}
        assert tuned["released-means"] == tuned["released-covariances"] == tuned["released"] != ()
        (claim,) = (one for one in grid.claims if one.name == "exact-above-data-tied")
        exact, data = (
            next(run for run in grid.runs if run.setting == side.setting) for side in claim.pairs[0]
        )
        for run in (exact, data):
            gaussians = from_dict(merged(grid.base, run.config)).gaussians
            assert (gaussians.covariance, gaussians.tied) == ("isotropic", True)


@pytest.mark.parametrize("scale", ["classes", "even", "layer"])
def test_methods_with_a_strength_are_tuned_as_often(scale):
    grid = make_grid(scale)
    tuned = {run.setting: len(run.tuned_by) for run in grid.runs if run.tuned_by}
    counts = {n for setting, n in tuned.items() if not setting.endswith("-learned")}
    assert len(counts) == 1  # learned means have a rate alone
    for run in grid.runs:
        choices = [one for one in grid.runs if one.name in run.tuned_by]
        values = [from_dict(merged(grid.base, run.config, one.choice)) for one in choices]
        assert len({repr(value.gaussians) for value in values}) == len(choices)


def test_sets_of_classes_train_on_as_many_images_per_class_for_as_many_steps():
    grid = make_grid("classes")
    steps, per_class = set(), {}
    for run in grid.runs:
        config = from_dict(merged(grid.base, run.config, run.choice))
        per_epoch = -(-config.data.limit // config.training.batch_size)
        steps.add(per_epoch * config.training.epochs)
        assert 140 <= per_epoch * config.gaussians.epochs[0] <= 160
        share = config.data.limit / config.data.classes
        per_class.setdefault(run.dataset, set()).add(round(share))
    assert max(steps) < 1.02 * min(steps)
    assert per_class == {"glyphs": {323}, "mnist_pairs": {200}}


def test_flows_that_train_as_long_differ_in_the_flow_and_its_training_alone():
    grid = make_grid("cpu")
    configs = {
        name: from_dict(merged(grid.base, grid.runs_of(name)[0].config))
        for name in ("mef-exact", "coupling-as-long", "tarflow-as-long")
    }
    first = configs["mef-exact"]
    for config in configs.values():
        assert config.data == first.data
        assert config.gaussians == first.gaussians
        assert config.evaluation == first.evaluation
        assert config.training.batch_size == first.training.batch_size
    names = [config.flow.name for config in configs.values()]
    assert names == ["mef16", "coupling", "tarflow16"]
    assert all(len(grid.runs_of(name)) == 3 for name in configs)


def test_tuning_seeds_are_in_no_table():
    for grid in map(make_grid, GRIDS):
        tuning = {run.seed for run in grid.runs if run.is_tuning}
        assert not tuning & {run.seed for run in grid.runs if not run.is_tuning}


def test_a_grid_with_a_setting_that_no_run_has_is_refused(small_grid):
    with pytest.raises(InvalidInputError, match=r"without a run.*'data'"):
        replace(small_grid, runs=tuple(run for run in small_grid.runs if run.setting != "data"))


def test_a_table_headed_by_a_claim_that_is_not_there_is_refused(small_grid):
    tables = {"table1": replace(small_grid.tables["table1"], headlines=("below",))}
    with pytest.raises(InvalidInputError, match=r"headed by claims that are not there.*'below'"):
        replace(small_grid, tables=tables)


def test_a_missing_or_damaged_grid_is_named(tmp_path):
    path = tmp_path / "grid.json"
    with pytest.raises(InvalidInputError, match=r"grid.json is missing.*--write-grid"):
        read_grid(path)
    path.write_text("{}")
    with pytest.raises(InvalidInputError, match="is not a grid: scale is missing"):
        read_grid(path)


def test_a_grid_that_has_runs_is_not_rewritten(reproduce, tmp_path, capsys):
    arguments = ["--scale", "tiny", "--grid", str(tmp_path / "g.json"), "--results", str(tmp_path)]
    assert reproduce.main([*arguments, "--write-grid"]) == 0
    assert reproduce.main([*arguments, "--write-grid"]) == 0  # the same: nothing is lost
    changed = replace(make_grid("tiny"), note="another")
    write_grid(tmp_path / "g.json", changed)
    write_record(tmp_path / "tiny" / "records", {"key": "data-s0"})
    assert reproduce.main([*arguments, "--write-grid"]) == 2
    assert "has runs in" in capsys.readouterr().err
