"""The machines that look for faults: they find those that are put before them."""

import ast
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="bounds on processes are those of POSIX")

from tools.torture import _mutations, files, mutants
from tools.torture._children import in_child


def mutations(tmp_path, source):
    """What takes the place of what, in a program."""
    path = tmp_path / "program.py"
    path.write_text(source, "utf-8")
    found = _mutations.mutants_of(path)
    for mutant in found:
        assert ast.dump(ast.parse(mutant.source())) != ast.dump(ast.parse(source))
    return {(source[m.start : m.stop], m.text) for m in found}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("y = a + b * 2", {("+", "-"), ("*", "/"), ("2", "3"), ("2", "0")}),
        ("y = µ - (b\n  - c)", {("-", "+")}),
        ("y = a < b <= c", {("<", "<="), ("<=", "<")}),
        ("y = a is not None and not b", {("is not", "is"), ("and", "or"), ("not ", "")}),
        ("if a:\n    raise E(f'{a + 1}')", {("a", "not (a)"), ("raise E(f'{a + 1}')", "pass")}),
        (
            "def f(x: int = 0) -> 'a':\n    '''1'''\n    return xp.min(x)",
            {("0", "1"), ("min", "max")},
        ),
        ("log(x)\n__all__ = [1]", {("log(x)", "pass"), ("log", "log1p")}),
        ("y = f(a, copy=False)", set()),
        ("y = 1 if a else True", {("1", "2"), ("1", "0"), ("a", "not (a)"), ("True", "False")}),
    ],
)
def test_mutations(tmp_path, source, expected):
    assert mutations(tmp_path, source) == expected


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_what_becomes_of_a_child(tmp_path):
    def ended(task, seconds=5.0):
        return in_child(task, seconds=seconds, memory=2**37, log=tmp_path / "log")

    def forever():
        while True:
            pass

    def too_large():
        return len(bytearray(2**45))

    assert ended(lambda: 3).status == 3
    assert ended(lambda: 1 // 0).why == "raised"
    assert "ZeroDivisionError" in (tmp_path / "log").read_text("utf-8")
    assert ended(forever, 0.5).why == "hang"
    assert ended(lambda: time.sleep(60) or 0, 0.1).why == "hang"
    assert ended(too_large).why == "memory"


def test_wilson():
    # as in scipy.stats.binomtest(9, 10).proportion_ci(method="wilson")
    assert mutants.wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert mutants.wilson(10, 10)[1] == pytest.approx(1.0)


def test_files_are_changed_alike_by_a_seed():
    contents = {"a.npy": bytes(range(200))}
    first = [files.input_of(contents, "z.npy", 0, i) for i in range(20)]
    assert first == [files.input_of(contents, "z.npy", 0, i) for i in range(20)]
    assert Counter(map(len, first)) == {1: 20}
    assert sum(one != contents for one in first) > 15


def test_the_readers_stand_a_few_inputs():
    command = [sys.executable, "-m", "tools.torture.files", "--inputs", "5"]
    command += ["--format", "deflated.npz"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 inputs, seed 0: 0 kinds of fault" in done.stdout


def test_a_reader_that_is_at_fault_is_found(monkeypatch, tmp_path):
    def broken(path: Path) -> str:
        if path.read_bytes()[:1] != b"\x93":
            raise KeyError("descr")
        return "read"

    monkeypatch.setattr(files, "read", broken)
    path = tmp_path / "z.npy"
    path.write_bytes(b"0")
    assert files._said(path).startswith("KeyError")
    path.write_bytes(b"\x93")
    assert files._said(path) == "read"
