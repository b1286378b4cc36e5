"""The command line of reproduce.py."""

import shutil
from dataclasses import replace

import pytest

from nfpi.grid import merged, write_grid
from nfpi.grid.build import make_grid
from nfpi.records import read_records, write_record

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")


def test_the_command_runs_and_writes_tables(reproduce, unbroken, tmp_path, capsys):
    grid, folder = unbroken
    write_grid(tmp_path / "grid.json", grid)
    for record in read_records(folder / "records"):
        if record["key"] != "data-s0":
            write_record(tmp_path / "tiny" / "records", record)
    arguments = ["table1", "--scale", "tiny", "--results", str(tmp_path)]
    assert reproduce.main([*arguments, "--grid", str(tmp_path / "grid.json")]) == 0
    text = (tmp_path / "tiny" / "tables" / "table1.md").read_text()
    assert "| data | 1 |" in text and "not run" not in text
    assert "[1/1]" in capsys.readouterr().out


@pytest.mark.parametrize(("what", "scale"), [("table6", "cpu"), ("demonstration", "tiny")])
def test_the_command_says_that_nothing_is_run(reproduce, what, scale, tmp_path, capsys):
    assert reproduce.main([what, "--scale", scale, "--results", str(tmp_path)]) == 0
    assert f"{what}: nothing is run for it at scale {scale}" in capsys.readouterr().out


def test_a_failed_run_is_an_error_only_if_that_is_asked_for(
    reproduce, small_grid, tmp_path, capsys
):
    runs = tuple(
        replace(run, config=merged(run.config, {"training": {"lr": 1e9}}))
        if run.name == "data-s0"
        else run
        for run in small_grid.runs
    )
    write_grid(tmp_path / "grid.json", replace(small_grid, runs=runs))
    arguments = ["table1", "--scale", "tiny", "--grid", str(tmp_path / "grid.json"), "--results"]
    assert reproduce.main([*arguments, str(tmp_path / "lenient")]) == 0
    capsys.readouterr()
    for options in ([], [], ["--no-runs"]):  # however often it is asked for
        assert reproduce.main([*arguments, str(tmp_path / "strict"), "--strict", *options]) == 1
        assert "failed: data-s0: NonFiniteLossError" in capsys.readouterr().err


def test_the_command_says_what_it_does_not_draw(reproduce, tmp_path, capsys):
    arguments = ["fig2", "--scale", "cpu", "--results", str(tmp_path), "--no-runs"]
    assert reproduce.main(arguments) == 0
    assert "fig2 is not drawn: exact-s0 has no record yet" in capsys.readouterr().out
    grid = make_grid("cpu")
    run = next(run for run in grid.runs if run.name == "exact-s0")
    for failure, words in (
        (None, r"exact-s0.npz is missing; it belongs to the record"),
        ("NonFiniteLossError: here", "exact-s0 failed: NonFiniteLossError: here"),
    ):
        records = {run.name: {"failure": failure}}
        reproduce._draw("fig2", grid, records, tmp_path, None)
        assert words in capsys.readouterr().out


@pytest.mark.parametrize("scale", ["reject", "neighbors", "neighbors-again"])
def test_committed_records_give_the_committed_tables(reproduce, scale, tmp_path):
    committed = reproduce.RESULTS / scale
    shutil.copytree(committed, tmp_path / scale, ignore=shutil.ignore_patterns("tables", "work"))
    arguments = ["all", "--scale", scale, "--no-runs", "--results", str(tmp_path)]
    assert reproduce.main(arguments) == 0
    for table in (committed / "tables").iterdir():
        assert (tmp_path / scale / "tables" / table.name).read_text() == table.read_text()
    for figure in (committed / "figures").iterdir():
        assert (tmp_path / scale / "figures" / figure.name).stat().st_size > 10_000


def test_a_picture_of_records_that_are_gone_is_removed(reproduce, tmp_path, capsys):
    shutil.copytree(reproduce.RESULTS / "classes", tmp_path / "classes")
    for path in (tmp_path / "classes" / "records").glob("k62-d*"):
        path.unlink()
    for path in (tmp_path / "classes" / "records").glob("k62-exact*"):
        path.unlink()
    picture = tmp_path / "classes" / "figures" / "dims.png"
    assert picture.exists()
    call = ["dims", "--scale", "classes", "--results", str(tmp_path), "--no-runs"]
    assert reproduce.main(call) == 0
    assert not picture.exists()
    assert f"removed {picture}" in capsys.readouterr().out


def test_the_command_says_where_it_cannot_write(reproduce, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["fig2", "--scale", "tiny", "--results", str(tmp_path / "file")]
    assert reproduce.main(arguments) == 1
    assert capsys.readouterr().err.startswith("reproduce.py: [Errno")


@pytest.mark.parametrize(("option", "scale"), [("--data", "tiny"), ("--mnist", "paper")])
def test_the_command_refuses_images_that_it_has_no_use_for(
    reproduce, option, scale, tmp_path, capsys
):
    arguments = ["table1", "--scale", scale, "--results", str(tmp_path), option, str(tmp_path)]
    assert reproduce.main(arguments) == 2
    assert f"{option} has no effect at scale {scale}" in capsys.readouterr().err


def test_the_command_names_a_path_that_does_not_exist(reproduce, tmp_path, capsys):
    arguments = ["table1", "--scale", "cpu", "--results", str(tmp_path), "--data", "nowhere.npz"]
    assert reproduce.main(arguments) == 2
    assert "nowhere.npz does not exist" in capsys.readouterr().err
