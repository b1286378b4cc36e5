"""Tasks in several processes, which may die, fail or be interrupted."""

import multiprocessing
import threading

import pytest

from nfpi.records import read_records
from nfpi.runner import finished_records, run_grid

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")


def test_a_process_that_dies_costs_its_run_alone(unbroken, tmp_path):
    grid, folder = unbroken
    runs = [run for run in grid.runs if run.name in ("tune-exact-100", "data-s0")]

    def kill_one():
        while not multiprocessing.active_children():
            pass
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()  # a child needs seconds to load torch: it cannot have finished
    outcome = run_grid(grid, runs, tmp_path, {}, workers=2)
    killer.join()
    (lost,) = outcome.lost
    assert "exit code -9" in outcome.lost[lost]
    assert {*outcome.done, lost} == {run.name for run in runs}
    assert run_grid(grid, runs, tmp_path, {}).done == [lost]
    for name, record in finished_records(grid, tmp_path).items():
        whole = finished_records(grid, folder)[name]
        assert record["metrics"]["nf_acc"] == pytest.approx(whole["metrics"]["nf_acc"], abs=1e-2)


def test_a_run_that_goes_wrong_costs_nothing_else(unbroken, tmp_path):
    grid, _ = unbroken
    runs = [run for run in grid.runs if run.is_tuning or run.name == "data-s0"]
    broken = tmp_path / "work" / runs[0].name / "checkpoint.pt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"broken")
    outcome = run_grid(grid, runs, tmp_path, {}, workers=2)
    assert "cannot be read" in outcome.lost.pop(runs[0].name)
    assert not outcome.lost and sorted(outcome.done) == sorted(run.name for run in runs[1:])


def test_a_call_that_cannot_report_ends(unbroken, tmp_path):
    grid, _ = unbroken
    runs = [run for run in grid.runs if run.name == "data-s0"]

    def report(line):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_grid(grid, runs, tmp_path, {}, workers=2, report=report)
    assert [record["key"] for record in read_records(tmp_path / "records")] == ["data-s0"]
