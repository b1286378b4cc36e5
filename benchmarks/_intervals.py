"""Means over splits of one data set, with intervals, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True)
class Interval:
    """A mean and half the width of its 95 % interval."""

    mean: float
    half: float

    @property
    def excludes_zero(self) -> bool:
        return abs(self.mean) > self.half

    def text(self, digits: int, *, signed: bool = False) -> str:
        sign = "+" if signed else ""
        shown = f"{self.mean:{sign}.{digits}f} ± {self.half:.{digits}f}"
        return f"**{shown}**" if signed and self.excludes_zero else shown


def over_splits(values: Sequence[float], test_to_train: float) -> Interval:
    """Compute a mean over random splits, with the corrected interval of Nadeau and Bengio (2003).

    Training parts overlap, so that the splits are not independent: their variance is multiplied by
    1/n + n_test/n_train, and not by 1/n.
    """
    numbers = np.asarray(values, dtype=float)
    n = len(numbers)
    if n < 2:
        return Interval(float(numbers.mean()), math.nan)
    variance = numbers.var(ddof=1) * (1.0 / n + test_to_train)
    return Interval(float(numbers.mean()), float(student.ppf(0.975, n - 1) * math.sqrt(variance)))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
