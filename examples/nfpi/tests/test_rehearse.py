"""The rehearsal of a grid."""

import re

import pytest

from nfpi.grid import Grid, PlannedRun, Row, Table, write_grid
from nfpi.grid.build import make_grid
from nfpi.records import read_records, write_record

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")


def total(text):
    return float(re.search(r"runs without a record: (\S+) hours", text)[1])


def test_the_rehearsal_extrapolates_the_runs_without_a_record(rehearse, tmp_path, capsys):
    arguments = ["table3", "table5", "--scale", "tiny", "--results", str(tmp_path)]
    assert rehearse.main(arguments) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert sum(int(line.split(" | ")[1]) for line in lines) > len(
        lines
    )  # runs of a kind share a row
    for line in lines:
        _, n, epoch, _, classifiers, each, every = line.strip("| ").split(" | ")
        assert 0.0 < float(epoch) < 3600.0 * float(each)
        assert float(every) == pytest.approx(int(n) * float(each), rel=0.01)
        assert float(classifiers) >= 0.0


def test_runs_with_a_record_cost_nothing(rehearse, unbroken, tmp_path, capsys):
    grid, folder = unbroken
    write_grid(tmp_path / "grid.json", grid)
    arguments = ["--scale", "tiny", "--grid", str(tmp_path / "grid.json")]
    for record in read_records(folder / "records"):
        if record["key"] != "data-s0":
            write_record(tmp_path / "tiny" / "records", record)
    assert rehearse.main([*arguments, "--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "| data-s0 | 1 |" in text and 0.0 < total(text) < 0.1
    assert rehearse.main([*arguments, "--results", str(folder.parent)]) == 0


def test_arms_are_timed_and_other_kinds_are_named(rehearse, tmp_path, capsys):
    base = {
        "data": {"limit": 100},
        "flow": {"options": {"n_couplings": 2, "hidden": 8}},
        "gaussians": {"lam": 100.0, "epochs": [0]},
        "training": {"epochs": 1, "batch_size": 50},
        "evaluation": {"cnn": False},
    }
    arms = {"none": {}, "mix-4": {"flow": {"strength": 0.5, "n_axes": 4}}}
    options = {"classifier": "small_cnn", "epochs": 7, "standard": [], "arms": arms}
    runs = (
        PlannedRun("arms", "arms", 0, ("t",), "digits", kind="augmentation", options=options),
        PlannedRun("energy", "energy", 0, ("t",), "digits", kind="energy"),
    )
    table = Table("Table", (), (Row("arms", "arms"), Row("energy", "energy")))
    write_grid(tmp_path / "grid.json", Grid("small", "", base, runs, {"t": table}, claims=()))
    given = ["--scale", "tiny", "--grid", str(tmp_path / "grid.json"), "--results", str(tmp_path)]
    assert rehearse.main(given) == 0
    text = capsys.readouterr().out
    assert "| energy | 1 | kind 'energy' is not timed |" in text
    row = next(line for line in text.splitlines() if line.startswith("| arms "))
    _, _, _, _, classifiers, each, _ = row.strip("| ").split(" | ")
    assert 0.0 < float(classifiers) < 3600.0 * float(each)
    assert "1 more runs could not be rehearsed" in text


def test_images_without_a_path_are_named(rehearse, tmp_path, capsys):
    arguments = ["table1", "--scale", "paper", "--results", str(tmp_path)]
    assert rehearse.main(arguments) == 0
    text = capsys.readouterr().out
    assert "no path of cifar10 |" in text and "no path of cifar100 |" in text
    assert total(text) == 0.0
    n = len(make_grid("paper").of_table("table1"))
    assert f"{n} more runs could not be rehearsed" in text
    assert rehearse.main([*arguments, "--mnist", "nowhere"]) == 2
