"""The gradient of a fit: the time of a backward pass, and its memory."""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import (
    GIB,
    MIB,
    Bar,
    Row,
    Table,
    duration,
    extra_memory,
    in_new_process,
    paired,
    peak_resident,
)
from fpigauss import ClassStatistics, FixedPointResult, NotDifferentiableError, solve_fixed_point

NOTE = """
A backward pass is FixedPointResult.vjp of random cotangents of means and covariances: it prepares
products with the Hessian, solves the linear system and pulls the solution back to the statistics.
It is compared with the solve by the default solver, both from statistics, to tol=1e-8. The value of
a row is the ratio of times unless it says otherwise. The twenty problems are those of
tests/problems.py. Memory of a backward pass is the most that Python and numpy held in it.
"""

TOL = 1e-8


def cotangents(result: FixedPointResult) -> tuple[np.ndarray, np.ndarray]:
    """Draw the gradient of a function of means and covariances."""
    rng = np.random.default_rng(0)
    gaussians = result.gaussians
    of_means = rng.standard_normal(gaussians.means.shape)
    return of_means, rng.standard_normal(gaussians.covariances.shape)


def solve(statistics: ClassStatistics, lam: float, **options: Any) -> FixedPointResult:
    """Solve without warnings: the rows say how fits ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return solve_fixed_point(statistics, lam, **({"tol": TOL} | options))


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rows = twenty_problems()
    rows += memory_of_iterations()
    rows.append(in_new_process(large, 100, 3072, "diagonal"))
    rows.append(in_new_process(large, 10, 256, "dense"))
    return Table("Gradients of a fit", __doc__ + NOTE, rows)


def twenty_problems() -> list[Row]:
    """Time a backward pass and the solve that it differentiates, on each of the twenty."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from problems import CASES

    rows, ratios = [], []
    for case in CASES:
        options = case.options()
        kind = "dense" if case.covariance == "dense" else "diagonal"
        gathered = ClassStatistics.from_samples(*case.data(), covariance=kind)
        lam = case.value_of_lam()
        result = solve(gathered, lam, **options)
        pulled = cotangents(result)
        name = f"problem {case.name}"
        try:
            gradient = result.vjp(*pulled)
        except NotDifferentiableError as error:
            rows.append(Row(name, f"{result.n_iter} evaluations", str(error), float("nan")))
            continue

        def backward(result: FixedPointResult = result, pulled: Any = pulled) -> None:
            fresh(result).vjp(*pulled)

        def forward(gathered: Any = gathered, lam: float = lam, options: Any = options) -> None:
            solve(gathered, lam, **options)

        times = paired({"backward": backward, "solve": forward}, rounds=5, seconds=5.0)
        ratios.append(times.ratio("backward", "solve"))
        rows.append(
            Row(
                name,
                f"backward: {duration(times.median('backward'))}, {gradient.n_products} products",
                f"solve: {duration(times.median('solve'))}, {result.n_iter} evaluations",
                ratios[-1],
            )
        )
    median = Row("median of the problems", "", "", statistics.median(ratios), bar=Bar(1.0))
    return [*rows, median]


def fresh(result: FixedPointResult) -> FixedPointResult:
    """Return a result whose backward pass has kept nothing yet."""
    kept = vars(result._adjoint)
    for name in ("problem", "point", "curvature", "_latent", "_gradient_of_pi"):
        kept.pop(name, None)
    return result


def memory_of_iterations() -> list[Row]:
    """Measure what a backward pass holds after few and after many iterations."""
    rng = np.random.default_rng(0)
    gathered = ClassStatistics(
        counts=np.full(20, 50.0),
        means=0.3 * rng.standard_normal((20, 64)),
        covariances=rng.uniform(0.5, 2.0, size=(20, 64)),
        classes=np.arange(20),
    )
    held = {}
    for solver, n_iter in (("picard", 10), ("picard", 1000)):
        # far enough from the end that each makes all of its iterations
        result = solve(gathered, 8.0, solver=solver, max_iter=n_iter, tol=0.0)
        as_converged = differentiable(result)
        held[n_iter] = extra_memory(lambda r=as_converged: r.vjp(*cotangents(r)))
    few, many = held[10], held[1000]
    return [
        Row(
            "K=20, d=64: memory of a backward pass, after 1,000 iterations to after 10",
            f"after 1,000: {many / MIB:.2f} MiB",
            f"after 10: {few / MIB:.2f} MiB",
            many / few,
            bar=Bar(1.05),
        )
    ]


def differentiable(result: FixedPointResult) -> FixedPointResult:
    """Let a fit that made a fixed number of iterations be differentiated where it is."""
    from dataclasses import replace

    from fpigauss import Status

    adjoint = replace(result._adjoint, status=Status.CONVERGED)
    object.__setattr__(result, "_adjoint", adjoint)
    return result


def large(n_classes: int, dim: int, covariance: str) -> Row:
    """Time a large solve and its backward pass, in a process of its own."""
    rng = np.random.default_rng(0)
    shape = (n_classes, dim)
    covariances: np.ndarray = rng.uniform(0.5, 2.0, size=shape)
    if covariance == "dense":
        factors = np.eye(dim) + 0.3 / dim**0.5 * rng.standard_normal((n_classes, dim, dim))
        covariances = factors @ np.swapaxes(factors, -1, -2)
        covariances = 0.5 * (covariances + np.swapaxes(covariances, -1, -2))
    gathered = ClassStatistics(
        counts=np.full(n_classes, 2.0 * dim),
        means=rng.standard_normal(shape) / dim**0.5,
        covariances=covariances,
        classes=np.arange(n_classes),
    )
    started = time.perf_counter()
    result = solve(gathered, 0.5 * n_classes, covariance=covariance, tol=1e-6)
    solved = time.perf_counter() - started
    pulled, before = cotangents(result), peak_resident()
    started = time.perf_counter()
    gradient = result.vjp(*pulled)
    seconds = time.perf_counter() - started
    grown = extra_memory(lambda: fresh(result).vjp(*pulled))
    return Row(
        f"K={n_classes}, d={dim}, {covariance}: memory of a backward pass",
        f"{grown / MIB:.0f} MiB, {duration(seconds)}, {gradient.n_products} products",
        f"solve: {duration(solved)}, {result.n_iter} evaluations, {before / GIB:.2f} GiB in all",
        grown / GIB,
        " GiB",
        Bar(1.0),
    )
