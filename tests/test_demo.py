"""What ``make demo DATA=...`` reads, and what it says of a file that it cannot use."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import blobs

Z, Y = blobs(3, 5, 20)
SCRIPT = Path(__file__).parent.parent / "examples" / "quickstart.py"


@pytest.fixture(scope="module")
def quickstart():
    specification = importlib.util.spec_from_file_location("quickstart", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def load(quickstart):
    return quickstart.load


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
    path.write_text("1,2,cat\n3,4, dog\n2,2,cat\n3,5,dog\n" * 4, encoding="utf-8")
    assert set(load(str(path))[1].tolist()) == {"cat", "dog"}
    np.savez(tmp_path / "words.npz", z=Z[:, :2], y=np.array(["cat", "dog", "none"])[Y])
    assert set(load(str(tmp_path / "words.npz"))[1].tolist()) == {"cat", "dog", "none"}


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
        ("a.npz", {"z": np.eye(3), "y": np.arange(2)}, r"are not \(N, d\) and \(N,\); save"),
        ("a.npz", {"z": np.eye(3), "y": np.arange(3)}, "at least four samples each"),
        ("a.npz", {"z": np.array([["a"]]), "y": np.arange(1)}, "expected numbers"),
        ("a.npz", "no archive", "expected numbers"),
        ("a.npy", np.arange(3.0), r"shape \(3,\) and dtype float64, and needs to be a matrix"),
        ("a.npy", np.array([["a", "b"]]), "needs to be a matrix of numbers"),
        (
            "a.npy",
            np.array([[1.0, 0.5], [2.0, 0.0]]),
            r"y is 0\.5 in row 0, not an integral label; drop",
        ),
        ("a.npy", np.array([[np.nan, 1.0]]), "z is nan in row 0, column 0; drop the row"),
        ("a.npy", "", "expected numbers"),
        ("a.csv", "", r"are not \(N, d\) and \(N,\)"),
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


def refused(load, path, message):
    with pytest.raises(SystemExit, match=message) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def changed(row, value):
    """Return labels as floats, or as what ``value`` is, with another one in a row."""
    labels = Y.astype(np.result_type(float, type(value)))
    labels[row] = value
    return labels


CANNOT_BE_USED = {
    "missing label": ({"y": changed(4, np.nan)}, "y is nan in row 4, .* drop the row"),
    "fraction": ({"y": changed(4, 0.5)}, "y is 0.5 in row 4, .* drop the row"),
    "complex labels": ({"y": Y + 1j}, "y has dtype complex128; convert the labels"),
    "dates": ({"y": Y.astype("datetime64[D]")}, "y has dtype datetime64.*; convert the labels"),
    "bytes": ({"y": Y.astype("S")}, "y contains bytes, .* decode them"),
    "missing word": ({"y": np.where(Y == 2, "nan", "a")}, "the label is 'nan' in row .; drop"),
    "column": ({"y": Y[:, None]}, r"y \(60, 1\) are not"),
    "complex": ({"z": Z + 1j}, "z has dtype complex128; take its real part"),
    "times": ({"z": (9 * Z).astype("datetime64[s]")}, "z has dtype datetime64.*; save an array"),
    "too large": (
        {"z": 1e200 * Z},
        r"z is up to .*e\+20., in column ., and varies by .*; rescale it",
    ),
    "too small": ({"z": 1e-200 * Z}, r"varies by .*e-(200|199); rescale it"),
    "constant": ({"z": 0.0 * Z + 3.0}, "z is the same in all rows"),
    "constant in a class": ({"z": Z * (Y != 1)[:, None]}, "all rows of class 1 are the same; drop"),
    "constant in all classes": ({"z": np.eye(3)[Y]}, "all rows of class 0 are the same; drop"),
    "twins": (
        {"z": np.concatenate([Z, Z[Y == 0]]), "y": np.append(Y, Y[Y == 0] + 3)},
        "classes 0 and 3 have the same mean, .*; merge them",
    ),
    "flat": ({"z": Z[:, :2] * [1.0, 0.0]}, r"no variance in any class \(dimension 1\)"),
    "too many classes": (
        {"z": np.arange(12_004.0)[:, None], "y": np.arange(12_004) // 4},
        "it has 3001 classes",
    ),
}


@pytest.mark.parametrize(("change", "message"), CANNOT_BE_USED.values(), ids=CANNOT_BE_USED)
def test_arrays_that_cannot_be_used(load, tmp_path, change, message):
    np.savez(tmp_path / "a.npz", **({"z": Z, "y": Y} | change))
    refused(load, tmp_path / "a.npz", message)


def test_damaged_and_misnamed_files(load, tmp_path):
    matrix = np.column_stack([Z, Y])
    np.save(tmp_path / "a.npy", matrix)
    whole = (tmp_path / "a.npy").read_bytes()
    damaged = tmp_path / "damaged.npy"
    for changed_to in (whole.replace(b"}", b"("), whole.replace(b"descr", b"desc\0"), whole[:200]):
        damaged.write_bytes(changed_to)
        refused(load, damaged, "expected numbers")
    (tmp_path / "b.npz").write_bytes(whole)
    refused(load, tmp_path / "b.npz", r"one array, an \.npy file; give it that ending")
    np.savez(tmp_path / "c.npz", z=Z, y=Y)
    archive = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npy").write_bytes(archive)
    refused(load, tmp_path / "c.npy", r"an \.npz file; give it that ending")
    (tmp_path / "c.npz").write_bytes(archive.replace(Z.tobytes()[8:64], bytes(56)))
    refused(load, tmp_path / "c.npz", "expected numbers")


def table(z, labels):
    lines = [
        ",".join([*map(repr, row), label]) for row, label in zip(z.tolist(), labels, strict=True)
    ]
    return "\n".join(["header," * z.shape[1] + "label", *lines, ""])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("", "the label is '' in line 9; drop the rows without a label"),
        ("nan", "the label is 'nan' in line 9; drop the rows without a label"),
        (" NaN ", "the label is 'NaN' in line 9; drop the rows without a label"),
        ("1.0", r"the label is '1' in line . and '1\.0' in line 9, the same number; write it"),
        ("01", "the label is '01' in line 9 and '1' in line ., the same number; write it"),
    ],
)
def test_labels_of_a_table_that_would_be_classes_of_their_own(load, tmp_path, label, message):
    labels = [str(y) for y in Y]
    labels[7] = label
    (tmp_path / "a.csv").write_text(table(Z, labels), encoding="utf-8")
    refused(load, tmp_path / "a.csv", message)


def test_missing_numbers_of_a_table(load, tmp_path):
    z = Z.copy()
    z[3, 2] = np.nan
    (tmp_path / "a.csv").write_text(table(z, map(str, Y)), encoding="utf-8")
    refused(load, tmp_path / "a.csv", "z is nan in line 5, column 2; drop the row, or fill the gap")


def test_columns_that_are_constant_are_no_dimension_of_the_fits(quickstart, tmp_path):
    wide = np.column_stack([np.zeros((len(Z), 50)), Z])
    (tmp_path / "a.csv").write_text(table(wide, map(str, Y)), encoding="utf-8")
    z, y = quickstart.load(str(tmp_path / "a.csv"))
    assert z.shape == (60, 55)
    assert quickstart.halves(z, y)[0].shape == (30, 5)


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
