"""The default solver on twenty seeded problems, against a slow L-BFGS of the tests' own.

K = 5, d = 4, six families, tol 1e-8. data/make_problems.py wrote what the reference found, and in
how many evaluations.
"""

import numpy as np
import pytest
from problems import CASES, TOL, known, point, quiet

from fpigauss import fit_fixed_point


@pytest.fixture(scope="module")
def outcomes():
    results = {}
    for case in CASES:
        z, y = case.data()
        with quiet():
            results[case.name] = fit_fixed_point(
                z, y, case.value_of_lam(), tol=TOL, **case.options()
            )
    return results


def test_the_data_are_those_of_the_table():
    table = known()
    assert list(table) == [case.name for case in CASES]
    for case in CASES:
        # A sum of 1200 numbers, in any order, is good to 1e-13.
        assert np.abs(case.data()[0]).sum() == pytest.approx(
            table[case.name].fingerprint, rel=1e-12
        )


def test_converges_on_nineteen(outcomes):
    ends = {name: str(result.status) for name, result in outcomes.items()}
    assert sum(end == "converged" for end in ends.values()) >= 19, ends
    assert "unbounded" not in ends.values(), ends


def test_converged_means_stationary(outcomes):
    for case in CASES:
        result = outcomes[case.name]
        if result.converged:
            assert case.problem().gradient_excess(*point(result), TOL) <= 1, case.name


def test_reaches_the_lowest_minimum_known_on_eighteen(outcomes):
    table = known()
    above = {
        name: (result.objective - table[name].lowest) / max(1.0, abs(table[name].lowest))
        for name, result in outcomes.items()
    }
    assert sum(height <= 1e-6 for height in above.values()) >= 18, above


def test_needs_at_most_twice_the_evaluations_of_the_reference(outcomes):
    table = known()
    ours = {name: max(1, result.n_iter) for name, result in outcomes.items()}
    theirs = {name: table[name].evaluations for name in ours}
    ratio = np.exp(np.mean([np.log(ours[name] / theirs[name]) for name in ours]))
    assert ratio <= 2, {name: (ours[name], theirs[name]) for name in ours}
