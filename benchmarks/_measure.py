"""How time and memory are measured, and how a measurement becomes a row of a table."""

from __future__ import annotations

import multiprocessing
import statistics
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fpigauss import ClassStatistics, FixedPoint
from fpigauss.fit._start import prepare

MIB = 2**20
GIB = 2**30

#: A timing shorter than this is repeated within its round, so that the clock does not matter.
_SHORTEST = 0.02


@dataclass(frozen=True)
class Bar:
    """What a value should be: at most, or at least, ``limit``."""

    limit: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def margin(self, value: float) -> float:
        """Return how many times better than the bar; below 1 the bar is missed."""
        return value / self.limit if self.at_least else self.limit / value


@dataclass(frozen=True)
class Row:
    """One measurement: of us, of what it is compared with, and their ratio or another value."""

    case: str
    ours: str
    other: str
    value: float
    unit: str = "x"
    bar: Bar | None = None


@dataclass(frozen=True)
class Table:
    """A comparison's result."""

    title: str
    #: What the columns hold, and what a reader has to know to judge them.
    note: str
    rows: list[Row]
    pictures: list[Path] = field(default_factory=list)


class Timings:
    """Seconds by name, one list of rounds each."""

    def __init__(self, rounds: dict[str, list[float]]):
        self.rounds = rounds

    def median(self, name: str) -> float:
        return statistics.median(self.rounds[name])

    def ratio(self, slow: str, fast: str) -> float:
        """Return the median over rounds of ``slow`` to ``fast``: both saw the same machine."""
        pairs = zip(self.rounds[slow], self.rounds[fast], strict=True)
        return statistics.median(a / b for a, b in pairs)


def paired(
    functions: dict[str, Callable[[], Any]], *, rounds: int = 7, seconds: float = 15.0
) -> Timings:
    """Time A B A B ..., after a first call of each, until ``rounds`` or ``seconds`` are over.

    What takes longer than ``seconds`` for one call of each is timed on its first calls.
    """
    first = {name: _seconds(function) for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    if sum(first.values()) > seconds:
        return Timings({name: [t] for name, t in first.items()})
    calls = {name: max(1, round(_SHORTEST / t)) for name, t in first.items()}
    started = time.perf_counter()
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(_seconds(function, calls[name]))
        if time.perf_counter() - started > seconds:
            break
    return Timings(times)


def _seconds(function: Callable[[], Any], calls: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - started) / calls


def one_evaluation(statistics: ClassStatistics, lam: float, **options: Any) -> Callable[[], Any]:
    """Make a pass over all pairs at the start of ``solve_fixed_point(statistics, lam, **options)``.

    The one place that reaches below the public interface: a fit makes at least two of them.
    """
    fixed_point = FixedPoint(lam, **options)
    setup = prepare(statistics, fixed_point, lam, "statistics", statistics.means)
    equations, problem, start = fixed_point.strategies.equations, setup.problem, setup.start
    return lambda: equations.evaluate(problem, start.point, start)


def extra_memory(function: Callable[[], Any]) -> int:
    """Measure the most bytes that Python and numpy held during a call, beyond those before it."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def in_new_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call in a new process, free of any other comparison's memory, threads or caches."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def peak_resident() -> int:
    """Return the most bytes of memory that this process has held so far."""
    try:  # not ru_maxrss: on Linux a new process inherits its parent's
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
