"""What a type checker sees of the options of a fit: mypy reads this file, nobody runs it.

An ignored line that is not an error is one itself (``warn_unused_ignores``).
"""

from fpigauss import (
    Accelerated,
    ClassStatistics,
    Diagonal,
    FixedPoint,
    FixedPointResult,
    fit_fixed_point,
    solve_fixed_point,
)


def accepted(z: list[list[float]], y: list[int], statistics: ClassStatistics) -> FixedPointResult:
    result = fit_fixed_point(z, y, 1.0, tied=True, covariance=Diagonal())
    result = solve_fixed_point(statistics, 1.0, solver=Accelerated(history=5), pi=lambda d: d)
    init = result.gaussians
    result = fit_fixed_point(z, y, 1.0, init=init, frozen=init.classes)
    return FixedPoint(1.0, update="means", init=init, frozen=("a", 1)).fit(z, y)


def refused(z: list[list[float]], y: list[int], statistics: ClassStatistics) -> None:
    fit_fixed_point(z, y, 1.0, tide=True)  # type: ignore[call-arg]
    fit_fixed_point(z, y, 1.0, tied="yes")  # type: ignore[arg-type]
    fit_fixed_point(z, y, 1.0, frozen=3)  # type: ignore[arg-type]
    solve_fixed_point(statistics, 1.0, sample_weight=y)  # type: ignore[call-arg]
    FixedPoint(1.0, update="mean")  # type: ignore[arg-type]
    FixedPoint(1.0, True)  # type: ignore[call-arg, arg-type]
    fit_fixed_point(z, y, 1.0, covariance="full")  # type: ignore[arg-type]
    fit_fixed_point(z, y, 1.0, pi="forwards", solver="newton")  # type: ignore[arg-type]
    FixedPoint(1.0, equations="exact", shrinkage="lw")  # type: ignore[arg-type]
