"""The geometric mean of positive definite matrices: time and digits."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
from pyriemann.geometry.geodesic import geodesic_riemann
from scipy.linalg import inv, sqrtm

from benchmarks._measure import Bar, Row, Table, duration, paired
from fpigauss import geometric_mean

N_PAIRS = 10  # of matrices for the errors
DIGITS = 60

NOTE = """
Against pyriemann's geodesic_riemann, and against A^1/2 (A^-1/2 B A^-1/2)^1/2 A^1/2 written with
scipy.linalg.sqrtm. Ours checks its input (symmetric, finite, positive definite), which is part of
its time. Errors are against mpmath with 60 digits: the largest |eigenvalue - 1| of G^-1 X, with G
the exact mean of the two float64 matrices. They are medians of ten pairs, left out where the other
side gives NaN.
"""


def positive_definite(
    rng: np.random.Generator, n_matrices: int, dim: int, condition: float
) -> np.ndarray:
    """Draw random axes, with eigenvalues from 1 to 1 / condition, evenly spaced in logarithms."""
    q, _ = np.linalg.qr(rng.standard_normal((n_matrices, dim, dim)))
    x = q * np.geomspace(1.0, 1.0 / condition, dim) @ np.swapaxes(q, -1, -2)
    return 0.5 * (x + np.swapaxes(x, -1, -2))


def with_sqrtm(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Apply the textbook formula, one pair at a time."""
    means = []
    for x, y in zip(a, b, strict=True):
        root = sqrtm(x)
        inverse_root = inv(root)
        means.append(root @ sqrtm(inverse_root @ y @ inverse_root) @ root)
    return np.stack(means).real


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rng = np.random.default_rng(0)
    sizes = [(100, 64), (1, 1024)]
    if full:
        sizes += [(1000, 16), (100, 256)]
    rows = []
    for n_matrices, dim in sizes:
        bar = Bar(1.2) if (n_matrices, dim) in sizes[:2] else None
        rows += timed(rng, n_matrices, dim, bar, seconds=60.0 if full else 10.0)
    bars = {1e2: None, 1e6: None, 1e10: Bar(1e5, at_least=True)}
    rows += [accuracy(rng, condition, bar) for condition, bar in bars.items()]
    return Table("The geometric mean", __doc__ + NOTE, rows)


def timed(
    rng: np.random.Generator, n_matrices: int, dim: int, bar: Bar | None, seconds: float
) -> list[Row]:
    """Measure the time of a batch."""
    a, b = (positive_definite(rng, n_matrices, dim, 1e3) for _ in range(2))
    functions = {
        "ours": lambda: geometric_mean(a, b),
        "pyriemann": lambda: geodesic_riemann(a, b, 0.5),
        "sqrtm": lambda: with_sqrtm(a, b),
    }
    times = paired(functions, rounds=9, seconds=seconds)
    size = f"{n_matrices} of d={dim}"
    return [
        Row(
            f"geometric mean, {size}: slower than {name}",
            duration(times.median("ours")),
            f"{name}: {duration(times.median(name))}",
            times.ratio("ours", name),
            bar=bar if name == "pyriemann" else None,
        )
        for name in ("pyriemann", "sqrtm")
    ]


def accuracy(rng: np.random.Generator, condition: float, bar: Bar | None) -> Row:
    """Measure errors at d = 6."""
    a, b = (positive_definite(rng, N_PAIRS, 6, condition) for _ in range(2))
    found = {
        "ours": geometric_mean(a, b),
        "pyriemann": quietly(geodesic_riemann, a, b),
        "sqrtm": quietly(with_sqrtm, a, b),
    }
    errors: dict[str, list[float]] = {}
    with mpmath.workdps(DIGITS):
        exact = [exact_mean(*pair) for pair in zip(a, b, strict=True)]
        for name, means in found.items():
            errors[name] = [error(g, x) for g, x in zip(exact, means, strict=True)]
    ratios = [other / ours for other, ours in zip(errors["pyriemann"], errors["ours"], strict=True)]
    finite = [ratio for ratio in ratios if math.isfinite(ratio)]
    return Row(
        f"geometric mean, d=6, condition {condition:.0e}: error of pyriemann, of ours",
        in_words(errors["ours"]),
        f"pyriemann: {in_words(errors['pyriemann'])}; sqrtm: {in_words(errors['sqrtm'])}",
        statistics.median(finite) if finite else math.inf,
        bar=bar,
    )


def quietly(mean: Callable[..., np.ndarray], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute a mean whose warnings the table replaces."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mean(a, b)


def in_words(errors: list[float]) -> str:
    """Return the median of the finite errors, and how many are not finite."""
    numbers = [x for x in errors if math.isfinite(x)]
    n_bad = len(errors) - len(numbers)
    words = f"{statistics.median(numbers):.1e}" if numbers else "-"
    return words + (f" ({n_bad} of {len(errors)} NaN)" if n_bad else "")


def exact_mean(a: np.ndarray, b: np.ndarray) -> mpmath.matrix:
    """Compute G = A^1/2 (A^-1/2 B A^-1/2)^1/2 A^1/2 in many digits."""
    root = _power(mpmath.matrix(a.tolist()), 0.5)
    inverse_root = root**-1
    return root * _power(inverse_root * mpmath.matrix(b.tolist()) * inverse_root, 0.5) * root


def error(exact: mpmath.matrix, found: np.ndarray) -> float:
    """Return the largest |eigenvalue - 1| of G^-1 X."""
    if not np.isfinite(found).all():
        return math.inf
    inverse_root = _power(exact, -0.5)
    whitened = inverse_root * mpmath.matrix(found.tolist()) * inverse_root
    eigenvalues = mpmath.eigsy(_symmetric(whitened), eigvals_only=True)
    return float(max(abs(value - 1) for value in eigenvalues))


def _power(x: mpmath.matrix, exponent: float) -> mpmath.matrix:
    values, vectors = mpmath.eigsy(_symmetric(x))
    return vectors * mpmath.diag([value**exponent for value in values]) * vectors.T


def _symmetric(x: mpmath.matrix) -> mpmath.matrix:
    return (x + x.T) / 2
