"""The table of the last runs, in TORTURE.md."""

from pathlib import Path

from tools.torture._runner import Summary

__all__ = ["gather"]

_BEGIN, _END = "<!-- runs -->", "<!-- end of runs -->"


def _row(summary: Summary) -> str:
    n_faults = len(summary.faults)
    minutes = f"{summary.seconds / 60:.1f}"
    first = f"| `{summary.machine}` | {summary.what} | {summary.trials}"
    return f"{first} | {n_faults} | {summary.seed} | {minutes} |"


def gather(folder: Path, report: Path) -> None:
    """Put the summaries of a folder into a report, between its marks."""
    found = [Summary.load(path) for path in sorted(folder.glob("*.json"))]
    head = (
        "| machine | one trial | trials | open faults | seed | minutes |\n|---|---|---|---|---|---|"
    )
    rows = "\n".join(map(_row, found))
    machines = "; ".join(sorted({summary.on for summary in found}))
    before, _, rest = report.read_text("utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    text = f"{before}{_BEGIN}\n{head}\n{rows}\n\nOn {machines}.\n{_END}{after}"
    report.write_text(text, "utf-8")
