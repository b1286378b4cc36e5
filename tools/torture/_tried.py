"""Mutants against tests, each in a process of its own."""

import ast
import gc
import importlib.machinery
import inspect
import math
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from tools.torture._children import Ended, in_child
from tools.torture._mutations import Mutant
from tools.torture._runner import CACHE
from tools.torture._suite import MEMORY, run_tests

__all__ = ["Collected", "Verdict", "function_of", "live_functions", "tried", "tried_in_place"]

#: Where a child says which test it runs.
_LATEST = CACHE / "mutants.test"
#: Seconds of processor that a test of a mutant may take, beyond a multiple of what it takes else;
#: and how many times more on the clock, since a test may wait, for threads say.
_SECONDS, _TIMES, _CLOCK = 5.0, 5.0, 20.0
#: Seconds of processor for imports and for the collection of the tests.
_IMPORTS = 60.0
#: Of the exit statuses of pytest, those that say what a test, or the import of one, did.
_SAID = {0: "survived", 1: "test", 2: "test"}


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant; ``why`` is "survived", "test", "hang", "memory" or "signal"."""

    why: str
    #: The test that noticed, or nothing where an import failed.
    test: str
    n_tests: int
    seconds: float


class Collected:
    """A plugin of pytest that leaves what is done with the collected tests to a function."""

    def __init__(self, use: Callable[["Collected"], object]) -> None:
        self.use = use
        self.session: Any = None
        self.functions: list[FunctionType] = []

    def pytest_runtestloop(self, session: Any) -> bool:
        if session.testsfailed:
            raise session.Interrupted("a file of tests cannot be imported")
        self.session = session
        self.functions = live_functions(Path("fpigauss"))
        gc.freeze()  # no child looks through, and so copies, what all of them share
        self.use(self)
        return True

    def run(self, seconds: dict[str, float]) -> int:
        """Run tests in the given order, each within a bound, until one fails; return a status."""
        found = {item.nodeid: item for item in self.session.items}
        items = [found[name] for name in seconds if name in found]
        for item, following in zip(items, [*items[1:], None], strict=True):
            _LATEST.write_text(item.nodeid, "utf-8")
            _bound(_SECONDS + _TIMES * seconds[item.nodeid])
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.session.testsfailed:
                return 1
        return 0


def _bound(seconds: float) -> None:
    """End this process if it goes on for longer."""
    limit = math.ceil(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) + seconds)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (min(limit, hard), hard))
    signal.setitimer(signal.ITIMER_REAL, _CLOCK * seconds)


# -- in place of the module -------------------------------------------------------------------


def tried(mutant: Mutant, seconds: dict[str, float]) -> Verdict:
    """Run tests with the mutant in place of its module, which nothing has imported yet."""
    files = sorted({name.partition("::")[0] for name in seconds})

    def task() -> int:
        _replace(mutant)
        return run_tests(files, Collected(lambda collected: collected.run(seconds)))

    return _judged(task, seconds)


def _replace(mutant: Mutant) -> None:
    target, source = os.path.abspath(mutant.path), mutant.source()  # noqa: PTH100
    usual = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
        if os.path.abspath(self.path) == target:  # noqa: PTH100
            return compile(source, target, "exec", dont_inherit=True)
        return usual(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]


# -- in place of a function -------------------------------------------------------------------


def function_of(mutant: Mutant) -> tuple[str, int] | None:
    """Return the name and the first line of the function or method whose body is changed."""
    for node in _functions(ast.parse(mutant.path.read_text("utf-8")).body):
        if node.body[0].lineno <= mutant.line <= (node.end_lineno or 0):
            return node.name, min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return None


def _functions(body: Sequence[ast.stmt]) -> Iterator[ast.FunctionDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body)


def tried_in_place(mutant: Mutant, seconds: dict[str, float], collected: Collected) -> Verdict:
    """Run collected tests with the mutant's code in the one function that it changes."""

    def task() -> int:
        _change(mutant, collected.functions)
        return collected.run(seconds)

    return _judged(task, seconds)


def live_functions(folder: Path) -> list[FunctionType]:
    """Return all functions that have been made from the files of a folder."""
    start = os.path.abspath(folder)  # noqa: PTH100
    found = [x for x in gc.get_objects() if type(x) is FunctionType]
    return [function for function in found if function.__code__.co_filename.startswith(start)]


def _change(mutant: Mutant, functions: Iterable[FunctionType]) -> None:
    _replace(mutant)  # for a module that is imported later
    place = function_of(mutant)
    path = os.path.abspath(mutant.path)  # noqa: PTH100
    changed = _code_at(place, compile(mutant.source(), path, "exec", dont_inherit=True))
    for function in functions:
        code = function.__code__
        if code.co_filename == path and (code.co_name, code.co_firstlineno) == place:
            function.__code__ = changed


def _code_at(place: tuple[str, int] | None, code: CodeType) -> CodeType:
    (found,) = (part for part in _codes(code) if (part.co_name, part.co_firstlineno) == place)
    return found


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of the functions of a module, and of the methods of its classes."""
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield part
            if not part.co_flags & inspect.CO_OPTIMIZED:  # the body of a class
                yield from _codes(part)


# -- what comes of it -------------------------------------------------------------------------


def _judged(task: Callable[[], int], seconds: dict[str, float]) -> Verdict:
    start = time.monotonic()
    _LATEST.write_text("", "utf-8")
    ended = in_child(
        task,
        seconds=_IMPORTS + _TIMES * sum(seconds.values()),
        memory=MEMORY,
        log=CACHE / "mutants.log",
    )
    why = _verdict(ended)
    test = "" if why == "survived" else _LATEST.read_text("utf-8")
    return Verdict(why, test, len(seconds), round(time.monotonic() - start, 1))


def _verdict(ended: Ended) -> str:
    if ended.status is None or ended.why == "memory":
        return ended.why
    if ended.status not in _SAID:
        raise SystemExit(f"pytest ended with {ended.status}; see {CACHE / 'mutants.log'}")
    return _SAID[ended.status]
