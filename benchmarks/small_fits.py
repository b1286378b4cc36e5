"""Thousands of small fits, as of folds, groups or bootstrap samples: fits a second."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import Row, Table, duration, one_evaluation, paired
from fpigauss import ClassStatistics, fit_fixed_point

NOTE = """
Here the calls cost more than the arithmetic. Fits are of 50 rows per class at lam = 1, with the
defaults; two threads share them, and mostly wait for the interpreter's lock. One evaluation is a
pass over all pairs of classes; a fit makes several, and gathers statistics first.
"""

#: Fits that are timed together, so that starting threads does not matter.
_FITS = 16


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rows = [many(3, 2), many(10, 16), evaluation(5, 4), whole(500, 4)]
    return Table("Small fits", __doc__ + NOTE, rows)


def data(n_rows: int, n_classes: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw overlapping classes."""
    rng = np.random.default_rng(0)
    y = np.arange(n_rows) % n_classes
    return rng.standard_normal((n_classes, dim))[y] + rng.standard_normal((n_rows, dim)), y


def fit_of(z: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    return lambda: fit_fixed_point(z, y, 1.0)


def many(n_classes: int, dim: int) -> Row:
    """Compare fits a second by two threads with those by one."""
    fit = fit_of(*data(50 * n_classes, n_classes, dim))
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(2) as two:

        def fits(threads: ThreadPoolExecutor) -> None:
            for future in [threads.submit(fit) for _ in range(_FITS)]:
                future.result()

        times = paired({"one": lambda: fits(one), "two": lambda: fits(two)})
    return Row(
        f"K={n_classes}, d={dim}: fits a second, of two threads to one",
        f"two threads: {_FITS / times.median('two'):.0f} a second",
        f"one thread: {_FITS / times.median('one'):.0f} a second",
        times.ratio("one", "two"),
    )


def evaluation(n_classes: int, dim: int) -> Row:
    """Time one evaluation."""
    z, y = data(50 * n_classes, n_classes, dim)
    evaluate = one_evaluation(ClassStatistics.from_samples(z, y), 1.0)
    seconds = paired({"evaluation": evaluate}).median("evaluation")
    return Row(
        f"one evaluation, K={n_classes}, d={dim}", duration(seconds), "", seconds / 1e-6, " us"
    )


def whole(n_rows: int, dim: int) -> Row:
    """Time a fit from samples, and its statistics alone."""
    z, y = data(n_rows, 5, dim)
    times = paired({"fit": fit_of(z, y), "statistics": lambda: ClassStatistics.from_samples(z, y)})
    return Row(
        f"a whole fit, {n_rows} x {dim}, K=5",
        duration(times.median("fit")),
        f"its statistics: {duration(times.median('statistics'))}",
        1e3 * times.median("fit"),
        " ms",
    )
