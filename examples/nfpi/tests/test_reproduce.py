"""The grid, its runs, and what is made of their records."""

import json
import math
import multiprocessing
import threading
from dataclasses import replace

import numpy as np
import pytest
import scipy
from filelock import FileLock
from fpigauss import InvalidInputError

from nfpi import measure, runner
from nfpi.config import from_dict
from nfpi.figures import figure1, figure2, load_embedding
from nfpi.grid import Row, Table, merged, read_grid, write_grid
from nfpi.grid.build import make_grid
from nfpi.grid.claims import Claim, Measured, Side, Verdict, decide
from nfpi.grid.results import chosen, measured
from nfpi.grid.scales import SCALES
from nfpi.grid.tables import claims_table, paper_table, runs_table, tuning_table
from nfpi.intervals import paired_interval, t_interval
from nfpi.paper_figures import PAPER
from nfpi.records import read_records, write_record
from nfpi.runner import finished_records, run_grid

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")

KEPT = ("tune-exact-100", "tune-exact-1000", "exact-s0", "data-s0")


@pytest.fixture
def small_grid():
    """Four runs of the tiny grid, a few seconds in all: two tune a third."""
    grid = make_grid("tiny")
    base = merged(grid.base, {"training": {"epochs": 2}, "evaluation": {"cnn": False}})
    runs = tuple(
        replace(run, tables=("table1",), config={**run.config, "evaluation": {"cnn": False}})
        for run in grid.runs
        if run.name in KEPT
    )
    rows = (Row("data", "data", "data initialisation"), Row("exact", "exact", "fixed point"))
    table = Table(grid.tables["table1"].title, grid.tables["table1"].columns, rows)
    claim = Claim(
        "above", "Above.", "greater", ((Side("exact", "nf_acc"), Side("data", "nf_acc")),)
    )
    return replace(grid, base=base, runs=runs, tables={"table1": table}, claims=(claim,))


def without_times(record):
    metrics = {k: v for k, v in record["metrics"].items() if "seconds" not in k}
    return {"config": record["config"], "metrics": metrics, "failure": record["failure"]}


def synthetic(grid, metrics):
    """Records of all runs but tuning ones: metrics(setting, seed) each."""
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


# -- intervals and verdicts ----------------------------------------------------------------


def test_t_interval_of_known_values():
    # variance 1, and the 97.5 % quantile of t with 2 degrees of freedom is sqrt(2) * 0.95 /
    # sqrt(1 - 0.95^2)
    interval = t_interval([1.0, 2.0, 3.0])
    quantile = math.sqrt(2.0) * 0.95 / math.sqrt(1.0 - 0.95**2)
    assert interval.mean == 2.0 and interval.n == 3
    # older quantiles of scipy are off by up to 4e-11
    new = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 17)
    precision = 1e-12 if new else 1e-10
    assert interval.half_width == pytest.approx(quantile / math.sqrt(3.0), rel=precision)


def test_t_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [t_interval(list(rng.normal(size=4))) for _ in range(2000)]
    covered = np.mean([one.low < 0.0 < one.high for one in intervals])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_one_value_has_no_interval():
    assert t_interval([0.5]).half_width == math.inf


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_intervals_refuse_what_is_no_number(values):
    with pytest.raises(InvalidInputError, match="values"):
        t_interval(values)


def test_pairs_are_of_the_seeds_that_both_have():
    first, second = {0: 1.0, 1: 3.0, 2: 9.0}, {0: 0.5, 1: 2.5, 7: 0.0}
    interval = paired_interval(first, second)
    assert (interval.mean, interval.half_width, interval.n) == (0.5, 0.0, 2)
    assert paired_interval({0: 1.0}, {1: 1.0}) is None


A, B = Side("a", "m"), Side("b", "m")


def verdict(rule, left, right, **options):
    found = {A: Measured(dict(enumerate(left))), B: Measured(dict(enumerate(right)))}
    return decide(Claim("c", "C.", rule, ((A, B),), **options), found.__getitem__).verdict


@pytest.mark.parametrize(
    ("rule", "shift", "margin", "expected"),
    [
        ("greater", 0.02, 0.0, Verdict.HOLDS),
        ("greater", -0.02, 0.0, Verdict.DOES_NOT_HOLD),
        ("greater", 0.001, 0.0, Verdict.NOT_DECIDED),
        ("at_least", -0.001, 0.01, Verdict.HOLDS),
        ("at_least", -0.02, 0.01, Verdict.DOES_NOT_HOLD),
        ("at_least", -0.01, 0.01, Verdict.NOT_DECIDED),
    ],
)
def test_verdicts_of_a_pair(rule, shift, margin, expected):
    noise = np.array([-2e-3, 0.0, 2e-3])  # the interval is 5e-3 wide to either side
    right = np.array([0.7, 0.8, 0.9])
    assert verdict(rule, right + shift + noise, right, margin=margin) is expected
    # turned round, for a metric that should be low
    turned = verdict(rule, right - shift + noise, right, margin=margin, lower_is_better=True)
    assert turned is expected


def test_one_seed_or_none_decides_nothing():
    assert verdict("greater", [0.9], [0.1]) is Verdict.NOT_DECIDED
    assert verdict("greater", [], [0.1, 0.2]) is Verdict.NOT_DECIDED


def test_a_claim_of_several_pairs_needs_all_of_them():
    found = {Side(s, "m"): Measured({i: v + 1e-3 * i * v for i in range(3)})
             for s, v in {"low": 0.1, "mid": 0.5, "high": 0.9}.items()}  # fmt: skip
    low, mid, high = found
    both = Claim("c", "C.", "greater", ((high, mid), (mid, low)))
    assert decide(both, found.__getitem__).verdict is Verdict.HOLDS
    broken = replace(both, pairs=((high, mid), (low, mid)))
    assert decide(broken, found.__getitem__).verdict is Verdict.DOES_NOT_HOLD


@pytest.mark.parametrize("side", [A, B])
@pytest.mark.parametrize("shift", [0.02, -0.02])
@pytest.mark.parametrize("how", ["failed", "missing"])
def test_seeds_without_a_value_decide_nothing(side, shift, how):
    right = {0: 0.7, 1: 0.8, 2: 0.9}
    found = {A: Measured({seed: v + shift for seed, v in right.items()}), B: Measured(right)}
    claim = Claim("c", "C.", "greater", ((A, B),))
    whole = decide(claim, found.__getitem__)
    assert whole.verdict is (Verdict.HOLDS if shift > 0 else Verdict.DOES_NOT_HOLD)
    assert (whole.n_without, whole.n_values) == (0, 6)
    kept = {seed: v for seed, v in found[side].values.items() if seed != 2}
    found[side] = Measured(kept, **{how: frozenset({2})})
    finding = decide(claim, found.__getitem__)
    assert finding.verdict is Verdict.NOT_DECIDED
    assert (finding.n_without, finding.n_values) == (1, 6)
    assert finding.differences[0][2].n == 2  # shown nevertheless


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0.3, 0.5, 0.45, 0.35], Verdict.HOLDS),
        ([0.3, 0.4, 0.45, 0.5], Verdict.DOES_NOT_HOLD),  # it only rises
        ([0.5, 0.501, 0.5, 0.5], Verdict.DOES_NOT_HOLD),  # smaller than the margin
    ],
)
def test_a_hump_rises_and_falls(levels, expected):
    noise = [0.0, 1e-3, 3e-3]  # of a seed, which all levels share
    sides = tuple(Side(f"lam-{i}", "cnn") for i in range(len(levels)))
    found = {
        side: Measured({seed: level + extra for seed, extra in enumerate(noise)})
        for side, level in zip(sides, levels, strict=True)
    }
    claim = Claim("hump", "Hump.", "hump", (sides,), margin=0.01)
    assert decide(claim, found.__getitem__).verdict is expected


def test_a_hump_is_among_the_levels_at_which_no_run_failed():
    sides = tuple(Side(f"lam-{i}", "cnn") for i in range(4))
    found = {side: Measured({}, failed=frozenset({0, 1})) for side in sides}
    claim = Claim("hump", "Hump.", "hump", (sides,), margin=0.01)
    assert decide(claim, found.__getitem__).verdict is Verdict.NOT_DECIDED
    for side, level in zip(sides[:3], (0.3, 0.5, 0.4), strict=True):
        found[side] = Measured({0: level, 1: level + 1e-3})
    found[sides[3]] = Measured({0: 0.9}, failed=frozenset({1}))  # the other seed was lucky
    finding = decide(claim, found.__getitem__)
    assert finding.verdict is Verdict.HOLDS
    assert (finding.left_out, finding.n_without, finding.n_values) == (("lam-3",), 0, 6)
    assert [pair[:2] for pair in finding.differences] == [
        (sides[1], sides[0]),
        (sides[1], sides[2]),
    ]
    found[sides[3]] = Measured({0: 0.9}, missing=frozenset({1}))  # still to be run
    assert decide(claim, found.__getitem__).verdict is Verdict.NOT_DECIDED


# -- the grids -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
def test_the_committed_grid_is_what_the_code_makes(reproduce, scale, tmp_path):
    grid = make_grid(scale)
    assert read_grid(reproduce.GRIDS / f"{scale}.json") == grid_as_read(grid, tmp_path)


def grid_as_read(grid, folder):
    write_grid(folder / "grid.json", grid)
    return read_grid(folder / "grid.json")


@pytest.mark.parametrize("scale", SCALES)
def test_every_run_of_a_grid_is_a_config(scale):
    grid = make_grid(scale)
    for run in grid.runs:
        config = from_dict(merged(grid.base, run.config, run.choice))
        assert config.evaluation.cnn is not run.is_tuning or run.kind == "augmentation"
    assert len({run.name for run in grid.runs}) == len(grid.runs)


@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_baselines_get_as_many_tuning_runs_as_the_fixed_point(scale):
    grid = make_grid(scale)
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


def test_tuning_seeds_are_in_no_table():
    for grid in map(make_grid, SCALES):
        tuning = {run.seed for run in grid.runs if run.is_tuning}
        assert not tuning & {run.seed for run in grid.runs if not run.is_tuning}


def test_a_grid_with_a_setting_that_no_run_has_is_refused(small_grid):
    with pytest.raises(InvalidInputError, match=r"without a run.*'data'"):
        replace(small_grid, runs=tuple(run for run in small_grid.runs if run.setting != "data"))


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


# -- tables --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
def test_tables_are_complete_against_the_grid(scale):
    grid = make_grid(scale)
    columns = {column.metric for table in grid.tables.values() for column in table.columns}
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
    assert claims.count("| Table") + 2 == len(grid.claims)
    assert "failed or missing" not in claims


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
    assert cells["data initialisation"] == ["1 of 2", "0.500"]
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


def test_tables_carry_their_notes(tmp_path):
    grid = grid_as_read(make_grid("paper"), tmp_path)
    text = paper_table("table1", grid, {})
    assert "Lam was not tuned for them" in text
    assert "On cifar100 all rows are at lam = 3e+06" in text
    assert "chosen for #4" in paper_table("table3", grid, {})


# -- runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The small grid run once in this process."""
    folder = tmp_path_factory.mktemp("unbroken")
    grid = small_grid.__wrapped__()
    lines = []
    outcome = run_grid(grid, grid.runs, folder, {}, report=lines.append)
    assert not outcome.lost and not outcome.waiting and len(lines) == len(KEPT)
    return grid, folder


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
    monkeypatch.setattr(runner, "perform", lambda *_: pytest.fail("a run was repeated"))
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


def test_what_another_run_has_done_already_is_taken_over(unbroken, tmp_path, monkeypatch):
    grid, folder = unbroken
    twin = replace(next(run for run in grid.runs if run.name == "data-s0"), name="twin-s0")
    grid = replace(grid, runs=(*grid.runs, twin))
    for record in read_records(folder / "records"):
        write_record(tmp_path / "records", record)
    monkeypatch.setattr(runner, "perform", lambda *_: pytest.fail("a run was repeated"))
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


def test_a_call_that_cannot_report_ends(unbroken, tmp_path):
    grid, _ = unbroken
    runs = [run for run in grid.runs if run.name == "data-s0"]

    def report(line):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_grid(grid, runs, tmp_path, {}, workers=2, report=report)
    assert [record["key"] for record in read_records(tmp_path / "records")] == ["data-s0"]


def test_a_run_that_goes_wrong_costs_nothing_else(unbroken, tmp_path):
    grid, _ = unbroken
    runs = [run for run in grid.runs if run.is_tuning or run.name == "data-s0"]
    broken = tmp_path / "work" / runs[0].name / "checkpoint.pt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"broken")
    outcome = run_grid(grid, runs, tmp_path, {}, workers=2)
    assert "cannot be read" in outcome.lost.pop(runs[0].name)
    assert not outcome.lost and sorted(outcome.done) == sorted(run.name for run in runs[1:])


def test_two_calls_do_not_run_into_one_folder(unbroken, tmp_path):
    grid, _ = unbroken
    (tmp_path / "work").mkdir()
    with FileLock(tmp_path / "work" / "lock"):
        with pytest.raises(InvalidInputError, match="another call is writing to it"):
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


# -- the command line ----------------------------------------------------------------------


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


def test_figures_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    z = 4.0 * np.eye(3)[y, :2] + rng.normal(size=(90, 2))
    figure1(tmp_path / "fig1.png", z, y)
    images = rng.integers(0, 256, (6, 4, 1, 5, 5), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.repeat(np.arange(3), 2))
    figure2(tmp_path / "fig2.png", tmp_path / "images.npz")
    for name in ("fig1.png", "fig2.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_an_embedding_that_is_none_is_refused(tmp_path):
    path = tmp_path / "e.npz"
    with pytest.raises(InvalidInputError, match=r"e\.npz.*is needed"):
        load_embedding(path)
    np.savez(path, z=np.zeros((4, 3)), y=np.zeros(4))
    with pytest.raises(InvalidInputError, match=r"\(4, 3\)"):
        load_embedding(path)
