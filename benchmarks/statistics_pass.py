"""The statistics of labeled latents: time of one pass, memory, and digits far from the origin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks._measure import MIB, Bar, Row, Table, duration, extra_memory, paired
from fpigauss import ClassStatistics
from fpigauss_torch import ClassFlow, LatentGaussians, gather_statistics

NOTE = """
The time is compared with that of summing the array once, z.sum(), in one thread; latents are
float32 in random order of classes. Rows of a class are gathered, converted to float64, centered,
summed, and multiplied by themselves: five passes in cache, shared by two threads. Memory may be
64 MiB plus six (K, d) arrays of float64. Errors are relative to two passes in float64 over the same
float32 numbers, which lie at 1e4 of their standard deviations from the origin.

`gather_statistics` passes batches through a flow that returns them as they are, so that the time is
that of the batches (a quarter of a millisecond each), of joining them and of the statistics; it is
compared with `from_samples` of all of them.

Sums by products, w @ x, were slower: two threads that call BLAS wait for each other. At K=1000 a
class has 50 rows here, and a dozen calls per class, and passes over (K, d) arrays of 24 MB, cost a
third of the time. Tried: no threads; summing about the mean of each piece and merging; moments of
all classes at once.
"""

#: How many times slower than z.sum() diagonal statistics may be, by the number of classes.
SLOWER = {10: 4.0, 100: 4.5, 1000: 7.0}


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rng = np.random.default_rng(0)
    n_samples, dim = 50_000, 3072
    z = rng.standard_normal((n_samples, dim), dtype=np.float32)
    rows = []
    for n_classes in (10, 100, 1000):
        y = rng.integers(n_classes, size=n_samples)
        rows += diagonal(z, y, n_classes)
    rows += accuracy(rng)
    few = rng.integers(10, size=6000)
    rows += [gathering(z[:6000], few, 64, None), gathering(z[:6000], few, 256, Bar(2.5))]
    if full:
        rows += others(z, rng.integers(100, size=n_samples))
    return Table("The statistics pass", __doc__ + NOTE, rows)


def diagonal(z: np.ndarray, y: np.ndarray, n_classes: int) -> list[Row]:
    """Measure time and memory of diagonal statistics."""
    times = paired(
        {"ours": lambda: ClassStatistics.from_samples(z, y), "sum": z.sum},
        rounds=9,
        seconds=20.0,
    )
    allowed = 64.0 + 6 * 8 * n_classes * z.shape[1] / MIB
    peak = extra_memory(lambda: ClassStatistics.from_samples(z, y)) / MIB
    size = f"N={len(z):,}, d={z.shape[1]}, K={n_classes}"
    return [
        Row(
            f"diagonal, {size}: slower than z.sum()",
            duration(times.median("ours")),
            f"z.sum(): {duration(times.median('sum'))}",
            times.ratio("ours", "sum"),
            bar=Bar(SLOWER[n_classes]),
        ),
        Row(
            f"diagonal, {size}: peak extra memory",
            f"{peak:.0f} MiB",
            f"data: {z.nbytes / MIB:.0f} MiB",
            peak,
            " MiB",
            Bar(allowed),
        ),
    ]


def accuracy(rng: np.random.Generator) -> list[Row]:
    """Return the largest relative errors, ours and those of sums of squares."""
    n_classes, dim = 10, 64
    y = rng.integers(n_classes, size=50_000)
    z = (rng.standard_normal((len(y), dim)) + 1e4).astype(np.float32)
    ours = ClassStatistics.from_samples(z, y)
    halves = ClassStatistics.from_samples(z[::2], y[::2]).update(z[1::2], y[1::2])
    wide = [z[y == k].astype(np.float64) for k in range(n_classes)]
    exact = np.stack([x.var(axis=0) for x in wide])
    single = [z[y == k] for k in range(n_classes)]

    def error(variances: np.ndarray) -> float:
        return float(np.abs(variances / exact - 1.0).max())

    rivals = {
        "sums of squares in float64": [(x**2).mean(axis=0) - x.mean(axis=0) ** 2 for x in wide],
        "numpy's var in float32": [x.var(axis=0) for x in single],
    }
    others = "; ".join(f"{name}: {error(np.stack(v)):.1g}" for name, v in rivals.items())
    return [
        Row(f"offset 1e4: error of variances, {how}", "float32 input", others, value, "")
        for how, value in [
            ("one array", error(ours.covariances)),
            ("update with a second half", error(halves.covariances)),
        ]
    ]


def gathering(z: np.ndarray, y: np.ndarray, size: int, bar: Bar | None) -> Row:
    """Compare a pass of batches through a flow that changes nothing with the statistics alone."""
    n_classes, dim = int(y.max()) + 1, z.shape[1]
    gaussians = LatentGaussians(n_classes, dim, covariance="diagonal", tied=False)
    unchanged = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
    model = ClassFlow(None, gaussians, codec=unchanged)
    x, labels = torch.from_numpy(z), torch.from_numpy(y)
    batches = list(zip(x.split(size), labels.split(size), strict=True))
    times = paired(
        {
            "gather": lambda: gather_statistics(model, batches),
            "samples": lambda: ClassStatistics.from_samples(z, y),
        },
        rounds=15,
    )
    return Row(
        f"gather_statistics, N={len(z):,} in batches of {size}, d={dim}, K={n_classes}: "
        "slower than from_samples",
        duration(times.median("gather")),
        f"from_samples: {duration(times.median('samples'))}",
        times.ratio("gather", "samples"),
        bar=bar,
    )


def others(z: np.ndarray, y: np.ndarray) -> list[Row]:
    """Measure weights, batches and dense covariances; they have no bar."""
    weights = np.random.default_rng(1).uniform(0.5, 1.5, size=len(y))
    starts = range(0, len(y), 4096)
    narrow = np.ascontiguousarray(z[:, :256])
    functions = {
        "sum": z.sum,
        "weighted": lambda: ClassStatistics.from_samples(z, y, sample_weight=weights),
        "batches of 4,096": lambda: ClassStatistics.from_batches(
            (z[i : i + 4096], y[i : i + 4096]) for i in starts
        ),
        "product": lambda: narrow.T @ narrow,
        "dense": lambda: ClassStatistics.from_samples(narrow, y, covariance="dense"),
    }
    times = paired(functions, rounds=5, seconds=60.0)
    size = f"N={len(z):,}, K=100"
    rows = [
        Row(
            f"diagonal, {name}, {size}, d={z.shape[1]}: slower than z.sum()",
            duration(times.median(name)),
            f"z.sum(): {duration(times.median('sum'))}",
            times.ratio(name, "sum"),
        )
        for name in ("weighted", "batches of 4,096")
    ]
    rows.append(
        Row(
            f"dense, {size}, d=256: slower than z.T @ z in float32",
            duration(times.median("dense")),
            f"z.T @ z: {duration(times.median('product'))}",
            times.ratio("dense", "product"),
        )
    )
    return rows
