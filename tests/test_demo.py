"""What ``make demo DATA=...`` reads, and what it says of a file that it cannot use."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import blobs

SCRIPT = Path(__file__).parent.parent / "examples" / "quickstart.py"


@pytest.fixture(scope="module")
def load():
    specification = importlib.util.spec_from_file_location("quickstart", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.load


def written(folder, name, header=""):
    """Write the data to a file of the kind that its name says."""
    z, y = blobs(3, 2, 20)
    path = folder / name
    if path.suffix == ".npz":
        np.savez(path, z=z, y=y)
    elif path.suffix == ".npy":
        np.save(path, np.column_stack([z, y]))
    else:
        lines = [f"{a!r},{b!r},{label}" for (a, b), label in zip(z.tolist(), y, strict=True)]
        path.write_text("\n".join([*header.splitlines(), *lines, ""]), encoding="utf-8")
    return path, z, y


@pytest.mark.parametrize("name", ["data.npz", "data.npy", "data.csv", "my data.CSV"])
@pytest.mark.parametrize("header", ["", "\ufeffa,b,label"])
def test_files_of_every_kind(load, tmp_path, name, header):
    path, z, y = written(tmp_path, name, header)
    found, labels = load(str(path))
    np.testing.assert_array_equal(found, z)
    np.testing.assert_array_equal(labels.astype(int), y)


def test_labels_may_be_words(load, tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("1,2,cat\n3,4, dog\n" * 4, encoding="utf-8")
    assert set(load(str(path))[1].tolist()) == {"cat", "dog"}
    np.savez(tmp_path / "words.npz", z=np.eye(8), y=np.repeat(["cat", "dog"], 4))
    assert set(load(str(tmp_path / "words.npz"))[1].tolist()) == {"cat", "dog"}


def save(path, value):
    if isinstance(value, dict):
        np.savez(path, **value)
    elif isinstance(value, str):
        path.write_text(value, encoding="utf-8")
    else:
        np.save(path, value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.npz", {"x": np.eye(3), "y": np.arange(3)}, "it has no z, but x, y"),
        ("a.npz", {"z": np.eye(3), "y": np.arange(2)}, r"are not finite \(N, d\) and labels"),
        ("a.npz", {"z": np.eye(3), "y": np.arange(3)}, "at least four samples each"),
        ("a.npz", {"z": np.array([["a"]]), "y": np.arange(1)}, "expected numbers"),
        ("a.npz", "no archive", "expected numbers"),
        ("a.npy", np.arange(3.0), r"shape \(3,\) and dtype float64, and needs to be a matrix"),
        ("a.npy", np.array([["a", "b"]]), "needs to be a matrix of numbers"),
        ("a.npy", np.array([[1.0, 0.5]]), "its last column, the label, is not integral"),
        ("a.npy", np.array([[np.nan, 1.0]]), "are not finite"),
        ("a.npy", "", "expected numbers"),
        ("a.csv", "", "are not finite"),
        ("a.csv", "a,b\n1,2\n3\n", "line 3 is not numbers"),
        ("a.csv", "1,2,0\nx,2,0\n", "line 2 is not numbers"),
        ("a.csv", "1;2;0\n1;2;0\n", "line 1 is not numbers"),
        ("a.txt", "1,2", r"a file that ends in \.npz, \.npy, \.csv"),
    ],
)
def test_files_that_cannot_be_used(load, tmp_path, name, value, message):
    path = tmp_path / name
    if name.endswith(".txt") or isinstance(value, str):
        path.write_text(value, encoding="utf-8")
    else:
        save(path, value)
    with pytest.raises(SystemExit, match=message) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_does_not_exist(load, tmp_path):
    with pytest.raises(SystemExit, match=r"none\.npy: expected numbers"):
        load(str(tmp_path / "none.npy"))


def test_the_demo_runs_on_a_path_with_a_space(tmp_path):
    path, _, _ = written(tmp_path, "my data.csv", "a,b,label")
    picture = tmp_path / "a picture.png"
    command = [sys.executable, SCRIPT, path, "--picture", picture]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "30 training and 30 held-out samples, 2 dimensions" in done.stdout
    assert picture.stat().st_size > 0
