"""Change the mathematics a little, and see whether a test notices.

``python -m tools.torture mutants --sample 300`` draws mutants of the equations, the families, the
repulsion, the solvers and the statistics. Each runs in a process of its own, where the changed
module is imported in place of the one on disk, against the tests of the core suite that run its
lines, the fastest first, until one fails; no other test could. Where no test does, as for defaults
and constants, all of them run. A mutant that runs into the bound on its time or memory counts as
noticed, and is listed. What survives is printed with its place and its difference.

Verdicts are kept, and hold until the package or the tests that they rest on change: a run that was
broken off goes on, and after a new test only the survivors are tried again.
"""

import argparse
import difflib
import hashlib
import importlib.machinery
import json
import math
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import CodeType
from typing import Any

from tools.torture._children import Ended, in_child
from tools.torture._mutations import Mutant, mutants_of
from tools.torture._runner import CACHE, Summary, described_machine
from tools.torture._suite import MEMORY, Cover, digest_of, run_tests, sources, suite

__all__ = ["Record", "Verdict", "main", "wilson"]

#: Rooms of the core whose mutants are drawn.
ROOMS = ("equations", "covariance", "repulsion", "solvers", "statistics")
#: Seconds of processor that a test of a mutant may take, beyond a multiple of what it takes else;
#: and how many times more on the clock, since a test may wait, for threads say.
_SECONDS, _TIMES, _CLOCK = 5.0, 5.0, 20.0
#: Seconds of processor for imports and for the collection of the tests.
_IMPORTS = 60.0


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


def _population(only: str = "") -> list[Mutant]:
    paths = [path for room in ROOMS for path in sorted(Path("fpigauss", room).glob("*.py"))]
    return [mutant for path in paths if only in str(path) for mutant in mutants_of(path)]


def _drawn(population: Iterable[Mutant], seed: int) -> list[Mutant]:
    """Put mutants in an order by chance, in which a change elsewhere moves none of them."""

    def place(mutant: Mutant) -> str:
        return hashlib.blake2b(f"{seed} {mutant.name}".encode()).hexdigest()

    return sorted(population, key=place)


# -- one mutant --------------------------------------------------------------------------------

#: Where a child says which test it runs.
_LATEST = CACHE / "mutants.test"


class _Ordered:
    """A plugin of pytest that runs some tests only, in an order, each within a bound."""

    def __init__(self, bounds: dict[str, float]) -> None:
        self.bounds = bounds
        self.place = {name: i for i, name in enumerate(bounds)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if item.nodeid in self.place]
        items.sort(key=lambda item: self.place[item.nodeid])

    def pytest_runtest_setup(self, item: Any) -> None:
        _LATEST.write_text(item.nodeid, "utf-8")
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

    why: str
    #: The test that noticed, or nothing where an import failed.
    test: str
    n_tests: int
    seconds: float


def _chosen(mutant: Mutant, cover: Cover, seconds: float) -> dict[str, float]:
    """Return the tests to try, the fastest first, and how long each takes else."""
    found = cover.of(mutant.path, range(mutant.line, mutant.last + 1))
    found = found or sorted(range(len(cover.tests)), key=lambda i: cover.seconds[i])
    spent = accumulate(cover.seconds[i] for i in found)
    return {
        cover.tests[i]: cover.seconds[i]
        for i, total in zip(found, spent, strict=True)
        if total <= seconds
    }


def tried(mutant: Mutant, chosen: dict[str, float], first: str = "") -> Verdict:
    """Run the tests on a mutant until one fails, beginning with ``first`` if it is one of them."""
    start = time.monotonic()
    names = sorted(chosen, key=lambda name: name != first)
    bounds = {name: _SECONDS + _TIMES * chosen[name] for name in names}
    _LATEST.write_text("", "utf-8")
    ended = in_child(
        lambda: _run(mutant, bounds),
        seconds=_IMPORTS + _TIMES * sum(chosen.values()),
        memory=MEMORY,
        log=CACHE / "mutants.log",
    )
    why = _verdict(ended)
    test = "" if why == "survived" else _LATEST.read_text("utf-8")
    return Verdict(why, test, len(chosen), round(time.monotonic() - start, 1))


def _run(mutant: Mutant, bounds: dict[str, float]) -> int:
    _replace(mutant)
    return run_tests(sorted({name.partition("::")[0] for name in bounds}), _Ordered(bounds))


#: Of the exit statuses of pytest, those that say what a test, or the import of one, did.
_SAID = {0: "survived", 1: "test", 2: "test"}


def _verdict(ended: Ended) -> str:
    if ended.status is None or ended.why == "memory":
        return ended.why
    if ended.status not in _SAID:
        raise SystemExit(f"pytest ended with {ended.status}; see {CACHE / 'mutants.log'}")
    return _SAID[ended.status]


def difference(mutant: Mutant) -> str:
    """Return the difference that a mutant makes, as diff shows it."""
    before, after = mutant.path.read_text("utf-8"), mutant.source()
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    return "\n".join(list(lines)[2:])


class Record:
    """Verdicts of this run and of earlier ones, a line of JSON each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self.found = {entry["mutant"]: entry for entry in map(json.loads, lines)}

    def find(self, mutant: Mutant, n_tests: int) -> Verdict | None:
        """Return the verdict on a mutant, if what it rests on is as it was, and as many tests."""
        entry = self.found.get(mutant.name)
        if entry is None:
            return None
        verdict = Verdict(**entry["verdict"])
        enough = verdict.why != "survived" or verdict.n_tests >= n_tests
        return verdict if enough and self._digest(verdict) == entry["digest"] else None

    def noticed(self, mutant: Mutant) -> str:
        """Return the test that noticed a mutant before, if one did."""
        entry = self.found.get(mutant.name)
        return str(entry["verdict"]["test"]) if entry else ""

    def add(self, mutant: Mutant, verdict: Verdict) -> None:
        """Keep a verdict."""
        entry = {"mutant": mutant.name, "verdict": vars(verdict), "digest": self._digest(verdict)}
        self.found[mutant.name] = entry
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    @staticmethod
    def _digest(verdict: Verdict) -> str:
        if verdict.why == "survived":
            return digest_of([*sources(), *suite()])
        test = Path(verdict.test.partition("::")[0])
        return digest_of([*sources(), test] if test.is_file() else sources())


# -- the command -------------------------------------------------------------------------------


def _said(verdicts: Sequence[Verdict], seed: int, n_all: int) -> str:
    counts = Counter(verdict.why for verdict in verdicts)
    n_killed = len(verdicts) - counts["survived"]
    low, high = wilson(n_killed, len(verdicts))
    parts = ", ".join(f"{why} {n}" for why, n in sorted(counts.items()))
    return (
        f"{n_killed} of {len(verdicts)} mutants killed, {n_killed / len(verdicts):.1%} "
        f"(95 %: {low:.1%} to {high:.1%}); seed {seed}, {n_all} mutants in all; {parts}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw mutants, try them, and print what survives."""
    parser = argparse.ArgumentParser(prog="tools.torture mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="how many mutants are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-least", type=float, default=0.0, help="the share to be killed")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="of tests per mutant, the fastest first"
    )
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument("--refresh", action="store_true", help="measure anew what tests cover")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    cover = Cover.measured(options.refresh)
    cover.import_others()
    print(f"{len(cover.tests)} tests in {sum(cover.seconds):.0f} s", flush=True)
    (CACHE / "mutants.log").unlink(missing_ok=True)
    record = Record(CACHE / "mutants.jsonl")
    population = _population(options.only)
    drawn = _drawn(population, options.seed)[: options.sample]
    verdicts = []
    for i, mutant in enumerate(drawn):
        chosen = _chosen(mutant, cover, options.seconds)
        verdict = record.find(mutant, len(chosen))
        if verdict is None:
            verdict = tried(mutant, chosen, record.noticed(mutant))
            record.add(mutant, verdict)
        verdicts.append(verdict)
        line = f"{i + 1}/{len(drawn)} {verdict.why:8} {mutant.path}:{mutant.line}"
        print(f"{line} ({verdict.n_tests} tests, {verdict.seconds:.0f} s)", flush=True)
        if verdict.why != "test":
            print(difference(mutant), flush=True)
    said = _said(verdicts, options.seed, len(population))
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
