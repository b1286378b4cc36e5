"""The accelerated solver against the guarded one, over a fixed list of problems."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks._measure import Bar, Row, Table, duration, paired
from fpigauss import ClassStatistics, ConvergenceWarning, FixedPointResult, solve_fixed_point

N_CLASSES, DIM, N_PER_CLASS = 6, 5, 100
SPREAD = 0.3  # standard deviation of a coordinate of the means: they are about a sigma apart
CAP = 20_000  # evaluations of guarded

#: covariance, tied, lam.
FAMILIES = [
    ("diagonal", False, 7.0),
    ("dense", False, 7.0),
    ("isotropic", False, 35.0),
    ("diagonal", True, 100.0),
    ("dense", True, 100.0),
    ("isotropic", True, 1000.0),
]
SEEDS = (0, 1)

NOTE = f"""
Six families and two seeds: K={N_CLASSES}, d={DIM}, {N_PER_CLASS} samples per class, means about one
sigma apart, class covariances that differ; pi="forward", tol 1e-6, guarded capped at {CAP:,}
evaluations. Each solver has its evaluations, status, time and objective. The value of a problem's
row is its ratio of times, accelerated to guarded. lam* is 8.15 (isotropic: 40.8).
"""


def statistics_of(seed: int) -> ClassStatistics:
    """Draw overlapping classes."""
    rng = np.random.default_rng(seed)
    means = SPREAD * rng.standard_normal((N_CLASSES, DIM))
    mixing = np.eye(DIM) + 0.3 * rng.standard_normal((N_CLASSES, DIM, DIM))
    noise = rng.standard_normal((N_CLASSES, N_PER_CLASS, DIM))
    z = means[:, None] + noise @ np.swapaxes(mixing, -1, -2)
    y = np.repeat(np.arange(N_CLASSES), N_PER_CLASS)
    return ClassStatistics.from_samples(z.reshape(-1, DIM), y, covariance="dense")


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rows, ratios, histories = [], [], {}
    for covariance, tied, lam in FAMILIES:
        for seed in SEEDS:
            name = f"{'tied ' if tied else ''}{covariance}, lam={lam:g}, seed {seed}"
            statistics = statistics_of(seed)
            results: dict[str, FixedPointResult] = {}

            def solve(
                solver: str,
                cap: int,
                *,
                statistics: ClassStatistics = statistics,
                lam: float = lam,
                covariance: str = covariance,
                tied: bool = tied,
                results: dict[str, FixedPointResult] = results,
            ) -> None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # the table shows it
                    results[solver] = solve_fixed_point(
                        statistics,
                        lam,
                        covariance=covariance,
                        tied=tied,
                        solver=solver,
                        max_iter=cap,
                    )

            times = paired(
                {
                    "accelerated": lambda solve=solve: solve("accelerated", 1000),
                    "guarded": lambda solve=solve: solve("guarded", CAP),
                },
                rounds=5,
                seconds=20.0 if full else 3.0,
            )
            ratio = times.ratio("accelerated", "guarded")
            words = {
                s: f"{r.n_iter} ({r.status}), {duration(times.median(s))}, {r.objective:.10g}"
                for s, r in results.items()
            }
            rows.append(Row(name, words["accelerated"], words["guarded"], ratio))
            ours, guarded = results["accelerated"], results["guarded"]
            excess = (ours.objective - guarded.objective) / abs(guarded.objective)
            ratios.append((ours.n_iter / guarded.n_iter, ratio, excess, ours.converged))
            histories[name] = {s: np.asarray(r.history["residual"]) for s, r in results.items()}
    path = out / "solvers.png"
    picture(histories, path)
    return Table("accelerated against guarded", __doc__ + NOTE, [*rows, *summary(ratios)], [path])


def summary(ratios: list[tuple[float, float, float, bool]]) -> list[Row]:
    """Return the rows with bars."""
    evaluations, seconds, excess, converged = zip(*ratios, strict=True)
    n, as_low = len(ratios), sum(x <= 1e-6 for x in excess)
    values = [
        ("evaluations, geometric mean", mean(evaluations), "x", Bar(0.25)),
        ("time, geometric mean", mean(seconds), "x", Bar(0.5)),
        ("time, slowest", max(seconds), "x", Bar(1.7)),
        ("objectives within 1e-6, or lower", as_low, f" of {n}", Bar(n - 1, at_least=True)),
        ("objective, most above", 100 * max(excess), "%", Bar(5.0)),
        ("problems converged", sum(converged), f" of {n}", Bar(n, at_least=True)),
    ]
    return [
        Row(f"accelerated to guarded: {what}", "", "", value, unit, bar)
        for what, value, unit, bar in values
    ]


def mean(ratios: tuple[float, ...]) -> float:
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def picture(histories: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """Draw the residuals of every problem over accepted steps."""
    figure, axes = plt.subplots(3, 4, figsize=(14, 8), sharey=True, layout="constrained")
    for axis, (name, residuals) in zip(axes.flat, histories.items(), strict=True):
        for solver, residual in residuals.items():
            axis.loglog(np.arange(len(residual)) + 1, residual, label=solver)
        axis.set_title(name, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("accepted steps")
    for axis in axes[:, 0]:
        axis.set_ylabel("residual")
    axes[0, 0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
