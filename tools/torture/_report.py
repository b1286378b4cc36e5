"""The tables of the last runs, in TORTURE.md."""

from pathlib import Path

from tools.torture._runner import Summary
from tools.torture.solver import lower_minima

__all__ = ["gather"]


def _row(summary: Summary) -> str:
    n_faults = len(summary.faults)
    minutes = f"{summary.seconds / 60:.1f}"
    first = f"| `{summary.machine}` | {summary.what} | {summary.trials}"
    return f"{first} | {n_faults} | {summary.seed} | {minutes} |"


def _runs(found: list[Summary]) -> str:
    head = "| machine | one trial | trials | kinds of fault | seed | minutes |"
    machines = "; ".join(sorted({summary.on for summary in found}))
    return "\n".join([head, "|---|---|---|---|---|---|", *map(_row, found), f"\nOn {machines}."])


def gather(folder: Path, report: Path) -> None:
    """Put the summaries of a folder into a report, between its marks."""
    found = [Summary.load(path) for path in sorted(folder.glob("*.json"))]
    parts = {"runs": _runs(found)}
    for summary in found:
        if summary.machine == "solver":
            parts["minima"] = lower_minima(summary.outcomes)
    text = report.read_text("utf-8")
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{part}\n{end}{rest.partition(end)[2]}"
    report.write_text(text, "utf-8")
