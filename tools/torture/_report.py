"""The tables of the last runs, in TORTURE.md."""

from collections.abc import Mapping
from pathlib import Path

from tools.torture._runner import Summary
from tools.torture.solver import lower_minima

__all__ = ["gather"]


def _row(summary: Summary, full: int | None) -> str:
    cut = "" if full is None or summary.trials >= full else f" of {full}"
    minutes = f"{summary.seconds / 60:.1f}"
    first = f"| `{summary.machine}` | {summary.what} | {summary.trials}{cut}"
    return f"{first} | {len(summary.faults)} | {summary.seed} | {minutes} |"


def _runs(found: list[Summary], full: Mapping[str, int], before: str) -> str:
    """Return the table, with the rows of machines that have not run since."""
    lines = before.splitlines()
    kept = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    new = {summary.machine: _row(summary, full.get(summary.machine)) for summary in found}
    rows, machines = kept | new, {summary.on for summary in found}
    if kept.keys() - new.keys():  # a row does not say which of them it is of
        last = [line for line in lines if line.startswith("On ")]
        machines |= {name for line in last for name in line[3:-1].split("; ")}
    head = "| machine | one trial | trials | kinds of fault | seed | minutes |"
    ordered = [rows[name] for name in sorted(rows)]
    on = f"\nOn {'; '.join(sorted(machines))}."
    return "\n".join([head, "|---|---|---|---|---|---|", *ordered, on])


def gather(folder: Path, report: Path, full: Mapping[str, int]) -> None:
    """Put the summaries of a folder into a report, between its marks.

    ``full`` says how many trials a whole run has, by machine.
    """
    found = [Summary.load(path) for path in sorted(folder.glob("*.json"))]
    text = report.read_text("utf-8")
    parts = {"runs": _runs(found, full, _between(text, "runs")[1])}
    for summary in found:
        if summary.machine == "solver":
            parts["minima"] = lower_minima(summary.outcomes)
    for name, part in parts.items():
        before, _, after = _between(text, name)
        text = f"{before}\n{part}\n{after}"
    report.write_text(text, "utf-8")


def _between(text: str, name: str) -> tuple[str, str, str]:
    """Split a report into what ends with a mark, what is between, and what begins with its end."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    inner, _, after = rest.partition(end)
    return before + begin, inner, end + after
