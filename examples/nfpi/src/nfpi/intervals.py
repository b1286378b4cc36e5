"""Student's t-intervals of means over seeds, and of differences paired by seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from fpigauss import InvalidInputError
from scipy import stats

__all__ = ["Interval", "paired_interval", "t_interval"]


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Parameters
    ----------
    mean : float
    half_width : float
        Infinite for a single value, which does not show its spread.
    n : int
        The number of values.
    """

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        """Return the lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Return the upper end."""
        return self.mean + self.half_width


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean of independent values with its Student's t-interval.

    Parameters
    ----------
    values : sequence of float
        One per seed.
    level : float
        The confidence, in (0, 1).

    Returns
    -------
    Interval

    Raises
    ------
    InvalidInputError
        If there are no values, or one is not finite.
    """
    if not values:
        raise InvalidInputError("values is empty; an interval needs at least one run")
    if not all(math.isfinite(value) for value in values):
        raise InvalidInputError(
            f"values contains {list(values)}; leave out values that are not finite"
        )
    if len(values) == 1:
        return Interval(float(values[0]), math.inf, 1)
    mean, error = float(np.mean(values)), float(stats.sem(values))
    quantile = float(stats.t.ppf((1.0 + level) / 2.0, len(values) - 1))
    return Interval(mean, quantile * error, len(values))


def paired_interval(
    first: Mapping[int, float], second: Mapping[int, float], level: float = 0.95
) -> Interval | None:
    """Return the interval of first minus second, over the seeds that both have.

    A seed fixes the initial flow, the batches and their noise: its effect on both sides cancels in
    the difference.

    Parameters
    ----------
    first, second : mapping of seed to value

    Returns
    -------
    Interval or None
        None if they have no seed in common.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return None
    return t_interval([first[seed] - second[seed] for seed in shared], level)
