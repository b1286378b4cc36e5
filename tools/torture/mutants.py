"""Change the mathematics a little, and see whether a test notices.

``python -m tools.torture mutants --sample 300`` draws mutants of the equations, the families, the
repulsion, the solvers and the statistics. Each runs in a process of its own, against the tests of
the core suite that run its lines, the fast ones first, until one fails; no other test could. Where
no test does, as for defaults and constants, all of them run. A mutant that runs into the bound on
its time or memory counts as noticed, and is listed. What survives is printed with its place and its
difference.

Verdicts are kept, and hold until the package or the tests that they rest on change: a run that was
broken off goes on, and after a new test only the survivors are tried again.
"""

import argparse
import difflib
import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from tools.torture._mutations import Mutant, mutants_of
from tools.torture._runner import CACHE, Summary, described_machine
from tools.torture._suite import Cover, digest_of, run_tests, sources, suite
from tools.torture._tried import Collected, Verdict, function_of, tried, tried_in_place

__all__ = ["Record", "main", "wilson"]

#: Rooms of the core whose mutants are drawn.
ROOMS = ("equations", "covariance", "repulsion", "solvers", "statistics")


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


def _chosen(mutant: Mutant, cover: Cover, seconds: float, first: str) -> dict[str, float]:
    """Return the tests to try, and how long each takes else; ``first`` if it is one of them."""
    found = cover.of(mutant.path, range(mutant.line, mutant.last + 1))
    found.sort(key=lambda name: name != first)
    spent = accumulate(cover.seconds[name] for name in found)
    return {
        name: cover.seconds[name]
        for name, total in zip(found, spent, strict=True)
        if total <= seconds
    }


def _try(todo: dict[Mutant, dict[str, float]], tell: Callable[[Mutant, Verdict], None]) -> None:
    """Try mutants, those first that change what is run at import: later it has been."""
    inside = {mutant: seconds for mutant, seconds in todo.items() if function_of(mutant)}
    for mutant, seconds in todo.items():
        if mutant not in inside:
            tell(mutant, tried(mutant, seconds))

    def try_inside(collected: Collected) -> None:
        for mutant, seconds in inside.items():
            tell(mutant, tried_in_place(mutant, seconds, collected))

    if inside and run_tests([str(path) for path in suite()], Collected(try_inside), "-s") != 0:
        raise SystemExit("the tests of the suite cannot be collected")


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
    parser.add_argument("--seconds", type=float, default=math.inf, help="of tests per mutant")
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument("--refresh", action="store_true", help="measure anew what tests cover")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    cover = Cover.measured(options.refresh)
    cover.import_others()
    print(f"{len(cover.seconds)} tests in {sum(cover.seconds.values()):.0f} s", flush=True)
    (CACHE / "mutants.log").unlink(missing_ok=True)
    record = Record(CACHE / "mutants.jsonl")
    population = _population(options.only)
    verdicts: dict[Mutant, Verdict] = {}
    todo = {}
    for mutant in _drawn(population, options.seed)[: options.sample]:
        chosen = _chosen(mutant, cover, options.seconds, record.noticed(mutant))
        known = record.find(mutant, len(chosen))
        if known is None:
            todo[mutant] = chosen
        else:
            verdicts[mutant] = known

    def tell(mutant: Mutant, verdict: Verdict) -> None:
        record.add(mutant, verdict)
        verdicts[mutant] = verdict
        place = f"{verdict.why:8} {mutant.path}:{mutant.line}"
        took = f"{verdict.n_tests} tests, {verdict.seconds:.0f} s"
        print(f"{len(verdicts)} {place} ({took}) {verdict.test}", flush=True)

    _try(todo, tell)
    for mutant, verdict in verdicts.items():
        if verdict.why != "test":
            print(f"{verdict.why}: {mutant.path}\n{difference(mutant)}")
    said = _said(list(verdicts.values()), options.seed, len(population))
    print(said)
    if not options.only:
        what = f"the mathematics is changed at one place: {said.partition(';')[0]}"
        summary = Summary("mutants", what, options.seed, 0, trials=len(verdicts))
        summary.outcomes.update(verdict.why for verdict in verdicts.values())
        summary.seconds = round(time.monotonic() - begun, 1)
        summary.on = described_machine()
        summary.save(CACHE)
    n_killed = sum(verdict.why != "survived" for verdict in verdicts.values())
    return int(n_killed < options.at_least * len(verdicts))
