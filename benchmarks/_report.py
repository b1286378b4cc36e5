"""Tables as markdown, the picture of all bars, and the machine behind them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import matplotlib.pyplot as plt
from threadpoolctl import threadpool_info

from benchmarks._measure import Row, Table

_PACKAGES = ("numpy", "scipy", "scikit-learn", "pyriemann", "torch", "torchgmm", "mpmath")


def processor() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    """Return the memory of the machine, as text."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "memory unknown"


def linear_algebra() -> str:
    """Name the linear-algebra library of numpy, and its threads."""
    import numpy  # noqa: F401  # loads the library that is asked for

    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    found.sort(key=lambda pool: "numpy" not in pool["filepath"])  # scipy brings its own
    if not found:
        return "BLAS unknown"
    pool = found[0]
    return f"{pool['internal_api']} {pool['version']} ({pool['num_threads']} threads)"


def versions(*more: str) -> str:
    """List the packages that were measured, with versions."""
    found = [f"Python {platform.python_version()}"]
    for name in ("fpigauss", *_PACKAGES, *more):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            if name == "fpigauss":
                import fpigauss

                found.append(f"fpigauss {fpigauss.__version__}")
            else:
                found.append(f"{name} not installed")
    return ", ".join(found)


def machine() -> str:
    """Write what a machine has, and the threads that this process takes of it."""
    system = f"{platform.system()} {platform.machine()}"
    return f"{processor()}, {cores()} cores, {memory()}, {system}, {linear_algebra()}"


def description() -> list[str]:
    """Write the lines at the head of a report."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return [
        machine(),
        versions(),
        f"load before the run: {load} (other work on the machine, if above 0.5)",
    ]


def verdict(row: Row) -> str:
    """Say what the bar is and whether it was met."""
    if row.bar is None:
        return "-"
    sign = ">=" if row.bar.at_least else "<="
    word = "met" if row.bar.met(row.value) else "**missed**"
    return f"{sign} {_number(row.bar.limit)}{row.unit}: {word}"


def markdown(table: Table, folder: Path) -> str:
    """Write a section: title, note, rows and pictures (linked relative to ``folder``)."""
    head = ["case", "fpigauss", "compared with", "value", "bar"]
    lines = [f"## {table.title}", "", table.note.strip(), ""]
    lines += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in table.rows:
        value = f"{_number(row.value)}{row.unit}"
        lines.append(f"| {row.case} | {row.ours} | {row.other} | {value} | {verdict(row)} |")
    for picture in table.pictures:
        lines += ["", f"![{table.title}]({picture.relative_to(folder).as_posix()})"]
    return "\n".join(lines) + "\n"


def plain(table: Table) -> str:
    """Write the same for a terminal, without notes and pictures."""
    cells = [("", "fpigauss", "compared with", "value", "bar")]
    cells += [
        (row.case, row.ours, row.other, f"{_number(row.value)}{row.unit}", verdict(row))
        for row in table.rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([table.title, *lines]) + "\n"


def picture_of_bars(tables: list[Table], path: Path) -> None:
    """Draw how far above or below its bar each row is, on a logarithmic axis."""
    rows = [row for table in tables for row in table.rows if row.bar is not None]
    margins = [row.bar.margin(row.value) for row in rows if row.bar is not None]
    colors = ["tab:blue" if margin >= 1 else "tab:red" for margin in margins]
    figure, axis = plt.subplots(figsize=(10, 1.2 + 0.3 * len(rows)), layout="constrained")
    shown = [min(max(margin, 1e-3), 1e3) for margin in margins]  # 0 and infinity fit too
    axis.barh(range(len(rows)), [x - 1 for x in shown], left=1, color=colors)
    axis.set_yticks(range(len(rows)), [row.case for row in rows], fontsize=8)
    axis.set_xscale("log")
    axis.invert_yaxis()
    axis.axvline(1, color="black", linewidth=1)
    axis.set_xlabel("times better than the bar (left of the line: missed)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _number(x: float) -> str:
    return f"{x:.3g}" if abs(x) < 1e3 or abs(x) >= 1e6 else f"{x:,.0f}"
