"""Student's t-intervals, and differences paired by seed."""

import math

import numpy as np
import pytest
import scipy.stats
from fpigauss import InvalidInputError

from nfpi.intervals import paired_interval, t_interval


def test_t_interval_of_known_values():
    # variance 1, and the 97.5 % quantile of t with 2 degrees of freedom is sqrt(2) * 0.95 /
    # sqrt(1 - 0.95^2)
    interval = t_interval([1.0, 2.0, 3.0])
    quantile = math.sqrt(2.0) * 0.95 / math.sqrt(1.0 - 0.95**2)
    assert interval.mean == 2.0 and interval.n == 3
    # older quantiles of scipy are off by up to 4e-11
    new = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 17)
    precision = 1e-12 if new else 1e-10
    assert interval.half_width == pytest.approx(quantile / math.sqrt(3.0), rel=precision)


def test_t_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [t_interval(list(rng.normal(size=4))) for _ in range(2000)]
    covered = np.mean([one.low < 0.0 < one.high for one in intervals])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_intervals_are_those_of_exact_sums():
    rng = np.random.default_rng(1)
    for n in range(2, 9):
        values = list(0.9 + 0.01 * rng.normal(size=n))
        mean = math.fsum(values) / n
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
        half_width = float(scipy.stats.t.ppf(0.975, n - 1)) * math.sqrt(variance / n)
        interval = t_interval(values)
        assert interval.mean == pytest.approx(mean, rel=1e-15)
        # the mean's rounding, 1e-16, against deviations of 1e-2
        assert interval.half_width == pytest.approx(half_width, rel=1e-12)


def test_one_value_has_no_interval():
    assert t_interval([0.5]).half_width == math.inf


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_intervals_refuse_what_is_no_number(values):
    with pytest.raises(InvalidInputError, match="values"):
        t_interval(values)


def test_pairs_are_of_the_seeds_that_both_have():
    first, second = {0: 1.0, 1: 3.0, 2: 9.0}, {0: 0.5, 1: 2.5, 7: 0.0}
    interval = paired_interval(first, second)
    assert (interval.mean, interval.half_width, interval.n) == (0.5, 0.0, 2)
    assert paired_interval({0: 1.0}, {1: 1.0}) is None
