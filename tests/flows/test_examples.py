"""The example of every library runs as its docstring says, on a small budget."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "examples" / "flows").glob("[!_]*.py"))


def test_there_is_one_for_every_library():
    libraries = ("freia", "lightning", "nflows", "normflows", "pyro", "tarflow", "zuko")
    assert [f"{library}_digits.py" for library in libraries] == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, tmp_path):
    picture = tmp_path / "picture.png"
    run = subprocess.run(
        [sys.executable, ROOT / "examples" / "flows" / name, "--epochs", "2", "--out", picture],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    pattern = r"^(\w+): (?:accuracy ([\d.]+), )?([\d.]+) bits/dim"
    found = re.findall(pattern, run.stdout, re.MULTILINE)
    assert [when for when, _, _ in found] == ["untrained", "trained"], run.stdout
    (_, before, _), (_, after, bits) = found
    assert before == ""
    assert "RuntimeWarning" not in run.stderr
    # two epochs gave .90 and more; a tenth is chance
    assert float(after) > 0.7
    assert 0.0 < float(bits) < 6.0
    kept = re.search(r"^augmented: ([\d.]+) of the digits", run.stdout, re.MULTILINE)
    assert kept and float(kept[1]) > 0.9, run.stdout
    assert ("denoised: " in run.stdout) == name.startswith("tarflow")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
