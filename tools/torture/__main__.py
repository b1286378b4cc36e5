"""Run machines, and gather their summaries.

``python -m tools.torture NAME --n 1000 --seed 1`` runs a machine, or ``all``; ``--first I --n 1``
makes one trial again, and ``--shrink`` has hypothesis look for a smaller example. ``mutants`` has
options of its own.
``python -m tools.torture`` puts the summaries of the last full runs into TORTURE.md, and leaves the
rows of other machines as they are.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.torture import _examples
from tools.torture._report import gather
from tools.torture._runner import CACHE, Machine, Summary, run

#: In the order in which they run: those that import jax or start threads last.
NAMES = (
    "files",
    "saves",
    "solver",
    "exact",
    "states",
    "densities",
    "flows",
    "estimators",
    "commands",
    "numerics",
    "concurrency",
)


def machine_of(name: str) -> Machine:
    """Return a machine by its name."""
    machine = importlib.import_module(f"tools.torture.{name}").MACHINE
    assert isinstance(machine, Machine)
    return machine


def _run(name: str, options: argparse.Namespace) -> Summary:
    machine = machine_of(name)
    trials = options.n or (machine.quick if options.quick else machine.full)
    given = {"seed": options.seed, "first": options.first, "seconds": options.seconds}
    summary = run(name, machine, trials=trials, **given)
    counts = ", ".join(f"{what} {n}" for what, n in sorted(summary.outcomes.items())[:12])
    print(
        f"{name}: {summary.trials} trials, seed {options.seed}, {summary.seconds:.0f} s, "
        f"{len(summary.faults)} kinds of fault; {counts}",
        flush=True,
    )
    if not (options.quick or options.first or options.n):
        summary.save(CACHE)
    return summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Run machines and print faults; or gather summaries."""
    # one thread of linear algebra: a child that has more would count their time too
    os.environ |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["mutants"]:
        from tools.torture import mutants

        return mutants.main(given[1:])
    parser = argparse.ArgumentParser(prog="tools.torture", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[*NAMES, "all"])
    parser.add_argument("--n", type=int, help="trials; by default those of a full run")
    parser.add_argument("--seconds", type=float, default=7200.0, help="at most, per machine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first trial")
    parser.add_argument("--quick", action="store_true", help="a small run, which leaves no summary")
    parser.add_argument("--shrink", action="store_true", help="look for smaller examples")
    options = parser.parse_args(given)
    if options.name is None:
        full = {name: machine_of(name).full for name in NAMES}
        gather(CACHE, Path("TORTURE.md"), full)
        return 0
    _examples.SHRINK = options.shrink
    sys.path.insert(0, "tests")  # the oracle, and flows of every library
    names = NAMES if options.name == "all" else (options.name,)
    return int(any(summary.faults for summary in [_run(name, options) for name in names]))


if __name__ == "__main__":
    raise SystemExit(main())
