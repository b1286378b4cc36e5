"""The example of every library runs as its docstring says, on a small budget."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOWJAX = "flowjax_digits.py"
ALL = sorted(path.name for path in (ROOT / "examples" / "flows").glob("[!_]*_digits.py"))
EXAMPLES = [name for name in ALL if name != FLOWJAX]  # those that share _digits.py


def test_there_is_one_for_every_library():
    libraries = ("flowjax", "freia", "lightning", "nflows", "normflows", "pyro", "tarflow", "zuko")
    assert [f"{library}_digits.py" for library in libraries] == ALL


def run_example(name, tmp_path):
    """What an example printed, and the accuracy it found; its other figures are checked."""
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
    assert ("denoised: " in run.stdout) == name.startswith("tarflow")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    return run.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, tmp_path):
    told = run_example(name, tmp_path)
    kept = re.search(r"^augmented: ([\d.]+) of the digits", told, re.MULTILINE)
    assert kept and float(kept[1]) > 0.9, told


def test_example_of_flowjax(tmp_path):
    if find_spec("flowjax") is None:  # importing it would start threads in this process
        pytest.skip("flowjax is not installed: pip install -e . --group test")
    run_example(FLOWJAX, tmp_path)
