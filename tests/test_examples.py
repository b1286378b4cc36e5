"""The example of any encoder, and those of statistics by several processes, at a small size."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fpigauss import ClassStatistics

ROOT = Path(__file__).parents[1]
DISTRIBUTED = ROOT / "examples" / "distributed"


def run(script, *arguments, cwd, environment=()):
    """What a script prints."""
    process = subprocess.run(
        [sys.executable, ROOT / "examples" / script, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | dict(environment),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert "Warning" not in process.stderr
    return process.stdout


def test_latents_of_an_encoder(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    picture = tmp_path / "picture.png"
    arguments = ("--epochs", 8, "--classes", 100, "--out", picture, "--folder", tmp_path / "kept")
    printed = run("encoder_latents.py", *arguments, cwd=tmp_path)
    pattern = r"^(.*): accuracy ([\d.]+); rejected ([\d.]+) of the known digits, ([\d.]+) of"
    rows = re.findall(pattern, printed, re.MULTILINE)
    names, *columns = zip(*rows, strict=True)
    assert [name.split(",")[0] for name in names] == [
        "the network itself", "separated", "no repulsion"
    ]  # fmt: skip
    accuracy, known, unknown = ([float(x) for x in column] for column in columns)
    # of six seeds and 15 epochs: .965 to .990; .03 to .08; .37 to .63, and .10 to .22 as they were
    assert min(accuracy) > 0.93
    assert max(known) < 0.11  # .05, of 289 rows by a threshold of 288: three standard deviations
    assert unknown[1] > 0.25 and unknown[1] > unknown[2]
    near = re.findall(r"samples: ([\d.]+) lie nearest .*images\), ([\d.]+) have", printed)
    assert len(near) == 2
    assert min(float(x) for pair in near for x in pair) > 0.95
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "100 classes, 5,000 rows of 256 numbers" in printed
    kld, accurate = re.findall(r"smallest KLD ([\d.]+) nats.*; accuracy ([\d.]+)", printed)[0]
    assert 50.0 <= float(kld) <= 52.5
    assert float(accurate) > 0.95
    parts = ("held_out", "test", "train", "unknown")
    files = {"embeddings", "labels", *parts, *(f"{part}_labels" for part in parts)}
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {f"{f}.npy" for f in files}


WAYS = {
    "by_hand": ("numpy", "files"),
    "with_dask": ("distributed", "dask"),
    "with_torch": ("torch", "torch"),
}


def test_there_is_a_word_on_every_way():
    scripts = sorted(path.stem for path in DISTRIBUTED.glob("[!_]*.py"))
    assert scripts == sorted(WAYS)
    readme = (DISTRIBUTED / "README.md").read_text()
    assert all(f"{script}.py" in readme for script in scripts)


@pytest.mark.parametrize("script", WAYS)
def test_processes_equal_one_pass(script, tmp_path):
    package, way = WAYS[script]
    pytest.importorskip(package)
    # the script itself compares the statistics with those of one pass, to a derived bound
    printed = run(f"distributed/{script}.py", "--rows", 20_000, cwd=tmp_path)
    assert f"{way}, 2 workers: 20,000 rows in 8 parts" in printed
    used = re.search(r"the difference is (\S+) of the bound", printed)
    assert used and float(used[1]) <= 1.0
    assert "smallest KLD 15" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    """A folder of parts, each with its statistics."""
    folder = tmp_path_factory.mktemp("parts")
    run("distributed/by_hand.py", "--rows", 4_000, "--folder", folder, cwd=folder)
    return folder


def test_parts_one_call_each(gathered):
    # as the jobs of a cluster do it
    third = gathered / "statistics-3.npz"
    before = ClassStatistics.load(third)
    third.unlink()
    run("distributed/by_hand.py", "--folder", gathered, "--part", 3, cwd=gathered)
    np.testing.assert_array_equal(ClassStatistics.load(third).means, before.means)
    run("distributed/by_hand.py", "--folder", gathered, "--merge", cwd=gathered)
    assert ClassStatistics.load(gathered / "statistics.npz").counts.sum() == 4_000


def test_a_process_of_torchrun(gathered):
    pytest.importorskip("torch", reason="torch is not installed")
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    printed = run(
        "distributed/with_torch.py", "--folder", gathered, cwd=gathered, environment=alone
    )
    assert "torch, 1 worker: 4,000 rows in 8 parts" in printed
