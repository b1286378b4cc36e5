"""Tables say what was measured, what is missing and what failed."""

import math

import pytest

from nfpi.grid.build import GRIDS, make_grid
from nfpi.grid.claims import Side
from nfpi.grid.results import chosen, measured
from nfpi.grid.tables import claims_table, paper_table, runs_table, tuning_table
from nfpi.paper_figures import PAPER

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")


def synthetic(grid, metrics):
    """Make records of all runs but tuning ones, each of metrics(setting, seed)."""
    return {
        run.name: {
            "key": run.name,
            "metrics": {"nf_acc": 0.5, "nll": 1.0} | metrics(run.setting, run.seed),
            "failure": None,
            "seconds": 1.0,
            "environment": {"python": "3"},
        }
        for run in grid.runs
    }


@pytest.mark.parametrize("scale", GRIDS)
def test_tables_are_complete_against_the_grid(scale):
    grid = make_grid(scale)
    columns = {
        row.metric_of(column)
        for table in grid.tables.values()
        for row in table.rows
        for column in table.columns
    }
    metrics = columns | {side.metric for c in grid.claims for pair in c.pairs for side in pair}
    records = synthetic(grid, lambda setting, seed: dict.fromkeys(metrics, 0.5 + seed / 100))
    for name, table in grid.tables.items():
        text = paper_table(name, grid, records)
        lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
        assert len(lines) >= len(table.rows)
        for row, line in zip(table.rows, lines, strict=False):
            assert line.startswith(f"| {row.label} |")
            assert "not run" not in line and "not measured" not in line
        for figure in {v for row in PAPER.get(name, {}).values() for v in row.values()}:
            assert f"{figure:g}" in text
    assert all(f"| {run.name} |" in runs_table(grid, records) for run in grid.runs)
    tuning = tuning_table(grid, records)
    assert all(f"| {run.name} |" in tuning for run in grid.runs if run.is_tuning)
    claims = claims_table(grid, records)
    assert all(f"| {claim.text} |" in claims for claim in grid.claims)
    assert "failed or missing" not in claims


def test_a_table_starts_with_the_verdicts_of_its_claims():
    grid = make_grid("reject")
    worse = {"exact": 0.4, "data": 0.5, "plain": 0.5}

    def metrics(setting, seed):
        names = {side.metric for c in grid.claims for pair in c.pairs for side in pair}
        return dict.fromkeys(names, worse.get(setting, 0.0) + seed / 1000)

    first, _, second, *_ = paper_table("reject", grid, synthetic(grid, metrics)).splitlines()
    assert first.startswith("# Rows of no class. By its Mahalanobis distance, a flow with")
    assert first.endswith("every score of a CNN: does not hold.")
    assert second.endswith("every score of a CNN: does not hold.") and "other data" in second


def test_tables_say_what_is_missing_and_what_failed():
    grid = make_grid("tiny")
    records = synthetic(grid, lambda setting, seed: {})
    failed = {"metrics": {}, "failure": "NonFiniteLossError: the loss is nan at step 3"}
    records |= {name: records[name] | failed for name in ("released-s0", "released-s1")}
    del records["exact-s0"], records["exact-s1"], records["data-s1"]
    text = paper_table("table1", grid, records)
    cells = {line.split(" | ")[0][2:]: line.split(" | ")[1:3] for line in text.splitlines()
             if line.startswith("| ")}  # fmt: skip
    assert cells["fixed point, exact, tied isotropic"] == ["0 of 2", "not run"]
    assert cells["fixed point, released"] == ["2, 2 failed", "failed"]
    assert cells["data initialization"] == ["1 of 2", "0.500"]
    assert "- released failed: NonFiniteLossError: the loss is nan at step 3" in text


def test_a_run_that_failed_late_counts_where_it_has_figures():
    grid = make_grid("tiny")
    records = synthetic(grid, lambda setting, seed: {"cnn_acc_1": None, "nll": math.nan})
    late = {"metrics": {"nf_acc": 0.9}, "failure": "NonFiniteLossError: of the classifier"}
    records |= {"released-s0": records["released-s0"] | late}
    del records["released-s1"]
    accuracy = measured(grid, records, Side("released", "nf_acc"))
    assert (accuracy.values, accuracy.failed, accuracy.missing) == ({0: 0.9}, set(), {1})
    generated = measured(grid, records, Side("released", "cnn_acc_1"))
    assert (generated.values, generated.failed, generated.missing) == ({}, {0}, {1})
    assert measured(grid, records, Side("data", "cnn_acc_1")).missing == {0, 1}
    assert not measured(grid, records, Side("data", "nll")).values
    text = claims_table(grid, records)
    (line,) = (one for one in text.splitlines() if "(released) classifies better" in one)
    assert "**not decided at this scale** (1 of 4 values failed or missing)" in line


def test_tables_say_which_cells_lack_runs_and_which_fits_did_not_converge():
    grid = make_grid("tiny")
    records = synthetic(grid, lambda setting, seed: {"nll": 1.0 + seed if seed else math.nan})
    records["exact-s1"]["metrics"] |= {"fit_status": "max_iter"}
    text = paper_table("table1", grid, records)
    (line,) = (one for one in text.splitlines() if one.startswith("| fixed point, exact"))
    assert line.split(" | ")[2:4] == ["0.500 ± 0.000", "2.0 (1 of 2)"]
    assert "- the last fit of exact: max_iter, at seed 1" in text


def test_times_are_medians():
    grid = make_grid("cpu")
    times = {0: 1.0, 1: 2.0, 2: 60.0}
    records = synthetic(grid, lambda setting, seed: {"fit_seconds": times.get(seed, 0.0)})
    text = paper_table("families", grid, records)
    row = "| tied-diagonal, lam = 30000, pi = forward"
    (line,) = (one for one in text.splitlines() if one.startswith(row))
    assert line.endswith("| 2.00 |")


def test_a_hump_names_the_lam_that_it_leaves_out():
    grid = make_grid("cpu")
    level = {"released-50000-forward": 0.5}
    records = synthetic(
        grid, lambda setting, seed: {"cnn_acc_1": level.get(setting, 0.3) + seed / 100}
    )
    broken = "released-100000-forward"
    records[f"{broken}-s1"] |= {"failure": "NotPositiveDefiniteError: here", "metrics": {}}
    text = claims_table(grid, records)
    (line,) = (one for one in text.splitlines() if "(released, T = 1)" in one)
    assert f"**holds**<br>without {broken}, of which runs failed" in line


def test_failed_tuning_runs_cannot_win():
    grid = make_grid("tiny")
    run = next(run for run in grid.runs if run.setting == "exact")
    records = synthetic(grid, lambda setting, seed: {})
    first, second = run.tuned_by
    records[first] |= {"metrics": {"nf_acc": 0.9}, "failure": "NonFiniteLossError: late"}
    assert chosen(run, grid, records).name == second


def test_tables_carry_their_notes(grid_as_read):
    grid = grid_as_read(make_grid("cpu"))
    assert "Lam was not tuned for them" in paper_table("table1", grid, {})
    assert "chosen for #4" in paper_table("table3", grid, {})
    grid = grid_as_read(make_grid("paper"))
    assert "the means alone (#2) on CIFAR-100" in paper_table("table1", grid, {})
    assert "lam of its released configuration" in paper_table("table3", grid, {})
