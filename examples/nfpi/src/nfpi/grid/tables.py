"""Print records as Markdown: tables next to the paper's figures, verdicts, lists of runs."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from nfpi.grid.claims import Claim, Finding, Side, Verdict, decide
from nfpi.grid.model import Column, Grid, PlannedRun, Row, Table
from nfpi.grid.results import Records, chosen, measured, values_by_seed
from nfpi.intervals import Interval, t_interval
from nfpi.paper_figures import PAPER

__all__ = [
    "claims_table",
    "paper_table",
    "runs_table",
    "tuning_table",
]

_READING = (
    "Means over seeds, with 95 % intervals of Student's t; a single run has none. Times are "
    "medians. A cell whose runs did not all come to a value says how many did."
)
_BESIDE = (
    "The paper's figures are per cent, on other data and larger flows: compare which rows are "
    "better, not the values."
)
_RULES = (
    "The rules are part of the committed grid. "
    "Differences are paired by seed; in brackets their 95 % intervals and the number "
    "of seeds. A claim with several differences holds if all do, and does not hold if "
    "one fails. A difference decides nothing unless every run of the grid gave a value "
    "on both its sides; a hump is sought among the lam at which no run failed, once "
    "all are run. What was tuned was chosen for its NF-Acc, not its likelihood. Intervals are "
    "over seeds, for these test images."
)
_RULES_OF_THE_PAPER = (
    '"At least as well" is less than the paper says, which is "better": read the intervals '
    "for that. table2.md has accuracy and likelihood at equal lam."
)
_TUNED = (
    "Validation images are split off the training images; the seed of the tuning runs "
    "is in no other table."
)
_JUDGED = (
    "Tuning runs (tune-...) are judged by validation images, all others by test "
    "images. Seconds are those of the process that ended the run."
)


def paper_table(name: str, grid: Grid, records: Records) -> str:
    """Print a table of the grid next to the paper's figures."""
    table = grid.tables[name]
    printed = PAPER.get(name, {})
    paper_columns = list(dict.fromkeys(key for row in printed.values() for key in row))
    headings = [
        "",
        "runs",
        *(column.heading for column in table.columns),
        *(f"paper: {key}" for key in paper_columns),
    ]
    lines = [
        [
            row.label,
            _count(grid, records, row),
            *(_cell(grid, records, row, column) for column in table.columns),
            *_printed(printed.get(row.paper or "", {}), paper_columns),
        ]
        for row in table.rows
    ]
    shown = {row.paper for row in table.rows}
    lines += [
        [f"{label} (paper only)", "", *("" for _ in table.columns), *_printed(row, paper_columns)]
        for label, row in printed.items()
        if label not in shown
    ]
    parts = [
        *_headlines(table, grid, records),
        _markdown(headings, lines),
        f"{grid.note} {_READING}" + (f" {_BESIDE}" if printed else ""),
    ]
    if table.note:
        parts.append(table.note)
    if not table.rows:
        parts.append("Nothing is run for this table at this scale.")
    runs = grid.of_table(name)
    parts += [_failures(runs, records), _unconverged(runs, records), _made_by(name, grid)]
    return "\n\n".join(part for part in parts if part) + "\n"


def claims_table(grid: Grid, records: Records) -> str:
    """Print every claim with its verdict, rule and differences."""
    findings = [decide(claim, lambda side: measured(grid, records, side)) for claim in grid.claims]
    lines = [
        [finding.claim.text, _verdict(finding), _rule(finding.claim), _differences(finding)]
        for finding in findings
    ]
    of_paper = "table2" in grid.tables
    return (
        "\n\n".join(
            [
                "# Claims of the paper" if of_paper else "# Claims",
                _markdown(["claim", "at this scale", "rule", "differences"], lines),
                f"{grid.note} {_RULES}" + (f" {_RULES_OF_THE_PAPER}" if of_paper else ""),
                _made_by("all", grid),
            ]
        )
        + "\n"
    )


def tuning_table(grid: Grid, records: Records) -> str:
    """Print the tuning runs, what each tried, and which was chosen."""
    users = [run for run in grid.runs if run.tuned_by]
    winners: dict[str, set[str]] = {}
    for user in users:
        winner = chosen(user, grid, records)
        if winner is not None:
            winners.setdefault(winner.name, set()).add(user.setting)
    lines = [
        [
            run.name,
            ", ".join(_flat(run.choice)),
            _state(run, records),
            _number(records, run, "nf_acc", 4),
            ", ".join(sorted(winners.get(run.name, ()))),
        ]
        for run in grid.runs
        if run.is_tuning
    ]
    return (
        "\n\n".join(
            [
                "# Tuning runs",
                _markdown(["run", "tries", "state", "validation NF-Acc", "chosen for"], lines),
                _TUNED,
                _made_by("all", grid),
            ]
        )
        + "\n"
    )


def runs_table(grid: Grid, records: Records) -> str:
    """Print every run of the grid, finished or not."""
    lines = [
        [
            run.name,
            ", ".join(run.tables),
            _state(run, records),
            _number(records, run, "nf_acc", 4),
            _number(records, run, "nll", 1),
            f"{records[run.name]['seconds']:.0f}" if run.name in records else "",
        ]
        for run in grid.runs
    ]
    done = sum(run.name in records for run in grid.runs)
    return (
        "\n\n".join(
            [
                "# All runs",
                f"{grid.note} {done} of {len(grid.runs)} runs have a record.",
                _JUDGED,
                _markdown(["run", "tables", "state", "NF-Acc", "NLL", "seconds"], lines),
                _machines(records.values()),
            ]
        )
        + "\n"
    )


def _headlines(table: Table, grid: Grid, records: Records) -> list[str]:
    """Return a table's first line: its title, with the verdicts of the claims that head it."""
    claims = {claim.name: claim for claim in grid.claims}
    found = [
        decide(claims[name], lambda side: measured(grid, records, side)) for name in table.headlines
    ]
    said = [f"{one.claim.text.rstrip('.')}: {one.verdict}." for one in found]
    return [" ".join([f"# {table.title}" + ("." if said else ""), *said[:1]]), *said[1:]]


def _count(grid: Grid, records: Records, row: Row) -> str:
    runs = grid.runs_of(row.setting)
    done = [records[run.name] for run in runs if run.name in records]
    failed = sum(record.get("failure") is not None for record in done)
    text = f"{len(done)} of {len(runs)}" if len(done) < len(runs) else f"{len(runs)}"
    return text + (f", {failed} failed" if failed else "")


def _cell(grid: Grid, records: Records, row: Row, column: Column) -> str:
    values = values_by_seed(grid, records, Side(row.setting, row.metric_of(column)))
    done = [run.name for run in grid.runs_of(row.setting) if run.name in records]
    if values:
        found = list(values.values())
        text = (
            f"{median(found):.{column.digits}f}"
            if column.median
            else _with_interval(t_interval(found), column.digits)
        )
        return text if len(found) == len(done) else f"{text} ({len(found)} of {len(done)})"
    if done and all(records[name].get("failure") for name in done):
        return "failed"
    return "not measured" if done else "not run"


def _with_interval(interval: Interval, digits: int) -> str:
    if interval.n == 1:
        return f"{interval.mean:.{digits}f}"
    return f"{interval.mean:.{digits}f} ± {interval.half_width:.{digits}f}"


def _printed(row: Mapping[str, float], columns: Sequence[str]) -> list[str]:
    return [f"{row[column]:g}" if column in row else "" for column in columns]


def _verdict(finding: Finding) -> str:
    text = f"**{finding.verdict}**"
    if finding.verdict is Verdict.NOT_DECIDED and finding.n_without:
        text += f" ({finding.n_without} of {finding.n_values} values failed or missing)"
    if finding.left_out:
        text += f"<br>without {', '.join(finding.left_out)}, of which runs failed"
    return text


def _rule(claim: Claim) -> str:
    beyond = "below" if claim.lower_is_better else "above"
    sign = "-" if claim.margin and not claim.lower_is_better else ""
    return {
        "greater": f"interval {beyond} 0",
        "at_least": f"interval {beyond} {sign}{claim.margin:g}",
        "hump": f"best inner level {beyond} both ends by more than {claim.margin:g}",
        "grows": f"interval {beyond} 0",
        "level": f"interval {beyond} {sign}{claim.margin:g}",
    }[claim.rule]


def _differences(finding: Finding) -> str:
    return "<br>".join(
        f"{left.setting} - {right.setting}, "
        + (left.metric if left.metric == right.metric else f"{left.metric} - {right.metric}")
        + ": "
        + _difference(interval)
        for left, right, interval in finding.differences
    )


def _difference(interval: Interval | None) -> str:
    if interval is None:
        return "no seed in common"
    if interval.n == 1:
        return f"{interval.mean:+.4g} (one seed, no interval)"
    return f"{interval.mean:+.4g} [{interval.low:+.4g}, {interval.high:+.4g}] ({interval.n})"


def _state(run: PlannedRun, records: Records) -> str:
    if run.name not in records:
        return "not run"
    record = records[run.name]
    state = "failed" if record.get("failure") else "done"
    return f"{state}, the same as {record['same_as']}" if "same_as" in record else state


def _failures(runs: Iterable[PlannedRun], records: Records) -> str:
    """List why runs of a table failed, by setting."""
    found: dict[str, str] = {}
    for run in runs:
        failure = records.get(run.name, {}).get("failure")
        if failure:
            found.setdefault(run.setting, str(failure))
    return "\n".join(f"- {setting} failed: {why}" for setting, why in found.items())


def _unconverged(runs: Iterable[PlannedRun], records: Records) -> str:
    """List the runs of a table whose last fit did not converge."""
    found: dict[str, list[str]] = {}
    for run in runs:
        status = records.get(run.name, {}).get("metrics", {}).get("fit_status", "converged")
        if status != "converged":
            found.setdefault(f"{run.setting}: {status}", []).append(str(run.seed))
    return "\n".join(
        f"- the last fit of {ending}, at seed {', '.join(seeds)}" for ending, seeds in found.items()
    )


def _number(records: Records, run: PlannedRun, metric: str, digits: int) -> str:
    value = records.get(run.name, {}).get("metrics", {}).get(metric)
    return "" if value is None else f"{value:.{digits}f}"


def _flat(choice: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key, value in choice.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}={value:g}" if isinstance(value, float)
                         else f"{prefix}{key}={value}")  # fmt: skip
    return lines


def _machines(records: Iterable[Mapping[str, Any]]) -> str:
    """List the environments in the records, without repeats."""
    lines = dict.fromkeys(
        ", ".join(f"{key} {value}" for key, value in record.get("environment", {}).items())
        for record in records
    )
    return "\n".join(f"- {line}" for line in lines if line)


def _made_by(name: str, grid: Grid) -> str:
    command = grid.command or f"reproduce.py {name} --scale {grid.scale}"
    return f"Made by `python examples/nfpi/{command}`."


def _markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    def row(cells: Sequence[str]) -> str:
        return (
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )

    return "\n".join([row(headings), row(["---"] * len(headings)), *map(row, lines)])
