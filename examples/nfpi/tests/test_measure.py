"""Single runs of a grid: what their records keep, and of which images they are."""

from dataclasses import replace

import pytest
from fpigauss import InvalidInputError

from nfpi import measure
from nfpi.checkpoints import identity
from nfpi.config import from_dict
from nfpi.data import ImageSet
from nfpi.grid import Column, Grid, PlannedRun, Row, Table
from nfpi.records import read_records, write_record
from nfpi.runner import finished_records, run_grid

BASE = {
    "data": {"limit": 200},
    "flow": {"options": {"n_couplings": 2, "hidden": 8}},
    "gaussians": {"lam": 100.0, "epochs": [0]},
    "training": {"epochs": 1, "batch_size": 50},
    "evaluation": {"cnn": False},
}


def run_of(name, **config):
    return PlannedRun(name, name, 0, ("table1",), "digits", config=config)


@pytest.fixture
def grid():
    runs = (run_of("one"), run_of("two", training={"lr": 2e-3}))
    rows = tuple(Row(run.name, run.setting) for run in runs)
    tables = {"table1": Table("One", (Column("nf_acc", "NF-Acc"),), rows)}
    return Grid("small", "", BASE, runs, tables, claims=())


def other_digits(*arguments, **options):
    """Write the digits, turned upside down."""
    parts = LOADED(*arguments, **options)
    return tuple(
        ImageSet(part.images.flip(2), part.labels, part.n_classes, part.name) for part in parts
    )


LOADED = measure.load_images


@pytest.fixture
def fresh():
    """Forget the images of other tests."""
    kept = (measure._loaded, measure._identities)
    for cached in kept:
        cached.cache_clear()
    yield
    for cached in kept:
        cached.cache_clear()


def test_a_record_says_of_which_images_it_is(grid, tmp_path):
    assert run_grid(grid, grid.runs, tmp_path, {}).done == ["one", "two"]
    one, two = read_records(tmp_path / "records")
    training, test = LOADED("digits")
    assert one["data"] == {"training": identity(training), "test": identity(test)}
    assert two["data"] == one["data"]


def test_a_grid_does_not_go_on_with_other_images(grid, tmp_path, monkeypatch, fresh):
    run_grid(grid, grid.runs[:1], tmp_path, {})
    monkeypatch.setattr(measure, "load_images", other_digits)
    measure._loaded.cache_clear()
    measure._identities.cache_clear()
    with pytest.raises(InvalidInputError, match="digits: the images are not those of the existing"):
        run_grid(grid, grid.runs, tmp_path, {})
    assert not (tmp_path / "work" / "two").exists()


def test_a_finished_grid_does_not_pass_for_that_of_other_images(grid, tmp_path, monkeypatch, fresh):
    assert run_grid(grid, grid.runs, tmp_path, {}).done == ["one", "two"]
    monkeypatch.setattr(measure, "load_images", other_digits)
    measure._loaded.cache_clear()
    measure._identities.cache_clear()
    with pytest.raises(InvalidInputError, match="digits: the images are not those of the existing"):
        run_grid(grid, grid.runs, tmp_path, {})


def test_images_that_change_during_a_grid_are_refused(grid, tmp_path, monkeypatch, fresh):
    def change(line):
        monkeypatch.setattr(measure, "load_images", other_digits)
        measure._loaded.cache_clear()
        measure._identities.cache_clear()

    outcome = run_grid(grid, grid.runs, tmp_path, {}, report=change)
    assert outcome.done == ["one"]
    assert "digits: the images are not those of the existing records" in outcome.lost["two"]
    assert not (tmp_path / "work" / "two").exists()


def test_records_that_do_not_say_their_images_go_with_any(grid, tmp_path, monkeypatch, fresh):
    run_grid(grid, grid.runs[:1], tmp_path, {})
    (record,) = read_records(tmp_path / "records")
    del record["data"]  # as records of earlier versions are
    write_record(tmp_path / "records", record)
    assert finished_records(grid, tmp_path) == {"one": record}
    monkeypatch.setattr(measure, "load_images", other_digits)
    measure._loaded.cache_clear()
    measure._identities.cache_clear()
    assert run_grid(grid, grid.runs, tmp_path, {}).done == ["two"]


def test_a_failure_after_training_leaves_the_flows_figures(grid, tmp_path, monkeypatch):
    def fail(*_):
        raise FloatingPointError("the loss is nan at step 3")

    monkeypatch.setattr(measure, "generated_accuracies", fail)
    config = from_dict({**BASE, "evaluation": {"cnn": True}})
    task = measure.Task(grid.runs[0], config, tmp_path, None)
    measure.perform(task)
    measure.perform(replace(task, run=grid.runs[1], config=from_dict(BASE)))
    failed, whole = read_records(tmp_path / "records")
    assert failed["failure"] == "FloatingPointError: the loss is nan at step 3"
    assert failed["metrics"]["nf_acc"] == whole["metrics"]["nf_acc"]
    assert len(failed["history"]) == 1
    assert whole["failure"] is None
