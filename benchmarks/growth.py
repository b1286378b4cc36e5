"""How time grows with K, d and N: exponents fitted in a log-log plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from benchmarks._measure import Row, Table, duration, one_evaluation, paired
from fpigauss import ClassGaussians, ClassStatistics

NOTE = """
The value is the exponent of a least-squares line through the larger half of the sizes, next to the
exponent of the operation count. A smaller value means that a part of the time does not grow.
"""

Maker = Callable[[int], Callable[[], Any]]


def sweep(n_classes: int, dim: int, covariance: str = "diagonal") -> Callable[[], Any]:
    """Prepare an evaluation of the stationary equations."""
    rng = np.random.default_rng(0)
    variances = rng.uniform(0.5, 2.0, size=(n_classes, dim))
    statistics = ClassStatistics(
        counts=np.full(n_classes, 50.0),
        means=rng.standard_normal((n_classes, dim)),
        covariances=variances[:, :, None] * np.eye(dim) if covariance == "dense" else variances,
        classes=np.arange(n_classes),
    )
    return one_evaluation(statistics, 1.0, covariance=covariance)


def statistics_pass(n_samples: int) -> Callable[[], Any]:
    """Prepare diagonal statistics of K=10, d=256."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n_samples, 256), dtype=np.float32)
    y = rng.integers(10, size=n_samples)
    return lambda: ClassStatistics.from_samples(z, y)


def densities(n_samples: int) -> Callable[[], Any]:
    """Prepare class_log_prob of K=100, d=256."""
    rng = np.random.default_rng(0)
    gaussians = ClassGaussians(
        rng.standard_normal((100, 256)), rng.uniform(0.5, 2.0, size=(100, 256))
    )
    z = rng.standard_normal((n_samples, 256))
    return lambda: gaussians.class_log_prob(z)


def doubled(first: int) -> list[int]:
    """Fit an exponent to six sizes; the last is for the full run only."""
    return [first * 2**i for i in range(6)]


#: Name, what grows, its sizes, operations, what is timed.
CURVES: list[tuple[str, str, list[int], str, Maker]] = [
    ("diagonal sweep, d=256", "K", doubled(125), "K^2", lambda k: sweep(k, 256)),
    ("diagonal sweep, K=100", "d", doubled(512), "d", lambda d: sweep(100, d)),
    ("dense sweep, d=32", "K", doubled(50), "K^2", lambda k: sweep(k, 32, "dense")),
    ("dense sweep, K=10", "d", doubled(16), "d^3", lambda d: sweep(10, d, "dense")),
    ("statistics, K=10, d=256", "N", doubled(12_500), "N", statistics_pass),
    ("class_log_prob, K=100, d=256", "N", doubled(3_125), "N", densities),
]


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rows, curves = [], []
    for name, axis, sizes, operations, make in CURVES:
        shown = sizes if full else sizes[:-1]
        functions = {str(size): make(size) for size in shown}
        times = paired(functions, rounds=7 if full else 3, seconds=60.0 if full else 10.0)
        seconds = [times.median(str(size)) for size in shown]
        half = len(shown) // 2
        slope = np.polyfit(np.log(shown[half:]), np.log(seconds[half:]), 1)[0]
        span = f"{axis}={shown[0]:,}: {duration(seconds[0])}"
        span += f"; {shown[-1]:,}: {duration(seconds[-1])}"
        rows.append(Row(f"{name}: exponent of {axis}", span, operations, float(slope), ""))
        curves.append((name, axis, shown, seconds, float(slope)))
    path = out / "growth.png"
    picture(curves, path)
    return Table("Growth", __doc__ + NOTE, rows, [path])


def picture(curves: list[tuple[str, str, Sequence[int], list[float], float]], path: Path) -> None:
    """Draw a panel for each of K, d and N."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), sharey=True, layout="constrained")
    for panel, letter in zip(axes, "KdN", strict=True):
        for name, axis, sizes, seconds, slope in curves:
            if axis == letter:
                panel.loglog(sizes, seconds, marker="o", label=f"{name}: {letter}^{slope:.2f}")
        panel.set_xlabel(letter)
        panel.legend(fontsize=8)
    axes[0].set_ylabel("seconds")
    figure.savefig(path, dpi=120)
    plt.close(figure)
