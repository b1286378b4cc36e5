"""Thousands of small fits in one process: memory does not grow."""

import gc

import numpy as np

from benchmarks._measure import MIB, in_new_process, peak_resident
from fpigauss import fit_fixed_point


def growth_of_resident_memory(n_fits):
    """Bytes by which the most memory ever held grows in so many fits, after a tenth as many."""
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    z = rng.normal(size=(3, 4))[y] + rng.normal(size=(150, 4))

    def fit(n_times):
        for _ in range(n_times):
            fit_fixed_point(z, y, 1.0)
        gc.collect()

    fit(n_fits // 10)
    before = peak_resident()
    fit(n_fits)
    return peak_resident() - before


def test_a_thousand_fits_leak_nothing():
    # one array of a fit's rows that stayed behind each time would be 1,000 * 150 * 4 * 8 = 4.6 MiB;
    # the allocator alone was seen to take up to .6 MiB
    assert in_new_process(growth_of_resident_memory, 1000) < 1.5 * MIB
