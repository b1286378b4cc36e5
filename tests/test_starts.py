"""Several starts: the lowest result is kept, and all are of one objective."""

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in, blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Oracle
from problems import point, quiet

from fpigauss import ClassGaussians, FixedPoint, fit_fixed_point

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)


def line(seed, n_classes=6, n_each=40):
    """Overlapping classes on a line, which cannot pass one another."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), n_each)
    return rng.normal(size=(len(y), 1)) + rng.normal(size=(n_classes, 1))[y], y


@family
@given(
    seed=st.integers(0, 10_000),
    lam=st.sampled_from([1.0, 30.0, 1e3]),
    pi=st.sampled_from(["initial", 2.0, "forward"]),
    update=st.sampled_from(["both", "means", "covariances"]),
    dim=st.integers(1, 3),
    warm=st.booleans(),
)
@settings(max_examples=10)
def test_more_starts_are_never_worse(covariance, tied, seed, lam, pi, update, dim, warm):
    z, y = blobs(4, dim, 20, seed=seed, spread=1.0)
    options = {"covariance": covariance, "tied": tied, "pi": pi, "update": update, "max_iter": 60}
    if warm:
        means = z[:4] + np.arange(4)[:, None]
        start = fit_fixed_point(z, y, 0.0, covariance=covariance, tied=tied).gaussians
        options["init"] = ClassGaussians(
            means, start.covariances, covariance=covariance, tied=tied, classes=start.classes
        )
    with quiet():
        one = fit_fixed_point(z, y, lam, **options)
        several = fit_fixed_point(z, y, lam, n_init=3, **options)
        again = fit_fixed_point(z, y, lam, n_init=3, **options)
    assert several.converged >= one.converged
    if several.converged == one.converged:
        assert several.objective <= one.objective
    assert several.pi == one.pi
    assert several.n_iter <= 60
    assert len(several.history["objective"]) <= several.n_iter + 1
    assert several.history["objective"][-1] == several.objective
    np.testing.assert_array_equal(again.gaussians.means, several.gaussians.means)
    # what is not updated is as it was given, wherever the winner started
    if update == "means":
        np.testing.assert_array_equal(several.gaussians.covariances, one.gaussians.covariances)
    if update == "covariances":
        np.testing.assert_array_equal(several.gaussians.means, one.gaussians.means)
    if several.status != "unbounded":
        oracle = Oracle(z, y, lam, covariance, tied, pi, update=update)
        again = oracle.value(*point(several), several.pi)
        assert several.objective == pytest.approx(again, rel=1e-8)


def test_more_starts_find_a_lower_minimum_on_a_line():
    lower = 0
    for seed in range(8):
        z, y = line(seed, n_classes=8)
        one, several = (fit_fixed_point(z, y, 1e3, tied=True, n_init=n) for n in (1, 6))
        assert one.converged and several.converged
        lower += several.objective < one.objective - 1e-3 * abs(one.objective)
    assert lower >= 4


@pytest.mark.parametrize("pi", ["initial", "forward"])
def test_starts_are_the_same_in_every_namespace(xp, pi):
    z, y = line(1)
    result = fit_fixed_point(asarray_in(xp, z), y, 300.0, tied=True, pi=pi, n_init=4)
    expected = fit_fixed_point(z, y, 300.0, tied=True, pi=pi, n_init=4)
    assert result.objective == pytest.approx(expected.objective, rel=1e-9)


def test_without_repulsion_one_start_is_enough():
    calls = []
    result = fit_fixed_point(*line(0), 0.0, n_init=50, callback=calls.append)
    assert result.converged and result.n_iter == 0 and not calls


def test_a_callback_sees_every_start_and_stops_all_of_them():
    z, y = line(0)
    seen = []
    options = {"tied": True, "pi": "initial"}
    result = fit_fixed_point(z, y, 300.0, n_init=4, callback=seen.append, **options)
    begun = [r for r in seen if len(r.history["objective"]) == 2]
    assert len(begun) == 4
    assert {r.pi for r in seen} == {result.pi}

    def stop(intermediate):
        raise StopIteration

    assert fit_fixed_point(z, y, 300.0, n_init=4, callback=stop, **options).status == "stopped"

    first = fit_fixed_point(z, y, 300.0, **options)

    def stop_second(intermediate):
        if len(intermediate.history["objective"]) == 2:
            counts.append(1)
        if len(counts) == 2:
            raise StopIteration

    counts = []
    stopped = fit_fixed_point(z, y, 300.0, n_init=4, callback=stop_second, **options)
    assert stopped.converged
    assert (stopped.objective, stopped.n_iter) == (first.objective, first.n_iter)


def test_what_has_converged_is_kept_before_what_runs_away():
    # past lam* a local minimum may survive, and the objective of a runaway is lower
    z, y = blobs(4, 3, 30, seed=0, spread=30.0)
    with quiet():
        result = fit_fixed_point(z, y, 100.0, n_init=6)
    assert result.converged


def test_it_is_an_option_like_the_others():
    assert repr(FixedPoint(1.0, n_init=3)) == "FixedPoint(lam=1.0, n_init=3)"
    z, y = line(2)
    a = FixedPoint(100.0, tied=True, n_init=3).fit(z, y)
    assert a.objective == fit_fixed_point(z, y, 100.0, tied=True, n_init=3).objective
