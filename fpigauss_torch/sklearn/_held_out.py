"""Rows that are held out of a fit, and the temperature that they give."""

import warnings
from typing import Any

import numpy as np

from fpigauss import ConvergenceWarning
from fpigauss_torch.open_set import calibrate_temperature

__all__ = ["held_out_rows", "temperature_of"]

Floats = np.ndarray[Any, np.dtype[Any]]

#: The least prior of a class in a calibration, which needs positive ones.
_LEAST = 1e-12
#: How many rows a temperature takes.
_ENOUGH = 10


def held_out_rows(codes: Floats, fraction: float, source: np.random.RandomState) -> Floats:
    """Say which rows (N,) to hold out: a fraction of each class, rounded, but never all of it."""
    held_out = np.zeros(len(codes), dtype=bool)
    for code in np.unique(codes):
        rows = source.permutation(np.flatnonzero(codes == code))
        held_out[rows[: min(round(fraction * len(rows)), len(rows) - 1)]] = True
    return held_out


def temperature_of(by_class: Floats, codes: Floats, priors: Floats) -> float:
    """Find a temperature from log p(x|y) (M, K) of held-out rows and their classes.

    It divides log p(x, y), so that no label depends on it: priors must not decide because a flow
    was sure of a mistake.

    The least certain row counts once more, as one of its second class: some hundred rows without a
    mistake say no more than that mistakes are rare, and without one the best temperature would be
    0. It is 1 if there are fewer than ten rows.
    """
    if len(codes) < _ENOUGH:
        return 1.0
    together = by_class + np.log(np.maximum(priors, _LEAST))
    ordered = np.sort(together, axis=1)
    least = int((ordered[:, -1] - ordered[:, -2]).argmin())
    second = int(together[least].argsort()[-2])
    rows = np.concatenate([together, together[least : least + 1]])
    labels = np.append(codes, second)
    with warnings.catch_warnings():
        # where chance does better, so do probabilities that are equal
        warnings.simplefilter("ignore", ConvergenceWarning)
        return calibrate_temperature(rows, labels)
