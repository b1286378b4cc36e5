"""Seeded data for the tests, and the twenty problems on which the default solver is judged."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from helpers import to_numpy
from reference import Problem

import fpigauss

TABLE = Path(__file__).parent / "data" / "problems.json"
TOL = 1e-8


def gaussian_classes(
    seed: int, n_classes: int, dim: int, n_per_class: int, *, spread: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes with correlated axes of unequal scale, means about `spread` apart."""
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((n_classes, dim))
    mixing = np.eye(dim) + 0.3 * rng.standard_normal((n_classes, dim, dim))
    noise = rng.standard_normal((n_classes, n_per_class, dim))
    z = means[:, None] + np.einsum("kij,knj->kni", mixing, noise)
    return z.reshape(-1, dim), np.repeat(np.arange(n_classes), n_per_class)


@dataclass(frozen=True)
class Case:
    """One of the twenty: `lam` in units of lam* where `of_critical`."""

    seed: int
    covariance: str
    tied: bool
    pi: str
    lam: float
    of_critical: bool = False

    N_CLASSES = 5
    DIM = 4
    N_PER_CLASS = 60

    @property
    def name(self) -> str:
        family = f"tied-{self.covariance}" if self.tied else self.covariance
        return f"{self.seed}-{family}-{self.pi}-{self.lam:g}{'lam*' if self.of_critical else ''}"

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        return gaussian_classes(self.seed, self.N_CLASSES, self.DIM, self.N_PER_CLASS)

    def value_of_lam(self) -> float:
        if not self.of_critical:
            return self.lam
        return self.lam * fpigauss.critical_lam(
            self.N_CLASSES, covariance=self.covariance, dim=self.DIM
        )

    def problem(self) -> Problem:
        """For the reference: pi="initial" is frozen as measured at the data's Gaussians."""
        z, y = self.data()
        problem = Problem(z, y, self.value_of_lam(), self.covariance, self.tied)
        if self.pi == "initial":
            problem.pi = problem.mean_kld(*problem.start())
        return problem

    def options(self) -> dict[str, Any]:
        return {"covariance": self.covariance, "tied": self.tied, "pi": self.pi}


# Seeds are the row's number. "forward" at 0.9 lam*, or tied; "initial" at lam from 60 to 3000.
_ROWS: list[tuple[str, bool, str, float]] = [
    ("diagonal", False, "forward", 0.9),
    ("diagonal", False, "forward", 0.9),
    ("dense", False, "forward", 0.9),
    ("dense", False, "forward", 0.9),
    ("isotropic", False, "forward", 0.9),
    ("isotropic", False, "forward", 0.9),
    ("diagonal", True, "forward", 300.0),
    ("diagonal", True, "forward", 1000.0),
    ("dense", True, "forward", 300.0),
    ("dense", True, "forward", 1000.0),
    ("dense", True, "forward", 3000.0),
    ("isotropic", True, "forward", 1000.0),
    ("isotropic", True, "forward", 3000.0),
    ("diagonal", False, "initial", 60.0),
    ("dense", False, "initial", 300.0),
    ("dense", False, "initial", 1000.0),
    ("isotropic", False, "initial", 3000.0),
    ("diagonal", True, "initial", 3000.0),
    ("dense", True, "initial", 1000.0),
    ("isotropic", True, "initial", 60.0),
]
CASES = [
    Case(seed, covariance, tied, pi, lam, of_critical=pi == "forward" and not tied)
    for seed, (covariance, tied, pi, lam) in enumerate(_ROWS)
]


@dataclass(frozen=True)
class Known:
    """What the reference optimizer found: see data/make_problems.py."""

    name: str
    fingerprint: float  # sum of |z|: shows whether the data are still those of the table
    lowest: float
    from_data: float
    evaluations: int


def known() -> dict[str, Known]:
    return {row["name"]: Known(**row) for row in json.loads(TABLE.read_text())}


def write(rows: list[Known]) -> None:
    TABLE.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


@contextmanager
def quiet() -> Iterator[None]:
    """For fits whose status is what a test looks at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fpigauss.ConvergenceWarning)
        warnings.simplefilter("ignore", fpigauss.UnboundedObjectiveWarning)
        warnings.simplefilter("ignore", fpigauss.PooledCovarianceWarning)
        yield


def point(result: fpigauss.FixedPointResult) -> tuple[np.ndarray, np.ndarray]:
    """The fitted means and covariances, as numpy arrays."""
    return to_numpy(result.gaussians.means), to_numpy(result.gaussians.covariances)


def problem_of(
    result: fpigauss.FixedPointResult, z: Any, y: Any, lam: float, **options: Any
) -> Problem:
    """Eq. 4 as the reference has it, with pi as in force at the result's end."""
    kept = {name: options[name] for name in ("alpha", "update") if name in options}
    pi = "forward" if result.pi is None else to_numpy(result.pi)
    return Problem(
        to_numpy(z),
        y,
        lam,
        options.get("covariance", "diagonal"),
        options.get("tied", False),
        pi,
        **kept,
    )
