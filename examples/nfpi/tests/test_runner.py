"""Runs of a grid: tuned, killed, resumed, failed, copied."""

import json
import shutil
from dataclasses import replace

import pytest
from filelock import FileLock
from fpigauss import InvalidInputError

from nfpi import measure, workers
from nfpi.config import from_dict
from nfpi.grid import merged
from nfpi.grid.build import make_grid
from nfpi.grid.tables import runs_table
from nfpi.records import read_records, write_record
from nfpi.runner import finished_records, run_grid

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")


def without_times(record):
    metrics = {k: v for k, v in record["metrics"].items() if "seconds" not in k}
    return {"config": record["config"], "metrics": metrics, "failure": record["failure"]}


def test_the_best_tuning_run_decides(unbroken):
    grid, folder = unbroken
    records = finished_records(grid, folder)
    names = ("tune-exact-100", "tune-exact-1000")
    best = max(names, key=lambda name: records[name]["metrics"]["nf_acc"])
    assert records["exact-s0"]["chosen_by"] == best
    assert records["exact-s0"]["config"]["gaussians"]["lam"] == float(best.split("-")[-1])


def test_tuning_runs_see_no_test_image():
    run = next(run for run in make_grid("tiny").runs if run.is_tuning)
    config = from_dict({})
    training, validation = measure._images(run, config)
    images, test = measure._images(replace(run, choice={}), config)
    assert len(training) + len(validation) == len(images)
    seen = {picture.numpy().tobytes() for part in (training, validation) for picture in part.images}
    assert seen == {picture.numpy().tobytes() for picture in images.images}
    assert len(validation) != len(test)


def test_finished_runs_are_not_run_again(unbroken, monkeypatch):
    grid, folder = unbroken
    monkeypatch.setattr(workers, "perform", lambda *_: pytest.fail("a run was repeated"))
    outcome = run_grid(grid, grid.runs, folder, {})
    assert not outcome.done and not outcome.lost and not outcome.waiting


def test_a_killed_run_goes_on_to_the_result_of_an_unbroken_one(unbroken, tmp_path, monkeypatch):
    grid, folder = unbroken
    run = next(run for run in grid.runs if run.name == "data-s0")
    train = measure.train

    def killed_after_an_epoch(*arguments, **options):
        def kill(entry):
            raise KeyboardInterrupt

        return train(*arguments, **options, callback=kill)

    monkeypatch.setattr(measure, "train", killed_after_an_epoch)
    with pytest.raises(KeyboardInterrupt):
        run_grid(grid, [run], tmp_path, {})
    assert not read_records(tmp_path / "records")
    assert (tmp_path / "work" / "data-s0" / "checkpoint.pt").exists()
    monkeypatch.setattr(measure, "train", train)
    assert run_grid(grid, [run], tmp_path, {}).done == ["data-s0"]
    ours, whole = (finished_records(grid, at)["data-s0"] for at in (tmp_path, folder))
    assert without_times(ours) == without_times(whole)
    assert not (tmp_path / "work" / "data-s0").exists()


def test_what_another_run_has_done_already_is_taken_over(unbroken, tmp_path, monkeypatch):
    grid, folder = unbroken
    twin = replace(next(run for run in grid.runs if run.name == "data-s0"), name="twin-s0")
    grid = replace(grid, runs=(*grid.runs, twin))
    for record in read_records(folder / "records"):
        write_record(tmp_path / "records", record)
    monkeypatch.setattr(workers, "perform", lambda *_: pytest.fail("a run was repeated"))
    assert run_grid(grid, grid.runs, tmp_path, {}).done == ["twin-s0"]
    record = finished_records(grid, tmp_path)["twin-s0"]
    assert record["same_as"] == "data-s0"
    assert "done, the same as data-s0" in runs_table(grid, finished_records(grid, tmp_path))


def test_a_setting_that_fails_leaves_a_record_that_says_so(small_grid, tmp_path):
    run = next(run for run in small_grid.runs if run.name == "data-s0")
    run = replace(run, config=merged(run.config, {"training": {"lr": 1e9}}))
    grid = replace(
        small_grid, runs=tuple(run if r.name == run.name else r for r in small_grid.runs)
    )
    assert run_grid(grid, [run], tmp_path, {}).done == ["data-s0"]
    record = finished_records(grid, tmp_path)["data-s0"]
    assert record["failure"].startswith("NonFiniteLossError") and record["metrics"] == {}
    assert "'work/data-s0/nonfinite_batch.pt'" in record["failure"]
    assert (tmp_path / "work" / "data-s0" / "nonfinite_batch.pt").exists()
    assert str(tmp_path) not in json.dumps(record)


def test_a_record_of_another_config_is_refused(unbroken, tmp_path):
    grid, folder = unbroken
    for record in read_records(folder / "records"):
        write_record(tmp_path / "records", record)
    changed = replace(grid, base=merged(grid.base, {"training": {"lr": 0.5}}))
    with pytest.raises(InvalidInputError, match=r"data-s0.json has another config"):
        finished_records(changed, tmp_path)
    write_record(tmp_path / "records", {"key": "stray"})
    with pytest.raises(InvalidInputError, match=r"stray.json belongs to no run"):
        finished_records(grid, tmp_path)


DAMAGED = {
    "no config": ({"config": ...}, "config is missing"),
    "config null": ({"config": None}, "config is None"),
    "key of another version": ({"config": {"future": 1}}, "unknown key future"),
    "no failure": ({"failure": ...}, "failure is missing"),
    "metrics null": ({"metrics": None}, "metrics is None"),
    "metrics in a list": ({"metrics": [1.0]}, "metrics is"),
    "metric in a list": ({"metrics": {"nf_acc": [1.0]}}, "metrics.nf_acc is"),
    "metric without end": ({"metrics": {"nf_acc": 10**400}}, "metrics.nf_acc is 1000"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_named(unbroken, tmp_path, change, message):
    grid, folder = unbroken
    shutil.copytree(folder / "records", tmp_path / "records")
    path = tmp_path / "records" / "data-s0.json"
    record = json.loads(path.read_text()) | change
    path.write_text(json.dumps({name: part for name, part in record.items() if part is not ...}))
    with pytest.raises(InvalidInputError) as caught:
        finished_records(grid, tmp_path)
    assert str(caught.value).startswith(f"{path} is damaged: {message}")
    assert str(caught.value).endswith("; remove it to repeat the run")


def test_text_nested_too_deep_is_no_record(unbroken, tmp_path):
    grid, _ = unbroken
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "data-s0.json").write_text("[" * 100_000)
    with pytest.raises(InvalidInputError, match=r"data-s0.json is damaged"):
        finished_records(grid, tmp_path)


def test_a_file_in_place_of_the_records(unbroken, tmp_path):
    grid, _ = unbroken
    (tmp_path / "records").write_text("")
    with pytest.raises(InvalidInputError, match="records is not a folder; move it"):
        finished_records(grid, tmp_path)


def test_two_calls_do_not_run_into_one_folder(unbroken, tmp_path):
    grid, _ = unbroken
    (tmp_path / "work").mkdir()
    elsewhere = FileLock(tmp_path / "work" / "lock")
    with elsewhere, pytest.raises(InvalidInputError, match="another call is writing to it"):
        run_grid(grid, grid.runs, tmp_path, {})


def test_a_run_that_waits_for_its_tuning_runs_says_so(unbroken, tmp_path):
    grid, _ = unbroken
    runs = [run for run in grid.runs if run.name == "exact-s0"]
    (why,) = run_grid(grid, runs, tmp_path, {}).waiting.values()
    assert why == "tuning runs that decide it have no record: tune-exact-100, tune-exact-1000"


def test_runs_without_a_path_wait(tmp_path):
    grid = make_grid("cpu")
    outcome = run_grid(grid, grid.of_table("table1"), tmp_path, {}, report=print)
    assert not outcome.done and len(outcome.waiting) == len(grid.of_table("table1"))
    assert set(outcome.waiting.values()) == {"the path of its images was not given"}
