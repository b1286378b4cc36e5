"""Change the mathematics a little, and see whether a test notices.

``python -m tools.torture mutants --sample 300`` draws mutants of the equations, the families, the
solvers and the statistics. Each runs in a process of its own, where the changed module is imported
in place of the one on disk: first the tests that cover its lines, the fastest first, then the
others of the core suite, until one fails. A mutant that runs into the bound on its time or memory
counts as noticed, and is listed. What survives is printed with its place and its difference.
"""

import argparse
import difflib
import hashlib
import importlib.machinery
import json
import math
import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from tools.torture._children import Ended, in_child
from tools.torture._mutations import Mutant, mutants_of
from tools.torture._runner import CACHE, Summary, described_machine

__all__ = ["main", "wilson"]

#: Rooms of the core whose mutants are drawn.
ROOMS = ("equations", "covariance", "solvers", "statistics")
#: The core suite, of about a minute and a half of one processor.
SUITE = (
    "test_bad_input",
    "test_custom_family",
    "test_divergence",
    "test_equivariance",
    "test_finite_statistics",
    "test_fixed_point",
    "test_flags",
    "test_frozen",
    "test_geometric_mean_gradient",
    "test_golden",
    "test_inflated_class",
    "test_moments",
    "test_out_of_core",
    "test_outcome",
    "test_singular_data",
    "test_sparse_input",
    "test_starts",
    "test_statistics",
    "test_trust_solver",
)
#: Of tests for every namespace, those of numpy and torch, which take different paths; and without
#: those that take long to say little.
_DESELECTED = (
    "not array_api_strict and not jax and not slow and not TestACluster "
    "and not larger_than_the_bound and not no_lower_minimum_is_missed and not more_starts"
)
#: Seconds of processor that a test of a mutant may take, beyond a multiple of what it takes else;
#: and how many times more on the clock, since a test may wait, for threads say.
_SECONDS, _TIMES, _CLOCK = 5.0, 5.0, 20.0
#: Seconds of processor for imports and for the collection of the tests.
_IMPORTS = 60.0
_MEMORY = 8 * 2**30

Cover = dict[str, Any]


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Compute Wilson's interval of a share, by default of 95 %.

    Examples
    --------
    >>> low, high = wilson(9, 10)
    >>> round(low, 2), round(high, 2)
    (0.6, 0.98)
    """
    share, per = successes / trials, z * z / trials
    middle = (share + per / 2) / (1 + per)
    half = z / (1 + per) * math.sqrt(share * (1 - share) / trials + per / (4 * trials))
    return middle - half, middle + half


# -- which tests run which lines ---------------------------------------------------------------


class _Contexts:
    """A plugin of pytest that tells coverage which test runs, and takes its processor time."""

    def __init__(self, measured: Any) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}

    def pytest_runtest_setup(self, item: Any) -> None:
        self.measured.switch_context(item.nodeid)
        self.seconds[item.nodeid] = -time.process_time()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] += time.process_time()


def covered(refresh: bool = False) -> Cover:
    """Return the seconds of each test, and the tests that run each line; measured once."""
    sources = [path.read_bytes() for path in (*_mutable(), *_files())]
    digest = hashlib.blake2b(b"".join(sources) + _DESELECTED.encode()).hexdigest()[:16]
    path = CACHE / f"cover-{digest}.json"
    if refresh or not path.exists():
        CACHE.mkdir(exist_ok=True)
        log = CACHE / "cover.log"
        log.unlink(missing_ok=True)
        ended = in_child(lambda: _measure(path), seconds=1800.0, memory=_MEMORY, log=log)
        if ended.status != 0:
            raise SystemExit(f"the suite fails without mutants ({ended.why}); see {log}")
    found: Cover = json.loads(path.read_text("utf-8"))
    return found


def _measure(path: Path) -> int:
    import coverage

    measured = coverage.Coverage(data_file=None, source=["fpigauss"], config_file=False)
    plugin = _Contexts(measured)
    measured.start()
    status = _pytest([str(file) for file in _files()], [plugin])
    measured.stop()
    data = measured.get_data()
    names = list(plugin.seconds)
    index = {name: i for i, name in enumerate(names)}
    lines = {
        os.path.relpath(file): {
            line: sorted({index[c] for c in contexts if c in index})
            for line, contexts in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    if status == 0:
        cover = {"tests": names, "seconds": list(plugin.seconds.values()), "lines": lines}
        path.write_text(json.dumps(cover), "utf-8")
    return status


def _mutable() -> list[Path]:
    return [path for room in ROOMS for path in sorted(Path("fpigauss", room).glob("*.py"))]


def _files() -> list[Path]:
    return [Path("tests", f"{name}.py") for name in SUITE]


def _pytest(what: Sequence[str], plugins: Sequence[object] = ()) -> int:
    import pytest

    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "-r", "f"]
    return int(pytest.main([*options, "-k", _DESELECTED, *what], list(plugins)))


# -- one mutant --------------------------------------------------------------------------------


class _Ordered:
    """A plugin of pytest that runs some tests only, in an order, each within a bound."""

    def __init__(self, bounds: dict[str, float]) -> None:
        self.bounds = bounds
        self.place = {name: i for i, name in enumerate(bounds)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if item.nodeid in self.place]
        items.sort(key=lambda item: self.place[item.nodeid])

    def pytest_runtest_setup(self, item: Any) -> None:
        bound = self.bounds[item.nodeid]
        limit = math.ceil(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) + bound)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (min(limit, hard), hard))
        signal.setitimer(signal.ITIMER_REAL, _CLOCK * bound)  # which ends the process


def _replace(mutant: Mutant) -> None:
    """Import the mutant in place of its module, which nothing has imported yet."""
    target, source = os.path.abspath(mutant.path), mutant.source()  # noqa: PTH100
    usual = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
        if os.path.abspath(self.path) == target:  # noqa: PTH100
            return compile(source, target, "exec", dont_inherit=True)
        return usual(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant; ``why`` is "survived", "test", "hang", "memory" or "signal"."""

    mutant: Mutant
    why: str
    n_covering: int
    seconds: float


def tried(mutant: Mutant, cover: Cover, *, others: bool = True) -> Verdict:
    """Run the tests on a mutant until one fails: those that cover it, then the ``others``."""
    start = time.monotonic()
    at = cover["lines"].get(str(mutant.path), {})
    chosen = {i for line in range(mutant.line, mutant.last + 1) for i in at.get(str(line), ())}
    seconds = cover["seconds"]
    first = sorted(chosen, key=lambda i: seconds[i])
    rest = sorted(set(range(len(seconds))) - chosen, key=lambda i: seconds[i])
    why = "survived"
    for part in filter(None, (first, rest if others or not first else ())):
        bounds = {cover["tests"][i]: _SECONDS + _TIMES * seconds[i] for i in part}
        ended = in_child(
            lambda bounds=bounds: _run(mutant, bounds),  # type: ignore[misc]
            seconds=_IMPORTS + _TIMES * sum(seconds),
            memory=_MEMORY,
            log=CACHE / "mutants.log",
        )
        why = _verdict(ended)
        if why != "survived":
            break
    return Verdict(mutant, why, len(chosen), time.monotonic() - start)


def _run(mutant: Mutant, bounds: dict[str, float]) -> int:
    _replace(mutant)
    return _pytest(sorted({name.partition("::")[0] for name in bounds}), [_Ordered(bounds)])


def _verdict(ended: Ended) -> str:
    if ended.status is None:
        return ended.why
    return {0: "survived"}.get(ended.status, "memory" if ended.why == "memory" else "test")


def difference(mutant: Mutant) -> str:
    """Return the difference that a mutant makes, as diff shows it."""
    before, after = mutant.path.read_text("utf-8"), mutant.source()
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    return "\n".join(list(lines)[2:])


# -- the command -------------------------------------------------------------------------------


def _summary(verdicts: Iterable[Verdict], seed: int, n_all: int) -> str:
    found = list(verdicts)
    counts = Counter(verdict.why for verdict in found)
    n_killed = len(found) - counts["survived"]
    low, high = wilson(n_killed, len(found))
    parts = ", ".join(f"{why} {n}" for why, n in sorted(counts.items()))
    return (
        f"{n_killed} of {len(found)} mutants killed, {n_killed / len(found):.1%} "
        f"(95 %: {low:.1%} to {high:.1%}); seed {seed}, {n_all} mutants in all; {parts}"
    )


def _ready() -> None:
    """Import what mutants do not change, once: children have it at once."""
    for name in ("numpy", "pytest", "scipy.linalg", "scipy.optimize", "torch"):
        importlib.import_module(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw mutants, try them, and print what survives."""
    parser = argparse.ArgumentParser(prog="tools.torture mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="how many mutants are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-least", type=float, default=0.0, help="the share to be killed")
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument(
        "--covering", action="store_true", help="run other tests only where none covers a mutant"
    )
    parser.add_argument("--refresh", action="store_true", help="measure anew what tests cover")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    _ready()
    (CACHE / "mutants.log").unlink(missing_ok=True)
    cover = covered(options.refresh)
    print(f"{len(cover['tests'])} tests in {sum(cover['seconds']):.0f} s", flush=True)
    population = [m for path in _mutable() if options.only in str(path) for m in mutants_of(path)]
    n_drawn = min(options.sample, len(population))
    drawn = random.Random(options.seed).sample(population, n_drawn)
    verdicts = []
    for i, mutant in enumerate(drawn):
        verdict = tried(mutant, cover, others=not options.covering)
        verdicts.append(verdict)
        place = f"{mutant.path}:{mutant.line}"
        line = f"{i + 1}/{n_drawn} {verdict.why:8} {place} ({verdict.n_covering} tests cover it"
        print(f"{line}, {verdict.seconds:.0f} s)", flush=True)
        if verdict.why != "test":
            print(difference(mutant), flush=True)
    said = _summary(verdicts, options.seed, len(population))
    print(said)
    if not options.only:
        what = f"the mathematics is changed at one place: {said.partition(';')[0]}"
        summary = Summary("mutants", what, options.seed, 0, trials=len(verdicts))
        summary.outcomes.update(verdict.why for verdict in verdicts)
        summary.seconds = round(time.monotonic() - begun, 1)
        summary.on = described_machine()
        summary.save(CACHE)
    n_killed = sum(verdict.why != "survived" for verdict in verdicts)
    return int(n_killed < options.at_least * len(verdicts))
