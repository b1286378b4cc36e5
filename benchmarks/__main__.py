"""Run the comparisons, print their tables and write them with their pictures.

RESULTS.md goes into the folder above that of the pictures, with the sections that other scripts
have written into the folder. Each comparison runs in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from benchmarks import _report
from benchmarks._measure import Table, in_new_process

#: In the order of the report; each is a module with a function ``run(full, out) -> Table``.
COMPARISONS = (
    "sweep",
    "means_only",
    "many_classes",
    "statistics_pass",
    "readers",
    "distributed",
    "geometric_mean",
    "class_log_prob",
    "solvers",
    "small_fits",
    "no_repulsion",
    "growth",
    "layer",
    "flows",
)

#: Sections of RESULTS.md that are made apart, by modules of these names.
SECTIONS = ("estimators.md", "flow_classifier.md", "over_sampling.md", "devices.md")


def report(head: list[str], tables: list[Table], folder: Path, picture: Path) -> str:
    """Write the text of RESULTS.md."""
    bars = [row for table in tables for row in table.rows if row.bar is not None]
    met = sum(row.bar.met(row.value) for row in bars if row.bar is not None)
    lines = ["# Results of the benchmarks", "", *(f"- {line}" for line in head), ""]
    lines += [
        (
            "Times that are compared were taken in turns in one run; a ratio is the median of the "
            "ratios of the rounds. A value in x is a ratio of times unless the case says otherwise."
        ),
        f"Bars met: {met} of {len(bars)}.",
        "",
        f"![Bars]({picture.relative_to(folder).as_posix()})",
        "",
    ]
    sections = [_report.markdown(table, folder) for table in tables]
    written = [picture.parent / name for name in SECTIONS]
    sections += [path.read_text() for path in written if path.is_file()]
    return "\n".join(lines) + "\n" + "\n".join(sections)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes, for about half an hour")
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, metavar="NAME")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of pictures (default: benchmarks/results; with --only none)",
    )
    arguments = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "Agg")
    started = time.perf_counter()
    command = " ".join(["python -m benchmarks", *map(shlex.quote, sys.argv[1:])])
    head = [f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `{command}`", *_report.description()]
    print("\n".join(head) + "\n", flush=True)

    out = arguments.out or Path(__file__).parent / "results"
    out.mkdir(parents=True, exist_ok=True)
    tables = []
    for name in arguments.only or COMPARISONS:
        begun = time.perf_counter()
        comparison = import_module(f"benchmarks.{name}")
        tables.append(in_new_process(comparison.run, arguments.full, out))
        print(_report.plain(tables[-1]))
        print(f"({name}: {time.perf_counter() - begun:.0f} s)\n", flush=True)
    head.append(f"{(time.perf_counter() - started) / 60:.1f} minutes in all")
    if arguments.only and not arguments.out:
        return  # a part of the tables would replace the whole
    picture = out / "bars.png"
    _report.picture_of_bars(tables, picture)
    path = out.parent / "RESULTS.md"
    path.write_text(report(head, tables, out.parent, picture))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
