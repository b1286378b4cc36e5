"""As many classes as ImageNet-21k: the memory of a whole process."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks._measure import GIB, Bar, Row, Table, duration, in_new_process, peak_resident
from fpigauss import ClassStatistics, solve_fixed_point

NOTE = """
A process of its own makes the statistics and calls solve_fixed_point with max_iter=1 (two sweeps
and the preparation), default memory_limit. The value is the most memory that it ever held: Python,
libraries and inputs included. A (K, K) matrix alone takes 3.55 GiB at K=21,841.

K=21,841 is part of the full run: 3.67 GiB at most (bar 4 GiB) and 199 s on one machine, by
`python -m benchmarks --full --only many_classes`.
"""


def one_fit(n_classes: int, dim: int) -> tuple[float, int, int]:
    """Return seconds, and the peak of resident memory before and after."""
    rng = np.random.default_rng(0)
    statistics = ClassStatistics(
        counts=np.full(n_classes, 50.0),
        means=rng.standard_normal((n_classes, dim)),
        covariances=rng.uniform(0.5, 2.0, size=(n_classes, dim)),
        classes=np.arange(n_classes),
    )
    before = peak_resident()
    started = time.perf_counter()
    solve_fixed_point(statistics, 1.0, max_iter=1, tol=0.0)
    return time.perf_counter() - started, before, peak_resident()


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rows = []
    for n_classes in (5_000, 21_841) if full else (5_000,):
        seconds, before, peak = in_new_process(one_fit, n_classes, 768)
        rows.append(
            Row(
                f"K={n_classes:,}, d=768: peak of the process",
                f"{peak / GIB:.2f} GiB, {duration(seconds)}",
                f"before the fit: {before / GIB:.2f} GiB",
                peak / GIB,
                " GiB",
                Bar(4.0),
            )
        )
    return Table("Many classes", __doc__ + NOTE, rows)
