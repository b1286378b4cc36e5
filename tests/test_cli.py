"""The command line, as people and machines use it: exit codes, one line per fault, whole files."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import tomllib
from pathlib import Path
from shlex import quote

import numpy as np
import pytest
from helpers import blobs

import fpigauss
from fpigauss import ClassGaussians, ClassStatistics, FixedPoint, fit_separated, smallest_kld
from fpigauss.cli import main

pytest.importorskip("typer", reason="typer is not installed")
pytest.importorskip("rich", reason="rich is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

ROOT = Path(__file__).parents[1]
Z, Y = blobs(3, 4, 60)
COMMANDS = (
    "fit",
    "path",
    "predict",
    "score",
    "sample",
    "info",
    "plot",
    "convert",
    "statistics",
    "merge",
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, on a wide terminal without color."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def data():
    np.save("z.npy", Z)
    np.save("y.npy", Y)


@pytest.fixture
def gaussians(data):
    fitted = fit_separated(Z, Y, min_kld=40.0).gaussians
    fitted.save("g.npz")
    return fitted


@pytest.fixture
def run(capsys):
    """Run a command in this process: its exit code, stdout, and stderr."""

    def run(line="", *more):
        code = main([*line.split(), *map(str, more)])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def fails(run):
    """Run a command that must refuse its input in one line, and write nothing."""

    def fails(*args, code=2):
        before = here_now()
        found, out, err = run(*args, "--quiet")
        lines = err.splitlines()
        assert (found, out, len(lines)) == (code, "", 1), (found, out, err)
        assert lines[0].startswith("fpigauss: ")
        assert here_now() == before
        return lines[0]

    return fails


def here_now():
    return sorted(path.name for path in Path().iterdir())


def environment(**variables):
    own = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)), COLUMNS="100")
    return own | variables


def process(*args, **options):
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "fpigauss", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        **options,
    )


# -- what commands do ----------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_fit_equals_the_call(run, data, ending):
    code, out, err = run("fit", "z.npy", "y.npy", "--separation", 150, "--out", f"g{ending}")
    assert (code, err) == (0, "reading z.npy, 180 rows\n")
    assert re.search(r"^status +converged$", out, re.MULTILINE)
    found = ClassGaussians.load(f"g{ending}")
    expected = fit_separated(Z, Y, min_kld=150.0).gaussians
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-9)
    np.testing.assert_allclose(found.covariances, expected.covariances, rtol=1e-9)
    assert found.counts.tolist() == [60.0, 60.0, 60.0]


def test_options_reach_the_fit(run, data):
    names = np.array(["ant", "bee", "cat"])[Y]
    np.savez("d.npz", latents=Z, names=names)
    options = (
        "--lam 5 --tied --covariance isotropic --update means --pi initial --alpha 2 --tol 1e-8"
    )
    code, out, _ = run(
        "fit", "d.npz", "--z", "latents", "--y", "names", *options.split(), "-o", "g.npz", "--json"
    )
    figures = json.loads(out)
    assert (code, figures["status"], figures["lam"]) == (0, "converged", 5.0)
    given = {"covariance": "isotropic", "update": "means", "pi": "initial", "alpha": 2.0}
    result = FixedPoint(5.0, tied=True, tol=1e-8, **given).fit(Z, names)
    found = ClassGaussians.load("g.npz")
    assert found.classes.tolist() == ["ant", "bee", "cat"]
    assert found.tied
    np.testing.assert_allclose(found.means, result.gaussians.means, rtol=1e-7)


def test_numbers_where_names_may_be(run, data):
    code, *_ = run("fit z.npy y.npy --lam 3 --tied --pi 20 --shrinkage 0.1 --out g.npz")
    expected = FixedPoint(3.0, tied=True, pi=20.0, shrinkage=0.1).fit(Z, Y).gaussians
    assert code == 0
    np.testing.assert_allclose(ClassGaussians.load("g.npz").means, expected.means, rtol=1e-7)


def test_a_later_class_beside_frozen_ones(run, gaussians):
    np.save("z_new.npy", Z[:50] + 9.0)
    np.save("y_new.npy", np.full(50, 3))
    frozen = ["--frozen", 0, "--frozen", 1, "--frozen", 2]
    args = ["--lam", 20, "--init", "g.npz", *frozen, "--tied", "--update", "means"]
    code, *_ = run("fit", "z_new.npy", "y_new.npy", *args, "--out", "more.npz")
    found = ClassGaussians.load("more.npz")
    assert code == 0
    assert found.classes.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(found.means[:3], gaussians.means)


def test_labels_without_a_gaussian_are_told(run, gaussians):
    np.savez("later.npz", z=Z[:6], y=np.where(np.arange(6) < 4, 3, Y[:6]))
    _, out, err = run("predict g.npz later.npz --out l.csv --json")
    assert json.loads(out)["accuracy"] <= 1 / 3
    assert "4 of 6 rows have labels of which there is no Gaussian; they count as wrong" in err
    assert "no Gaussian" not in run("predict g.npz z.npy y.npy --out all.csv")[2]


def test_files_that_a_pattern_names(run, data):
    names = [f"part_{i}.npz" for i in range(3)]
    for name in names:
        np.savez(name, z=Z[:60], y=Y[:60])
    for given, says in (
        (names, "for several files of latents pass their folder; see fpigauss fit --help"),
        (names[:2], "labels 'part_1.npz' contains latents too"),
    ):
        code, _, err = run("fit", *given, "--lam", 0, "--out", "g.npz")
        assert code == 2
        assert says in err


def test_a_later_class_beside_all_of_a_file(run, gaussians):
    np.save("z_new.npy", Z[:50] + 9.0)
    np.save("y_new.npy", np.full(50, 3))
    args = ["fit", "z_new.npy", "y_new.npy", "--init", "g.npz", "--tied", "--lam", 20]
    code, _, err = run(*args, "--out", "more.npz")
    assert code == 2
    assert "--frozen all to keep them and fit the other classes beside them" in err
    assert run(*args, "--frozen", "all", "--update", "means", "--out", "more.npz")[0] == 0
    found = ClassGaussians.load("more.npz")
    assert found.classes.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(found.means[:3], gaussians.means)


def test_a_class_that_is_called_all(run, gaussians):
    gaussians = ClassGaussians(
        gaussians.means, gaussians.covariances, tied=True, classes=["a", "all", "b"]
    )
    gaussians.save("named.npz")
    np.savez("new.npz", z=Z[:60] + 9.0, y=np.repeat(["a", "b", "c"], 20))
    code, *_ = run(
        "fit new.npz --init named.npz --frozen all --tied --lam 20 --update means --out more.npz"
    )
    found = ClassGaussians.load("more.npz")
    assert code == 0
    assert found.classes.tolist() == ["a", "all", "b", "c"]
    np.testing.assert_array_equal(found.means[1], gaussians.means[1])
    assert not np.array_equal(found.means[0], gaussians.means[0])


def test_statistics_of_parts_merge_into_one_pass(run, data):
    for part in range(2):
        np.savez(f"part_{part}.npz", z=Z[part::2], y=Y[part::2])
        assert run("statistics", f"part_{part}.npz", "--out", f"s_{part}.npz")[0] == 0
    code, out, err = run("merge", "s_0.npz", "s_1.npz", "--out", "all.safetensors", "--json")
    assert (code, err, json.loads(out)["rows"]) == (0, "", 180)
    merged, once = ClassStatistics.load("all.safetensors"), ClassStatistics.from_samples(Z, Y)
    np.testing.assert_allclose(merged.means, once.means, rtol=1e-13)
    np.testing.assert_allclose(merged.covariances, once.covariances, rtol=1e-12)
    assert run("fit", "all.safetensors", "--separation", 30, "--out", "g.npz")[0] == 0
    assert 30.0 <= smallest_kld(ClassGaussians.load("g.npz")) <= 31.5


def test_dense_statistics(run, data):
    assert run("statistics z.npy y.npy --covariance dense --out s.npz")[0] == 0
    for latents, out in (("s.npz", "g.npz"), ("z.npy y.npy", "h.npz")):
        assert run(f"fit {latents} --covariance dense --tied --lam 3 --out {out}")[0] == 0
    g, h = (ClassGaussians.load(f"{name}.npz") for name in "gh")
    np.testing.assert_allclose(g.covariances, h.covariances, rtol=1e-9)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_path(run, data, ending):
    np.savez("held_out.npz", z=Z[:50], y=Y[:50])
    args = ["--lams", "0,1,10", "--tied", "--validation", "held_out.npz"]
    code, out, _ = run("path", "z.npy", "y.npy", *args, "--out", f"path{ending}", "--json")
    assert (code, json.loads(out)["converged"]) == (0, 3)
    expected = fpigauss.lam_path(Z, Y, [0.0, 1.0, 10.0], validation=(Z[:50], Y[:50]), tied=True)
    columns = table(f"path{ending}")
    assert list(columns) == list(expected.columns())
    np.testing.assert_allclose(
        np.asarray(columns["smallest_kld"], float), expected.smallest_kld, rtol=1e-7
    )
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert run("plot", f"path{ending}", "--out", "path.png")[0] == 0
    assert Path("path.png").read_bytes().startswith(b"\x89PNG")


def table(path):
    """The columns of a table that a command has written."""
    path = str(path)
    if path.endswith(".parquet"):
        return pq.read_table(path).to_pydict()
    header, *rows = (line.split(",") for line in Path(path).read_text().splitlines())
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def test_predictions_in_every_format(run, gaussians):
    expected = gaussians.predict(Z)
    for ending in (".parquet", ".csv", ".npy"):
        code, out, _ = run("predict", "g.npz", "z.npy", "y.npy", "--out", f"p{ending}", "--json")
        assert code == 0
        assert json.loads(out)["accuracy"] == np.mean(expected == Y)
    assert np.load("p.npy").tolist() == expected.tolist()
    for ending in (".parquet", ".csv"):
        assert [int(label) for label in table(f"p{ending}")["label"]] == expected.tolist()


def test_probabilities(run, gaussians):
    proba = gaussians.predict_proba(Z, priors="counts")
    for ending in (".npy", ".parquet"):
        args = ["--proba", "--priors", "counts", "--out", f"p{ending}"]
        assert run("predict", "g.npz", "z.npy", *args)[0] == 0
    np.testing.assert_array_equal(np.load("p.npy"), proba)
    columns = table("p.parquet")
    assert list(columns) == ["label", "p_0", "p_1", "p_2"]
    np.testing.assert_array_equal(columns["p_1"], proba[:, 1])


def test_rows_go_to_stdout_by_default(run, gaussians):
    code, out, err = run("predict", "g.npz", "z.npy", "y.npy")
    assert code == 0
    assert out.splitlines() == ["label", *map(str, gaussians.predict(Z))]
    assert "accuracy" in err
    _, out, err = run("predict", "g.npz", "z.npy", "--json", "--quiet")
    assert (json.loads(out.splitlines()[0]), err) == (
        {"label": int(gaussians.predict(Z)[0])},
        "",
    )


def test_rejection(run, gaussians):
    np.savez("new.npz", z=np.concatenate([Z[:50], Z[:50] + 50.0]))
    args = ["--held-out", "z.npy", "--rate", 0.1, "--method", "mahalanobis"]
    code, out, _ = run("score", "g.npz", "new.npz", *args, "--out", "s.parquet", "--json")
    held_out = fpigauss.open_set_score(gaussians, Z, method="mahalanobis")
    threshold = fpigauss.open_set_threshold(held_out, rate=0.1)
    columns = table("s.parquet")
    assert (code, json.loads(out)["threshold"]) == (0, threshold)
    assert columns["rejected"] == [score > threshold for score in columns["score"]]
    assert all(columns["rejected"][50:])
    assert run("score", "g.npz", "new.npz", "--threshold", threshold, "-o", "s.npy")[0] == 0
    assert np.load("s.npy").shape == (100,)


@pytest.mark.parametrize("background", ["z.npy", "s.npz", "one.npz"])
def test_relative_distances(run, gaussians, background):
    statistics = ClassStatistics.from_samples(Z, Y, covariance="dense")
    statistics.save("s.npz")
    scatter = np.cov(Z.T, bias=True)
    ClassGaussians(Z.mean(axis=0)[None], scatter[None], covariance="dense").save("one.npz")
    args = ["--method", "relative_mahalanobis", "--background", background, "--out", "r.npy"]
    assert run("score", "g.npz", "z.npy", *args)[0] == 0
    expected = fpigauss.open_set_score(
        gaussians,
        Z,
        method="relative_mahalanobis",
        background=statistics,
    )
    np.testing.assert_allclose(np.load("r.npy"), expected, rtol=1e-9, atol=1e-9)


def test_samples_come_back_as_data(run, gaussians):
    for ending in (".parquet", ".csv"):
        args = ["-n", 40, "--label", 0, "--label", 2, "--seed", 3, "--out", f"x{ending}"]
        assert run("sample", "g.npz", *args)[0] == 0
        latents = fpigauss.open_latents(f"x{ending}")
        z, y = (np.concatenate(parts) for parts in zip(*latents, strict=True))
        assert y.tolist() == [0] * 40 + [2] * 40
        expected = gaussians.sample(y, seed=np.random.default_rng(3))
        np.testing.assert_allclose(z, expected, rtol=1e-12)
    _, first, _ = run("sample", "g.npz", "-n", 3, "--seed", 0)
    assert (len(first.splitlines()), first) == (4, run("sample", "g.npz", "-n", 3, "--seed", 0)[1])
    _, still, _ = run("sample", "g.npz", "--label", 1, "--temperature", 0)
    row = [float(x) for x in still.splitlines()[1].split(",")[:4]]
    np.testing.assert_allclose(row, gaussians.means[1], rtol=1e-14)


@pytest.mark.parametrize("labels", [[10**12, 10**12 + 1], [-(2**63), 2**63 - 1], [False, True]])
@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_labels_of_samples_are_those_of_the_file(run, labels, ending):
    ClassGaussians(np.eye(2), np.ones((2, 2)), classes=labels).save("g.npz")
    args = ["sample", "g.npz", "-n", 3, "--temperature", 0, "--out", f"x{ending}"]
    assert run(*args, "--label", str(labels[1]))[0] == 0
    if ending == ".npy":
        np.testing.assert_array_equal(np.load("x.npy"), np.eye(2)[[1, 1, 1]])
    else:
        ((_, y),) = fpigauss.open_latents("x.parquet")
        assert y.tolist() == 3 * labels[1:]
        assert y.dtype == np.asarray(labels).dtype


def test_more_samples_than_any_memory_has(run, gaussians):
    for args in (["-n", 10**30], ["-n", 2**62, "--label", 0]):
        code, _, error = run("sample", "g.npz", *args)
        assert code == 2
        assert "-n is" in error and "draw fewer" in error


def test_info(run, gaussians):
    ClassStatistics.from_samples(Z, Y).save("s.safetensors")
    for args, contents in (
        (["g.npz"], "Gaussians"),
        (["s.safetensors"], "statistics"),
        (["z.npy", "y.npy"], "latents"),
    ):
        code, out, _ = run("info", *args, "--json")
        figures = json.loads(out)
        assert (code, figures["contents"], figures["dimensions"]) == (0, contents, 4)
        assert (figures["rows"], figures["labels"]) == (180, [0, 1, 2])
    assert "classes" not in json.loads(run("info", "z.npy", "--json")[1])


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_info_of_a_path(run, data, ending):
    args = f"path z.npy y.npy --tied --lams 0,10,100 --out path{ending}"
    assert run(args)[0] == 0
    code, out, err = run(f"info path{ending} --json")
    figures = json.loads(out)
    assert (code, err, figures["contents"], figures["fits"]) == (0, "", "path", 3)
    assert figures["lam"] == [0.0, 100.0]
    assert figures["smallest KLD"][0] < figures["smallest KLD"][1]
    assert json.loads(run(f"info path{ending} --z likelihood --json")[1])["contents"] == "latents"


def test_people_are_told_units_and_shares(run, gaussians):
    for args in ("fit z.npy y.npy --separation 40 --tied -o h.npz", "info g.npz"):
        assert re.search(r"^smallest KLD +4[\d.]+ nats$", run(args)[1], re.MULTILINE)
    found = json.loads(run("info g.npz --json")[1])
    assert found["smallest KLD"] == pytest.approx(smallest_kld(gaussians))
    np.save("far.npy", np.concatenate([Z[:60], Z[:20] + 50.0]))
    out = run("score g.npz far.npy --threshold 1000 --out s.csv")[1]
    assert re.search(r"^rejected +20 \(25 % of the rows\)$", out, re.MULTILINE)


def test_what_an_npy_lacks_is_told(run, gaussians):
    for args, lacking in (
        ("sample g.npz -n 3 --out x.npy", "label"),
        ("convert z.npy x.npy --labels y.npy", "label"),
        ("score g.npz z.npy --threshold 1 --out x.npy", "rejected"),
    ):
        code, _, err = run(f"{args} --force")
        assert (code, f"without {lacking};" in err) == (0, True), err
    assert "without" not in run("convert z.npy x.npy --force")[2]


def test_convert(run, gaussians):
    assert run("convert", "g.npz", "g.safetensors")[0] == 0
    assert run("convert", "g.safetensors", "back.npz")[0] == 0
    back = ClassGaussians.load("back.npz")
    np.testing.assert_array_equal(back.means, gaussians.means)
    assert run("convert", "z.npy", "d.parquet", "--labels", "y.npy")[0] == 0
    (z, y), *_ = fpigauss.open_latents("d.parquet")
    np.testing.assert_array_equal(z, Z)
    np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize("kind", ["ellipses", "kld"])
def test_pictures(run, gaussians, kind):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    rows = ["z.npy", "y.npy"] if kind == "ellipses" else []
    assert run("plot", "g.npz", *rows, "--kind", kind, "--out", "g.svg")[0] == 0
    assert "<svg" in Path("g.svg").read_text()


# -- data as people have them --------------------------------------------------------------


def test_every_format_gives_one_fit(run, data):
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    np.savez("d.npz", z=Z, y=Y)
    safetensors.save_file({"z": Z, "y": Y}, "d.safetensors")
    torch.save({"z": torch.tensor(Z), "y": torch.tensor(Y)}, "d.pt")
    group = zarr.open_group("d.zarr", mode="w")
    group.create_array("z", data=Z)
    group.create_array("y", data=Y)
    Path("parts").mkdir()
    for part in range(2):
        run("convert", "d.npz", f"parts/{part}.parquet")  # twice the same rows
    for ending in ("parquet", "csv"):
        assert run("convert", "d.npz", f"d.{ending}")[0] == 0
    run("fit", "z.npy", "y.npy", "--separation", 60, "--out", "g.npz")
    expected = ClassGaussians.load("g.npz")
    for name in ("d.npz", "d.safetensors", "d.pt", "d.zarr", "d.parquet", "d.csv", "parts"):
        code, *_ = run("fit", name, "--separation", 60, "--out", "g.npz", "--force")
        assert code == 0, name
        found = ClassGaussians.load("g.npz")
        np.testing.assert_allclose(found.means, expected.means, rtol=1e-9, err_msg=name)


def test_columns_by_name(run, data):
    rows = [f"{a},{b},{c},x{y}" for (a, b, c, _), y in zip(Z.tolist(), Y.tolist(), strict=True)]
    Path("d.csv").write_text("\n".join(["a,b,c,kind", *rows]))
    names = ["--z", "a", "--z", "c", "--y", "kind"]
    assert run("fit", "d.csv", *names, "--separation", 30, "--out", "g.npz")[0] == 0
    expected = fit_separated(Z[:, [0, 2]], Y, min_kld=30.0).gaussians
    np.testing.assert_allclose(ClassGaussians.load("g.npz").means, expected.means, rtol=1e-9)
    code, out, _ = run("predict g.npz d.csv --z a --z c --y kind --out p.npy --json")
    assert (code, json.loads(out)["rows"]) == (0, 180)


# -- bad input -----------------------------------------------------------------------------


def test_files_that_cannot_be_read(fails, data):
    assert "does not exist" in fails("fit", "nope.npy", "y.npy", "--lam", 1, "-o", "g.npz")
    np.savez("d.npz", latents=Z, labels=Y)
    line = fails("fit", "d.npz", "--lam", 1, "-o", "g.npz")
    assert "'latents', 'labels'" in line and line.endswith("--z")
    line = fails("fit", "d.npz", "--z", "latents", "--y", "lab", "--lam", 1, "-o", "g.npz")
    assert line.endswith("pass one as --y")
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "pickle" in fails("fit", "objects.npy", "y.npy", "--lam", 1, "-o", "g.npz")
    Path("short.npy").write_bytes(Path("z.npy").read_bytes()[:999])
    assert "cut short" in fails("fit", "short.npy", "y.npy", "--lam", 1, "-o", "g.npz")
    Path("text.csv").write_text("a,b,label\nx,y,0\nu,v,1\n")
    assert "text.csv" in fails("fit", "text.csv", "--lam", 1, "-o", "g.npz")
    Path("empty").mkdir()
    assert "'empty'" in fails("fit", "empty", "--lam", 1, "-o", "g.npz")


def test_data_that_do_not_fit_together(fails, gaussians):
    np.save("few.npy", Y[:50])
    assert "50 rows" in fails("fit", "z.npy", "few.npy", "--lam", 1, "-o", "x.npz")
    np.save("rows.npy", np.arange(len(Z)))
    line = fails("fit", "z.npy", "rows.npy", "--lam", 1, "-o", "x.npz")
    assert "180 classes, each with one row" in line
    np.save("narrow.npy", Z[:, :2])
    line = fails("predict", "g.npz", "narrow.npy", "-o", "p.csv")
    assert "has 2 dimensions, but the Gaussians have 4" in line
    ClassStatistics.from_samples(Z, Y).save("a.npz")
    ClassStatistics.from_samples(Z[:, :2], Y).save("b.npz")
    assert "b.npz: " in fails("merge", "a.npz", "b.npz", "--out", "c.npz")
    Path("parts").mkdir()
    np.savez("parts/0.npz", z=Z, y=Y)
    np.savez("parts/1.npz", z=Z[:, :2], y=Y)
    assert "1.npz" in fails("fit", "parts", "--lam", 1, "-o", "x.npz")
    assert "no labels" in fails("fit", "z.npy", "--lam", 1, "-o", "x.npz")


def test_rows_at_fault_are_counted_from_the_first_of_the_file(fails, gaussians):
    bad, labels = Z.copy(), Y.astype(float)
    bad[107, 1], labels[95] = np.nan, 0.5
    np.save("bad.npy", bad)
    np.save("labels.npy", labels)
    small = ["--memory-limit", 2000, "-o", "x.npz"]  # for batches of some rows
    line = fails("fit", "bad.npy", "y.npy", "--lam", 1, *small)
    assert line == (
        "fpigauss: bad.npy: z contains NaN or infinity in row 107, column 1; drop or repair the row"
    )
    line = fails("statistics", "z.npy", "labels.npy", *small)
    assert "y is 0.5 in row 95" in line
    assert "row 107" in fails("predict", "g.npz", "bad.npy", "-o", "p.npy")


def test_columns_are_listed_where_labels_are_missed(fails, run, data):
    Path("d.csv").write_text("a,b,kind\n1.0,2.0,ant\n2.0,1.0,bee\n")
    columns = "it contains 'a', 'b', 'kind'"
    assert columns in fails("fit", "d.csv", "--lam", 1, "--out", "g.npz")
    assert columns in fails("path", "z.npy", "y.npy", "--validation", "d.csv", "--out", "p.csv")
    assert columns in run("info", "d.csv")[1]
    assert "contains" not in fails("fit", "z.npy", "--lam", 1, "--out", "g.npz")  # no names there


def test_files_of_another_kind(fails, gaussians):
    ClassStatistics.from_samples(Z, Y).save("s.npz")
    assert "(it contains statistics)" in fails("predict", "s.npz", "z.npy")
    assert "(it contains Gaussians)" in fails("merge", "g.npz", "--out", "m.npz")
    assert fails("predict", "z.npy", "z.npy").endswith("pass a file that fpigauss fit has written")
    assert "Gaussians" in fails("fit", "g.npz", "--lam", 1, "-o", "x.npz")
    assert "fpigauss path" in fails("plot", "z.npy", "--out", "x.png")
    assert "No such file" in fails("predict", "nope.npz", "z.npy")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "--separation NATS"),
        ("--lam 1 --separation 5", "leave out one"),
        ("--separation 5 --max-overlap .1", "--separation and --max-overlap are given"),
        ("--separation 5 --per-dim 1", "pass only one of --separation, --max-overlap, --per-dim"),
        ("--separation=-5", "--separation is -5"),
        ("--max-overlap 2", "--max-overlap is 2"),
        ("--lam=-1", "--lam is -1"),
        ("--lam one", "--lam"),
        ("--lamb 1", "--lamb"),
        ("--lam 1 --max-iter=-2", "--max-iter is -2"),
        ("--lam 1 --covariance full", "'diagonal', 'dense', 'isotropic'"),
        ("--lam 1 --pi foo", "forward, mean, initial or a number"),
        ("--lam 1 --shrinkage 3", "--shrinkage is 3"),
        ("--lam 1 --equations printed --n-init 3", "--n-init 1"),
        ("--lam 1 --init nope.npz", "nope.npz"),
        ("--lam 1 --frozen 0", "--init FILE"),
        ("--lam 1 --init g.npz --frozen 7", "--frozen is 7"),
        ("--lam 1 --memory-limit 10", "--memory-limit"),
        ("--lam 1 --memory-limit=-5", "--memory-limit"),
        ("--lam 1 --memory-limit much", "512MiB, 2GB"),
        ("--lam 1 --memory-limit 1e9", "512MiB, 2GB"),
    ],
)
def test_options_that_cannot_be_used(fails, gaussians, options, says):
    assert says in fails("fit", "z.npy", "y.npy", "--out", "x.npz", *options.split())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("fitt", "fit"),
        ("fit --lam 1", "LATENTS"),
        ("sample g.npz --label 9", "--label is 9"),
        ("sample g.npz -n 0", "-n is 0"),
        ("sample g.npz --temperature=-1", "--temperature is -1"),
        ("score g.npz z.npy --held-out z.npy --rate 0.0001", "--rate 0.0001"),
        ("score g.npz z.npy --rate 0.1", "--held-out"),
        ("score g.npz z.npy --threshold 1 --held-out z.npy", "leave out one"),
        ("score g.npz z.npy --method relative_mahalanobis", "--background is not given"),
        ("score g.npz z.npy --background z.npy", "--background is of no use"),
        ("path z.npy y.npy --lams 1,a", "--lams is 1,a"),
        ("path z.npy y.npy --lams=-1", "--lams is -1"),
        ("convert g.npz x.csv", "OUT is x.csv; pass a path that ends in .npz or .safetensors"),
        ("convert z.npy z.npy", "another OUT"),
        ("predict g.npz z.npy -o p.txt", ".parquet, .csv or .npy"),
    ],
)
def test_calls_that_cannot_be_used(fails, gaussians, args, says):
    assert says in fails(args)


def test_data_are_not_overwritten(fails, run, gaussians):
    np.savez("d.npz", z=Z, y=Y)
    run("convert", "d.npz", "d.csv")
    Path("link.npz").symlink_to("d.npz")
    for args in (
        ["fit", "d.npz", "--lam", 1, "--out", "./d.npz"],
        ["fit", "d.npz", "--lam", 1, "--out", "link.npz"],
        ["statistics", "d.npz", "--out", "d.npz"],
        ["predict", "g.npz", "d.csv", "--out", "d.csv"],
        ["score", "g.npz", "d.npz", "--held-out", "d.csv", "--out", "d.csv"],
        ["path", "d.npz", "--validation", "d.csv", "--out", "d.csv"],
        ["convert", "z.npy", "y.npy", "--labels", "y.npy"],
    ):
        out = "OUT" if args[0] == "convert" else "--out"
        assert f"contains the data that is read; pass another {out}" in fails(*args, "--force")
    assert run("convert", "g.npz", "g.npz", "--force", "--quiet")[0] == 0  # nothing is lost


def test_parts_count_once(fails, run, data):
    run("statistics", "z.npy", "y.npy", "--out", "a.npz")
    run("convert", "a.npz", "b.safetensors")
    Path("same.npz").symlink_to("a.npz")
    for again in ("a.npz", "./a.npz", "same.npz"):
        says = fails("merge", "a.npz", again, "--out", "all.npz")
        assert f"{again} is passed twice, and its rows would count twice" in says
    code, _, err = run("merge", "a.npz", "b.safetensors", "--out", "a.npz", "--force")
    assert (code, ClassStatistics.load("a.npz").counts.sum()) == (0, 2 * len(Z))
    assert "a.npz is one of the parts: merging these again would count the others twice" in err


def test_what_would_be_ignored(fails, run, gaussians):
    run("statistics", "z.npy", "y.npy", "--out", "s.npz")
    for args in (
        ["fit", "s.npz", "y.npy", "--lam", 1, "--out", "n.npz"],
        ["info", "g.npz", "y.npy"],
        ["convert", "s.npz", "n.npz", "--labels", "y.npy"],
        ["statistics", "s.npz", "--y", "y", "--out", "n.npz"],
    ):
        assert "contains Gaussians or statistics, not latents; leave out" in fails(*args)
    says = fails("score", "g.npz", "z.npy", "--threshold", "nan")
    assert "--threshold is NaN, and no score exceeds that" in says
    assert "--seed" in fails("sample", "g.npz", "--seed", "-1")
    assert "path is empty" in fails("info", "")
    np.savez("d.npz", z=Z, y=Y)
    code, _, err = run("convert", "d.npz", "d.npy")
    assert code == 0
    assert "d.npy is one array, without label" in err


def test_names_of_files_stay_as_they_are(fails, run, gaussians):
    for name in ("lam=50.npz", "ClassStatistics.npz", "tied=True", "critical_lam.npz"):
        assert f"'{name}' does not exist" in fails("fit", name, "--lam", 1, "--out", "n.npz")
        Path(name).touch()
        says = fails("fit", "z.npy", "y.npz", "--lam", 1, "--out", "n.npz")
        assert f"'{name}'" in says  # among what is there
        Path(name).unlink()
    for name in ("lam=50.npz", "ClassStatistics.npz"):
        Path(name).write_bytes(Path("g.npz").read_bytes())
        assert f": {name} exists; pass --force" in fails(
            "fit", "z.npy", "y.npy", "--lam", 1, "--out", name
        )
        assert f": {name} contains Gaussians; pass" in fails(
            "fit", name, "--lam", 1, "--out", "n.npz"
        )
        assert f"{name} is passed twice" in fails("merge", name, name, "--out", "n.npz")


def test_booleans_as_latents_come_back(run):
    np.savez("d.npz", z=Z > 0, y=Y)
    for ending in (".csv", ".parquet"):
        assert run("convert", "d.npz", f"d{ending}")[0] == 0
        ((z, y),) = fpigauss.open_latents(f"d{ending}")
        np.testing.assert_array_equal(z, Z > 0)
        np.testing.assert_array_equal(y, Y)


def test_nothing_is_overwritten_without_force(fails, run, gaussians):
    before = Path("g.npz").read_bytes()
    line = fails("fit", "z.npy", "y.npy", "--lam", 1, "--out", "g.npz")
    assert line == "fpigauss: g.npz exists; pass --force to replace it, or another --out"
    assert Path("g.npz").read_bytes() == before
    for args in ("convert g.npz g.npz", "sample g.npz --out z.npy", "plot g.npz -o no/x.png"):
        fails(args)
    assert run("fit", "z.npy", "y.npy", "--lam", 1, "--tied", "-o", "g.npz", "--force")[0] == 0
    assert Path("g.npz").read_bytes() != before


def test_debug_shows_where(run, data):
    code, _, err = run("fit", "nope.npy", "--lam", 1, "--out", "g.npz", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("fpigauss: ")


def test_no_text_becomes_a_picture(run, data):
    args = ["--lam", 1, "--tied", "--out", "[bold]:dog:.npz"]
    assert "[bold]:dog:.npz" in run("fit", "z.npy", "y.npy", *args)[1]


def test_what_json_does_not_have(run, gaussians):
    np.save("far.npy", np.array([[np.nan] * 4, [1e200] * 4, [0.0] * 4]))
    code, out, _ = run("score g.npz far.npy --json --quiet")
    scores = [json.loads(line)["score"] for line in out.splitlines()]
    assert (code, scores[:2]) == (0, ["inf", "inf"])
    assert isinstance(scores[2], float)


def test_held_out_rows_at_fault(fails, data):
    z = Z.copy()
    z[70, 2] = np.nan
    np.savez("held_out.npz", z=z, y=Y)
    says = fails("path", "z.npy", "y.npy", "--lams", "0,1", "--validation", "held_out.npz")
    assert "held_out.npz: z contains NaN or infinity in row 70; drop or repair the row" in says


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("4096", 4096),
        ("512MiB", 2**29),
        ("2GB", 2 * 10**9),
        ("1.5 kib", 1536),
        ("1T", 10**12),
        ("0.1g", 10**8),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_sizes_have_units(text, n_bytes):
    from fpigauss.cli._command import _bytes

    assert _bytes(text) == n_bytes


def test_held_out_rows_must_fit_into_memory(fails, data):
    args = ["--validation", "z.npy", "--validation-labels", "y.npy", "--lams", "0,1"]
    line = fails("path", "z.npy", "y.npy", *args, "--memory-limit", 5000, "--out", "p.csv")
    assert "--memory-limit" in line and "z.npy" in line


def test_labels_that_look_as_if_they_were_missing(run, data):
    """In a csv of ours they are in quotes, and only they."""
    np.save("y.npy", np.array(["NA", "null", "nan"])[Y])
    assert run("fit z.npy y.npy --separation 40 --out g.npz")[0] == 0
    expected = ClassGaussians.load("g.npz").predict(Z)
    assert run("predict g.npz z.npy --out p.csv")[0] == 0
    lines = Path("p.csv").read_text().splitlines()
    assert lines[0].startswith("label") and lines[1].startswith(f'"{expected[0]}"')
    assert run("statistics z.npy p.csv --out s.npz")[0] == 0
    statistics = ClassStatistics.load("s.npz")
    assert statistics.classes.tolist() == ["NA", "nan", "null"]
    assert statistics.counts.tolist() == [(expected == c).sum() for c in statistics.classes]
    np.save("y.npy", np.array(["NA", "bee", "cat"])[Y])
    assert run("fit z.npy y.npy --separation 40 --out h.npz")[0] == 0
    out = run("sample h.npz --label bee --label NA --quiet")[1]
    assert [line.rpartition(",")[2] for line in out.splitlines()[1:]] == ["bee", '"NA"']


def test_labels_with_ends_of_lines(run, data):
    np.save("y.npy", np.array(["a\rb", "c\r\nd", "e\nf"])[Y])
    assert run("fit z.npy y.npy --separation 40 --out g.npz")[0] == 0
    expected = ClassGaussians.load("g.npz").predict(Z)
    assert run("predict g.npz z.npy --out p.csv")[0] == 0
    assert run("statistics z.npy p.csv --out s.npz")[0] == 0
    assert ClassStatistics.load("s.npz").classes.tolist() == sorted(set(expected.tolist()))


def test_labels_that_are_strings(run, data):
    np.save("y.npy", np.array(["ant", "bee", "a longer name"])[Y])
    assert run("fit z.npy y.npy --separation 40 --out g.safetensors")[0] == 0
    expected = ClassGaussians.load("g.safetensors").predict(Z)
    for ending in (".npy", ".csv", ".parquet"):
        assert run(f"predict g.safetensors z.npy y.npy --out p{ending}")[0] == 0
    assert np.load("p.npy").tolist() == expected.tolist()
    assert list(table("p.csv")["label"]) == table("p.parquet")["label"] == expected.tolist()
    assert run("sample g.safetensors --label bee --quiet")[1].splitlines()[1].endswith(",bee")


# -- the documentation ----------------------------------------------------------------------


def commands_of(page):
    """The commands that a page shows."""
    return re.findall(
        r"^ +(?:\$ )?fpigauss (.*?)(?:  +#.*)?$", (ROOT / page).read_text(), re.MULTILINE
    )


@pytest.mark.parametrize("page", ["docs/command_line.rst", "README.md"])
def test_the_commands_of_a_page(run, data, page):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    z, y = blobs(4, 4, 60)
    np.savez("train.npz", z=z, y=y)
    np.save("new.npy", z)
    for name in ("held_out", "part_0", "part_1"):
        np.savez(f"{name}.npz", z=z[:90], y=y[:90])
    np.savez("later.npz", z=z[:60] + 9.0, y=np.full(60, 4))
    for name in ("train", "new", "old"):
        run("convert", "train.npz", f"{name}.parquet")
    commands = commands_of(page)
    assert len(commands) >= 3
    for command in commands:
        assert run(command)[0] == 0, command


# -- exit codes ----------------------------------------------------------------------------


def test_a_fit_that_did_not_converge(run, data):
    code, out, err = run(
        "fit", "z.npy", "y.npy", "--lam", 9, "--tied", "--max-iter", 1, "-o", "g.npz"
    )
    assert (code, "max_iter" in out) == (1, True)
    assert re.search("^warning: .*raise --max-iter", err, re.MULTILINE)
    assert ClassGaussians.load("g.npz").n_classes == 3


def test_a_separation_that_is_not_reached(fails, data):
    args = ["--separation", 5000, "--not-tied", "--out", "g.npz"]
    assert "pass --tied" in fails("fit", "z.npy", "y.npy", *args, code=1)


def test_equations_that_break_down(fails, data):
    args = ["--lam", 1e4, "--equations", "printed", "-o", "g.npz"]
    assert "--equations stationary" in fails("fit", "z.npy", "y.npy", *args, code=1)


# -- help ----------------------------------------------------------------------------------


def test_help_of_all(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(re.search(rf"^│ {name} ", out, re.MULTILINE) for name in COMMANDS)
    assert run() == (0, out, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert f"    fpigauss {name} " in out  # an example
    for words in ("``", '="', "<bool>   │", "None"):
        assert words not in out


def test_help_says_what_a_separation_costs(run):
    for args in ("--help", "fit --help"):
        assert "--lam 0" in run(args)[1]
    assert "negative log-likelihood" in run("path --help")[1]


def test_help_says_what_each_score_is(run):
    from fpigauss.cli._use import _SCORES
    from fpigauss.open_set._methods import METHODS

    assert list(_SCORES) == list(METHODS)
    out = " ".join(run("score --help")[1].replace("│", " ").split())
    assert "likelihood, the negative log-density in nats; mahalanobis, the squared" in out


def test_every_option_of_a_fit_is_there(run):
    _, out, _ = run("fit", "--help")
    shown = set(re.findall(r"--([a-z-]+)", out))
    left_out = {"progress", "callback"}
    for option in FixedPoint.__dataclass_fields__.values():
        name = option.name.replace("_", "-")
        assert option.name == "_" or (name in shown) == (name not in left_out)


def test_words_of_the_command_line():
    from fpigauss.cli._words import in_our_words

    assert in_our_words('pass max_iter=5, or ``pi="initial"``') == (
        "pass --max-iter 5, or --pi initial"
    )
    assert in_our_words("tied=False or tied=True") == "--not-tied or --tied"


def test_version(run):
    assert run("--version") == (0, f"fpigauss {fpigauss.__version__}\n", "")


def test_the_command_is_installed():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert declared["scripts"] == {"fpigauss": "fpigauss.cli:main"}


def test_without_the_extra(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "fpigauss.cli._app")
    monkeypatch.setitem(sys.modules, "typer", None)
    code, out, err = run("--version")
    assert (code, out) == (2, "")
    assert err == (
        "fpigauss: the command line needs typer, which is not installed; "
        'pip install "fpigauss[cli]"\n'
    )


# -- as a process: pipes, terminals, signals, disks ----------------------------------------


def test_completion(data):
    options = {
        "_FPIGAUSS_COMPLETE": "complete_bash",
        "COMP_WORDS": "fpigauss stat",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "fpigauss"],
        env=environment(**options),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["statistics"])
    script = environment(_FPIGAUSS_COMPLETE="source_bash")
    done = subprocess.run(
        [sys.executable, "-m", "fpigauss"], env=script, capture_output=True, text=True, timeout=60
    )
    assert "complete -o default -F" in done.stdout


def test_in_a_pipe(data):
    done = process("fit", "z.npy", "y.npy", "--separation", 40, "--out", "g.npz")
    assert (done.returncode, done.stderr) == (0, "reading z.npy, 180 rows\n")
    assert "\x1b" not in done.stdout


def test_lines_of_progress_in_a_pipe(run, data, monkeypatch):
    monkeypatch.setattr("fpigauss.cli._session._SECONDS", -1.0)
    _, _, err = run("statistics z.npy y.npy --out s.npz --memory-limit 5000")
    lines = err.splitlines()
    assert (lines[0], lines[-1]) == ("reading z.npy, 180 rows", "read 180 of 180 rows of z.npy")
    assert len(lines) > 3


def test_closed_streams(gaussians):
    command = f"{quote(sys.executable)} -m fpigauss predict g.npz z.npy --out p.npy >&- 2>&-"
    assert subprocess.run(command, shell=True, env=environment(), timeout=60).returncode == 0
    assert len(np.load("p.npy")) == 180


def test_a_reader_who_leaves(gaussians):
    command = f"{quote(sys.executable)} -m fpigauss sample g.npz -n 100000 --seed 0 | head -n 2"
    done = subprocess.run(
        command, shell=True, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (len(done.stdout.splitlines()), done.stderr) == (2, "")


def on_a_terminal(*args, interrupt_at=None, **variables):
    """Run a command on a terminal: its exit code, and all that it showed."""
    own = environment(TERM="xterm-256color", **variables)
    child, terminal = pty.fork()
    if child == 0:
        termios.tcsetwinsize(0, (24, 100))
        os.execve(sys.executable, [sys.executable, "-m", "fpigauss", *map(str, args)], own)
    shown = b""
    end = time.monotonic() + 90.0
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux, once the other side has closed
            break
        if not part:
            break
        shown += part
        if interrupt_at is not None and interrupt_at in shown:
            os.write(terminal, b"\x03")
            interrupt_at = None
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_on_a_terminal(data):
    code, shown = on_a_terminal("fit", "z.npy", "y.npy", "--separation", 40, "--out", "g.npz")
    assert code == 0
    assert "reading z.npy" in shown
    assert "180/180" in shown  # the bar of rows
    assert "separation:" in shown  # and that of fits
    assert "\x1b[1m" in shown


def test_a_path_on_a_terminal(data):
    args = ["--tied", "--lams", "0,10,100000", "--validation", "z.npy", "--validation-labels"]
    code, shown = on_a_terminal("path", "z.npy", "y.npy", *args, "y.npy", COLUMNS="80")
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).splitlines()
    rows = [line.split() for line in lines if " converged " in line]
    assert code == 0
    assert [row[0] for row in rows] == ["0", "10", "1e+05"]
    assert {len(row) for row in rows} == {8}  # no number is broken or cut
    assert "n_iter, repulsion, median_kld" in shown


def test_on_a_terminal_without_color(data):
    code, shown = on_a_terminal("info", "z.npy", "y.npy", NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown)  # colors


def test_interrupt():
    for name, shape in (("z.npy", (10**8, 64)), ("y.npy", (10**8,))):
        np.lib.format.open_memmap(name, mode="w+", dtype=np.int8, shape=shape).flush()
        assert Path(name).stat().st_blocks * 512 < 10**7  # what is not written takes no space
    args = ["fit", "z.npy", "y.npy", "--lam", 1, "--out", "g.npz"]
    code, shown = on_a_terminal(*args, interrupt_at=b"reading z.npy")
    assert code == 130, shown
    assert shown.rstrip().endswith("fpigauss: interrupted")
    assert "Traceback" not in shown
    assert here_now() == ["y.npy", "z.npy"]
    started = subprocess.Popen(
        [sys.executable, "-m", "fpigauss", *map(str, args)],
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
        start_new_session=True,
    )
    assert started.stderr.readline().startswith("reading z.npy")
    os.killpg(started.pid, signal.SIGINT)
    assert started.communicate(timeout=60)[1] == "fpigauss: interrupted\n"
    assert started.returncode == 130


@pytest.fixture
def signals():
    """Undo what nohup, or a shell that starts tests in the background, has ignored."""
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGHUP)}
    for name, handler in before.items():
        if handler == signal.SIG_IGN:  # which processes would inherit
            signal.signal(name, signal.SIG_DFL)
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.parametrize("command", ["module", "script"])
def test_interrupt_while_it_is_imported(gaussians, signals, command):
    script = Path(sys.executable).parent / "fpigauss"
    if command == "script" and not script.exists():
        pytest.skip("no command is installed beside this Python: pip install -e .")
    args = [sys.executable, "-m", "fpigauss"] if command == "module" else [str(script)]
    # imports stop where an interrupt would be lost or shown, in the middle of that of the package
    Path("sitecustomize.py").write_text(_STOPPED)
    path = os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))
    for module in ("fpigauss.divergence", "numpy.linalg", "typer", "rich.console"):
        started = subprocess.Popen(
            [*args, "info", "g.npz"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(PYTHONPATH=path, STOP_AT=module),
        )
        assert started.stdout.readline() == "stopped\n"
        started.send_signal(signal.SIGINT)
        assert started.communicate(timeout=60) == ("", "fpigauss: interrupted\n")
        assert started.returncode == 130


_STOPPED = """
import os, sys, time

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["STOP_AT"]:
            print("stopped", flush=True)
            try:
                time.sleep(60)
            except BaseException:  # as code that imports what is optional does
                pass

sys.meta_path.insert(0, Stop())
"""


def test_programs_keep_their_own_interrupts():
    # a shell starts what runs in the background with interrupts ignored
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "import fpigauss.cli; "
    code += "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_what_ends_a_command_leaves_nothing(signals, name):
    for file, shape in (("z.npy", (10**8, 64)), ("y.npy", (10**8,))):
        np.lib.format.open_memmap(file, mode="w+", dtype=np.int8, shape=shape).flush()
    started = subprocess.Popen(
        [sys.executable, "-m", "fpigauss", "convert", "z.npy", "out.parquet"],
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert started.stderr.readline().startswith("reading z.npy")
    started.send_signal(getattr(signal, name))
    assert started.communicate(timeout=60)[1] == "fpigauss: terminated\n"
    assert started.returncode == 128 + getattr(signal, name)
    assert here_now() == ["y.npy", "z.npy"]


_FULL = """
import json, resource, sys
from fpigauss.cli import main

import pyarrow.parquet, safetensors.numpy  # before files are limited
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
print(json.dumps([main([*args.split(), "--quiet"]) for args in sys.argv[1:]]), file=sys.stderr)
"""


def test_a_full_disk(gaussians):
    large = fpigauss.ClassGaussians(np.zeros((40, 20)) + np.arange(40)[:, None], np.ones((40, 20)))
    large.save("large.npz")
    before = here_now()
    commands = [f"convert large.npz x{ending}" for ending in (".npz", ".safetensors")]
    commands += [f"sample large.npz -n 900 -o x{ending}" for ending in (".npy", ".csv", ".parquet")]
    commands += ["plot g.npz --out x.png", "convert large.npz large.npz --force"]
    done = subprocess.run(
        [sys.executable, "-c", _FULL, *commands],
        env=environment(MPLBACKEND="Agg"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    *lines, codes = done.stderr.splitlines()
    assert json.loads(codes) == [2] * len(commands), done.stderr
    assert len(lines) == len(commands), done.stderr
    assert all(line.startswith("fpigauss: ") and "nothing was written" in line for line in lines)
    assert here_now() == before
    assert ClassGaussians.load("large.npz").n_classes == 40


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("args", [["--help"], ["--version"], ["fit", "--help"]])
def test_nowhere_to_print_help(args):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fpigauss", *args],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    assert (done.returncode, done.stderr) == (2, "fpigauss: No space left on device\n")


@pytest.mark.parametrize("args", [["info", "g.npz"], ["info", "g.npz", "--json"], ["--help"]])
def test_nobody_reads(gaussians, args):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "fpigauss", *args],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_nowhere_to_print(gaussians):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fpigauss", "predict", "g.npz", "z.npy", "--quiet"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=60,
        )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
