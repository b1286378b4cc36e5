"""The machines that look for faults: they find those that are put before them."""

import ast
import importlib.machinery
import os
import signal
import sys
import time
from collections import Counter

import pytest

pytest.importorskip("resource", reason="bounds on processes are those of POSIX")

from tools.torture import _mutations, _tried, files, mutants
from tools.torture.__main__ import NAMES, machine_of
from tools.torture._children import in_child
from tools.torture._report import gather
from tools.torture._runner import Machine, Summary, run
from tools.torture.solver import lower_minima


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
        ("for a in zip(b, c, strict=True): pass", set()),
        ("assert a is not None", set()),
        ("y = a.shape[-1]", {("1", "0"), ("1", "2")}),
        ("y = a[-1]", {("-", ""), ("1", "0"), ("1", "2")}),
        ("A: TypeAlias = B | C", set()),
        ("_PIECE_BYTES = 2**19", set()),
        ("if TYPE_CHECKING:\n    import a", set()),
        ("y = 1 if a else True", {("1", "2"), ("1", "0"), ("a", "not (a)"), ("True", "False")}),
    ],
)
def test_mutations(tmp_path, source, expected):
    assert mutations(tmp_path, source) == expected


def test_mutants_have_names_that_stay(tmp_path):
    def names(source):
        path = tmp_path / "program.py"
        path.write_text(source, "utf-8")
        return [mutant.name for mutant in _mutations.mutants_of(path)]

    found = names("y = a + b\nx = -a\ny = a + b\n")
    assert len(set(found)) == len(found) == 3
    assert names('"""Words."""\n\ny = a + b\nx = - a\ny = a + b\n')[::2] == found[::2]


def test_a_verdict_holds_until_its_tests_change(tmp_path, monkeypatch):
    program, one, two = (tmp_path / f"{name}.py" for name in ("program", "one", "two"))
    program.write_text("y = a + b", "utf-8")
    one.touch()
    two.touch()
    monkeypatch.setattr(mutants, "sources", lambda: [program])
    monkeypatch.setattr(mutants, "suite", lambda: [one, two])
    (mutant,) = _mutations.mutants_of(program)
    killed = _tried.Verdict("test", f"{one}::test_a", 3, 0.5)
    survived = _tried.Verdict("survived", "", 3, 0.5)

    def record():
        return mutants.Record(tmp_path / "record")

    def after_change(path):
        path.write_text(path.read_text("utf-8") + "#", "utf-8")
        return record().find(mutant, 3)

    assert record().find(mutant, 3) is None
    record().add(mutant, killed)
    assert after_change(two) == killed
    assert after_change(one) is None
    assert record().noticed(mutant) == killed.test
    record().add(mutant, survived)
    assert record().find(mutant, 3) == survived
    assert record().find(mutant, 4) is None
    assert after_change(two) is None


def test_a_function_is_changed_where_it_is(tmp_path, monkeypatch):
    path = tmp_path / "changed_program.py"
    path.write_text(
        "import functools\n"
        "class A:\n"
        "    @property\n"
        "    def a(self):\n"
        "        return 2 + 3\n"
        "    @functools.lru_cache\n"
        "    def a_of(self, x=1):\n"
        "        return [2 * y for y in x]\n",
        "utf-8",
    )
    loader = importlib.machinery.SourceFileLoader
    monkeypatch.setattr(loader, "get_code", loader.get_code)
    monkeypatch.syspath_prepend(tmp_path)
    program = importlib.import_module("changed_program")
    monkeypatch.delitem(sys.modules, "changed_program")
    by_text = {(m.line, m.text): m for m in _mutations.mutants_of(path)}
    assert _tried.function_of(by_text[7, "2"]) is None  # a default is run at import
    assert (program.A().a, program.A().a_of((1, 2))) == (5, [2, 4])
    functions = _tried.live_functions(tmp_path)
    _tried._change(by_text[5, "-"], functions)
    assert (program.A().a, program.A().a_of((1, 3))) == (-1, [2, 6])
    _tried._change(by_text[8, "/"], functions)
    assert program.A().a_of((1, 4)) == [2.0, 0.5]


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


def test_files_are_changed_alike_by_a_number():
    contents = {"a.npy": bytes(range(200))}
    first = [files.input_of(contents, i) for i in range(20)]
    assert first == [files.input_of(contents, i) for i in range(20)]
    assert Counter(map(len, first)) == {1: 20}
    assert sum(one != contents for one in first) > 15


def trial(number, folder):
    """Be at fault in some way, by the number."""
    (folder / "tried").touch()
    if number % 10 == 3:
        raise KeyError("descr")
    if number % 10 == 5:
        os.kill(os.getpid(), signal.SIGSEGV)
    while number % 10 == 8:
        pass
    yield "even" if number % 2 == 0 else "odd"


def machine(**options):
    return Machine("a number", trial, 1, 2, seconds=0.05, start_up=0.5, batch=4, **options)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_faults_crashes_and_hangs_are_found(capfd):
    summary = run("numbers", machine(), seed=2, trials=10, seconds=60.0)
    assert summary.trials == 10
    assert summary.outcomes == {"even": 4, "odd": 3, "fault": 3}
    found = {number: what for what, number in summary.faults.items()}
    assert set(found) == {3, 5, 8}
    assert found[3].startswith("KeyError at _runner.py")
    assert found[5].startswith("signal 11")
    assert found[8].startswith("hang")
    again = run("numbers", machine(), seed=2, first=3, trials=1, seconds=60.0)
    assert again.faults == {found[3]: 3}
    assert "numbers, trial 3: KeyError" in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_run_ends_in_time():
    assert run("numbers", machine(), trials=10**6, seconds=0.0).trials == 0


def test_summaries_are_gathered(tmp_path):
    report = tmp_path / "TORTURE.md"
    rows = "| `numbers` | old |\n| `letters` | kept |\n\nOn an old machine; another."
    report.write_text(f"before\n<!-- runs -->\n{rows}\n<!-- end of runs -->\nafter\n", "utf-8")
    summary = Summary("numbers", "a number", 1, 0, trials=10, seconds=90.0, on="a machine")
    summary.outcomes.update({"odd": 10})
    summary.save(tmp_path)
    assert Summary.load(tmp_path / "numbers.json") == summary
    gather(tmp_path, report, {"numbers": 30})
    text = report.read_text("utf-8")
    assert "| `letters` | kept |\n| `numbers` | a number | 10 of 30 | 0 | 1 | 1.5 |" in text
    assert text.startswith("before\n<!-- runs -->") and text.endswith(
        "<!-- end of runs -->\nafter\n"
    )
    assert "On a machine; an old machine; another." in text and "| old" not in text


def test_lower_minima():
    outcomes = {
        "no lower minimum: dense, frozen, d > 1": 3,
        "lower by 1e-4: dense, frozen, d > 1": 1,
        "max_iter": 7,
    }
    assert "| dense | frozen | d > 1 | 4 | 1 (25.0%) | 1e-4: 1 |" in lower_minima(outcomes)


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_is_one(name):
    found = machine_of(name)
    assert 0 < found.quick < found.full


def test_a_reader_that_is_at_fault_is_found(monkeypatch, tmp_path):
    def broken(path):
        raise KeyError("descr")

    monkeypatch.setattr(files, "read", broken)
    (tmp_path / "z.npy").write_bytes(bytes(range(200)))
    with pytest.raises(KeyError, match="descr"):
        list(files.trial(files.first_of("z.npy"), tmp_path))
