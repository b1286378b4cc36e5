"""Compare two methods by what each reaches at equal cost, over its settings."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["difference_of_curves", "differences_by_seed"]

#: Points at which two curves are compared.
_N_POINTS = 101

Points = Sequence[tuple[float, float]]
BySeed = tuple[Mapping[int, float], Mapping[int, float]]


def difference_of_curves(first: Points, second: Points) -> float | None:
    """Return how far one curve lies above another on average, where both are known.

    A curve is the best value reached at no more than a cost: points are joined by lines in order
    of their cost, and a value that falls again does not count.

    Parameters
    ----------
    first, second : sequence of (cost, value)
        The settings of two methods, two or more each; NLL and accuracy, for example.

    Returns
    -------
    float or None
        The mean of first minus second over the costs that both ranges share; None if they share
        none.

    Examples
    --------
    >>> difference_of_curves([(0.0, 0.5), (2.0, 0.9)], [(1.0, 0.6), (3.0, 0.6)])
    0.2
    """
    ranges = [(min(x), max(x)) for x in ([cost for cost, _ in curve] for curve in (first, second))]
    low, high = max(start for start, _ in ranges), min(end for _, end in ranges)
    if low > high:
        return None
    at = np.linspace(low, high, _N_POINTS)
    best = [_best_up_to(curve, at) for curve in (first, second)]
    return float(np.mean(best[0] - best[1]))


def differences_by_seed(
    first: Sequence[BySeed], second: Sequence[BySeed]
) -> dict[int, float | None]:
    """Return the difference of two curves for every seed with all points of both.

    Parameters
    ----------
    first, second : sequence of (costs, values)
        The settings of two methods; costs and values are mappings of seed to number.

    Returns
    -------
    dict of int to float or None
        As from `difference_of_curves`.
    """
    seeds = set.intersection(*({*x} & {*y} for x, y in (*first, *second)))
    return {
        seed: difference_of_curves(
            *([(x[seed], y[seed]) for x, y in curve] for curve in (first, second))
        )
        for seed in sorted(seeds)
    }


def _best_up_to(curve: Points, at: np.ndarray) -> np.ndarray:
    """Return the best value at costs of at most ``at``, ascending, within the curve's range."""
    cost, value = np.array(sorted(curve)).T
    fine = np.union1d(at, cost)  # a peak between two of the points counts too
    best = np.maximum.accumulate(np.interp(fine, cost, value))
    found: np.ndarray = best[np.searchsorted(fine, at)]
    return found
