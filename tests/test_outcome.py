"""What a result says of itself, and what it takes to get it.

Status, history, counts, warnings, the callback, warm starts, shrinkage.
"""

import copy
import pickle
import re
from enum import StrEnum

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in, blobs, full_covariances, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import point, problem_of, quiet
from reference import Problem, distance, to_family

from fpigauss import (
    ClassGaussians,
    ConvergenceWarning,
    FixedPointResult,
    Status,
    UnboundedObjectiveWarning,
    critical_lam,
    fit_fixed_point,
)

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
per_class = pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
solvers = pytest.mark.parametrize("solver", ["auto", "accelerated", "guarded", "picard"])
HISTORY = {"objective", "residual", "step", "smallest_kld"}


@pytest.fixture(scope="module")
def data():
    return blobs(4, 3, 25, seed=1, spread=1.5)


def assert_finite_and_spd(result):
    gaussians = result.gaussians
    means, covariances = point(result)
    assert np.isfinite(means).all()
    kind = getattr(gaussians.covariance, "name", gaussians.covariance)
    full = full_covariances(covariances, *means.shape, kind, gaussians.tied)
    np.testing.assert_array_equal(full, np.swapaxes(full, -2, -1))
    np.linalg.cholesky(full)  # raises where it is not positive definite
    assert np.isfinite(float(result.objective))
    assert np.isfinite(float(result.residual))


def test_status_is_an_enumeration_of_strings(data):
    status = fit_fixed_point(*data, 1.0).status
    assert isinstance(status, StrEnum)
    assert status == "converged"
    assert {str(member) for member in type(status)} == {
        "converged",
        "max_iter",
        "stalled",
        "unbounded",
        "diverged",
        "stopped",
        "running",
    }


@family
@solvers
def test_history_starts_at_the_start_and_ends_at_the_result(data, covariance, tied, solver):
    z, y = data
    result = fit_fixed_point(
        z, y, 2.0, covariance=covariance, tied=tied, solver=solver, tol=0, max_iter=12
    )
    history = {name: to_numpy(values) for name, values in result.history.items()}
    assert set(history) == HISTORY
    lengths = {len(values) for values in history.values()}
    assert len(lengths) == 1
    (length,) = lengths
    assert 2 <= length <= result.n_iter + 1
    if solver == "picard":
        assert length == result.n_iter + 1
    problem = Problem(z, y, 2.0, covariance, tied)
    for entry, at in ((0, problem.start()), (-1, point(result))):
        assert history["objective"][entry] == pytest.approx(problem.objective(*at), rel=1e-11)
        assert history["residual"][entry] == pytest.approx(
            problem.residual(*at), rel=1e-6, abs=1e-12
        )
        assert history["smallest_kld"][entry] == pytest.approx(problem.smallest_kld(*at), rel=1e-10)
    assert history["objective"][-1] == float(result.objective)
    assert history["residual"][-1] == float(result.residual)


def test_messages_of_statuses_say_what_converged_means():
    for status in ("converged", "max_iter", "stalled"):
        message = Status(status).message
        assert "residual" in message
        assert re.search("forces (do not )?balance", message)


@solvers
def test_tol_zero_asks_for_max_iter_evaluations_without_a_warning(data, solver):
    result = fit_fixed_point(*data, 2.0, solver=solver, tol=0, max_iter=7)
    assert result.status == "max_iter"
    assert result.n_iter == 7
    assert not result.converged


@solvers
def test_a_tolerance_not_reached_is_a_warning(data, solver):
    with pytest.warns(ConvergenceWarning):
        result = fit_fixed_point(*data, 2.0, solver=solver, tol=1e-10, max_iter=2)
    assert result.status == "max_iter"
    assert result.n_iter <= 2
    assert not result.converged
    assert result.residual > 1e-10


@family
@solvers
def test_max_iter_zero_returns_the_start(data, covariance, tied, solver):
    z, y = data
    result = fit_fixed_point(
        z, y, 2.0, covariance=covariance, tied=tied, solver=solver, tol=0, max_iter=0
    )
    assert result.status == "max_iter"
    assert result.n_iter == 0
    problem = Problem(z, y, 2.0, covariance, tied)
    # Sums over 25 samples in another order: a few eps.
    for ours, theirs in zip(point(result), problem.start(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13)
    assert float(result.objective) == pytest.approx(problem.objective(*problem.start()), rel=1e-12)
    assert {len(values) for values in result.history.values()} == {1}


def test_identity_start(data):
    z, y = data
    result = fit_fixed_point(z, y, 2.0, covariance="dense", init="identity", tol=0, max_iter=0)
    np.testing.assert_array_equal(point(result)[1], np.broadcast_to(np.eye(3), (4, 3, 3)))
    np.testing.assert_allclose(point(result)[0], Problem(z, y, 0.0).start()[0], rtol=1e-13)


@solvers
def test_the_callback_sees_every_accepted_step(xp, data, solver):
    z, y = data
    seen = []
    result = fit_fixed_point(
        asarray_in(xp, z), y, 2.0, solver=solver, tol=0, max_iter=9, callback=seen.append
    )
    objective = to_numpy(result.history["objective"])
    assert len(seen) == len(objective) - 1
    for step, one in enumerate(seen, 1):
        assert isinstance(one, FixedPointResult)
        assert one.status == "running"
        assert not one.converged
        assert float(one.objective) == objective[step]
        assert len(one.history["objective"]) == step + 1
        assert one.n_iter <= 9
    problem = Problem(z, y, 2.0)
    assert objective[1] == pytest.approx(problem.objective(*point(seen[0])), rel=1e-11)


@solvers
def test_the_callback_takes_its_argument_by_name(data, solver):
    # scipy.optimize's convention: a parameter called intermediate_result.
    def callback(intermediate_result):
        assert intermediate_result.status == "running"

    fit_fixed_point(*data, 2.0, solver=solver, callback=callback)


@solvers
def test_stop_iteration_stops_the_fit_at_its_iterate(data, solver):
    seen = []

    def stop_at_the_third(intermediate_result):
        seen.append(intermediate_result)
        if len(seen) == 3:
            raise StopIteration

    result = fit_fixed_point(*data, 2.0, solver=solver, tol=1e-10, callback=stop_at_the_third)
    assert result.status == "stopped"
    assert not result.converged
    assert len(seen) == 3
    assert len(result.history["objective"]) == 4
    np.testing.assert_array_equal(point(result)[0], point(seen[-1])[0])
    np.testing.assert_array_equal(point(result)[1], point(seen[-1])[1])


def test_another_exception_of_the_callback_comes_through(data):
    def fail(intermediate_result):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fit_fixed_point(*data, 2.0, callback=fail)


# A residual at the tolerance may be a rounding above it when measured again: an update or two.
A_FEW = 2


@family
@pytest.mark.parametrize("pi", ["forward", "initial", "mean", 2.0])
def test_a_warm_start_is_converged_at_once(xp, data, covariance, tied, pi):
    z, y = data
    options = {"covariance": covariance, "tied": tied}
    first = fit_fixed_point(asarray_in(xp, z), y, 2.0, pi=pi, **options)
    assert first.status == "converged"
    assert first.n_iter > A_FEW
    frozen = "forward" if pi == "forward" else first.pi
    again = fit_fixed_point(asarray_in(xp, z), y, 2.0, pi=frozen, init=first.gaussians, **options)
    assert again.status == "converged"
    assert again.n_iter <= A_FEW
    assert float(again.objective) == pytest.approx(float(first.objective), rel=1e-10)


def test_initial_is_measured_at_the_initial_gaussians(data):
    z, y = data
    problem = Problem(z, y, 2.0)
    means, variances = problem.start()
    wide = ClassGaussians(means, 4 * variances)
    result = fit_fixed_point(z, y, 2.0, pi="initial", init=wide)
    assert float(result.pi) == pytest.approx(problem.mean_kld(means, 4 * variances), rel=1e-12)


# ------------------------------------------------------------------ no minimum


def test_critical_lam():
    assert critical_lam(6) == pytest.approx(6 * np.e / 2)
    assert critical_lam(100, 10.0) == pytest.approx(500 * np.exp(0.1))
    assert critical_lam(6, covariance="dense") == critical_lam(6)
    assert critical_lam(6, covariance="isotropic", dim=4) == pytest.approx(4 * critical_lam(6))
    for covariance in ("diagonal", "dense", "isotropic"):
        assert critical_lam(6, covariance=covariance, tied=True, dim=4) == np.inf


def critical(covariance, alpha=1.0):
    return critical_lam(4, alpha, covariance=covariance, dim=3)


def names(number, message):
    """Whether the message holds the number, to the three digits that a reader needs."""
    found = re.findall(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", message)
    return any(float(text) == pytest.approx(number, rel=5e-3) for text in found)


@per_class
@pytest.mark.parametrize("alpha", [1.0, 3.0])
@pytest.mark.parametrize("update", ["both", "covariances"])
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_from_critical_lam_on_there_is_a_warning(data, covariance, alpha, update, factor):
    lam = factor * critical(covariance, alpha)
    with pytest.warns(UnboundedObjectiveWarning) as caught:
        fit_fixed_point(
            *data, lam, covariance=covariance, alpha=alpha, update=update, tol=0, max_iter=1
        )
    message = str(caught[0].message)
    assert "tied=True" in message
    assert names(critical(covariance, alpha), message), message


@per_class
@pytest.mark.parametrize(
    ("factor", "options"),
    [
        (0.99, {}),
        (100.0, {"tied": True}),
        (100.0, {"update": "means"}),
        (100.0, {"pi": "initial"}),
        (100.0, {"pi": 2.0}),
    ],
    ids=["below", "tied", "means only", "initial", "a number"],
)
def test_no_warning_where_a_minimum_is_certain(data, covariance, factor, options):
    # Warnings are errors in this suite.
    lam = factor * critical(covariance)
    fit_fixed_point(*data, lam, covariance=covariance, tol=0, max_iter=3, **options)


def test_a_runaway_gives_one_warning_that_begins_with_the_remedy():
    wine = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_wine
    X, y = wine(return_X_y=True)
    with pytest.warns(UnboundedObjectiveWarning) as caught:
        result = fit_fixed_point(X, y, 10.0)
    assert result.status == "unbounded"
    (warning,) = caught
    message = str(warning.message)
    assert message.startswith('pass tied=True, or else update="means", pi="initial" or a smaller ')
    assert f"after {result.n_iter} evaluations at lam=10, {Status.UNBOUNDED.message}" in message
    assert names(critical_lam(3), message)
    z, y = blobs(4, 3, 30, seed=2, spread=0.5)
    with pytest.warns(UnboundedObjectiveWarning) as caught:
        fit_fixed_point(z, y, 100.0, pi="mean")  # there is no lam* to be past
    assert len(caught) == 1
    assert str(caught[0].message).startswith("pass tied=True")


def test_past_critical_lam_a_fit_that_does_not_run_away_says_so_beside_how_it_ended(data):
    with pytest.warns() as caught:
        fit_fixed_point(*data, 50.0 * critical("diagonal"), max_iter=1)
    kinds = [warning.category for warning in caught]
    assert kinds == [UnboundedObjectiveWarning, ConvergenceWarning]
    assert all("lam=" in str(warning.message) for warning in caught)


@per_class
def test_overlapping_classes_run_away_past_critical_lam(xp, covariance):
    z, y = blobs(4, 3, 30, seed=2, spread=0.5)
    with pytest.warns(UnboundedObjectiveWarning):
        result = fit_fixed_point(
            asarray_in(xp, z), y, 3 * critical(covariance), covariance=covariance
        )
    assert result.status == "unbounded"
    assert not result.converged
    assert_finite_and_spd(result)


@pytest.mark.parametrize("covariance", ["diagonal", "dense"])
def test_separated_classes_keep_a_local_minimum_past_critical_lam(covariance):
    z, y = blobs(4, 3, 30, seed=3, spread=30.0)
    lam = 20 * critical(covariance)
    with pytest.warns(UnboundedObjectiveWarning):
        result = fit_fixed_point(z, y, lam, covariance=covariance)
    assert result.status == "converged"
    problem = problem_of(result, z, y, lam, covariance=covariance)
    assert problem.gradient_excess(*point(result), 1e-6) <= 1


@family
@settings(max_examples=5)
@given(seed=st.integers(0, 10_000), power=st.floats(1, 8))
def test_never_unbounded_where_a_minimum_is_certain(covariance, tied, seed, power):
    z, y = blobs(4, 3, 20, seed=seed, spread=0.3)
    below = 0.97 * critical(covariance)
    fits = [(10.0**power, {"pi": "initial"}), (10.0**power, {"update": "means"})]
    fits.append((10.0**power if tied else below, {"pi": "forward"}))
    for lam, options in fits:
        with quiet():
            result = fit_fixed_point(
                z, y, lam, covariance=covariance, tied=tied, max_iter=150, **options
            )
        assert result.status in {"converged", "max_iter", "stalled"}, options
        assert_finite_and_spd(result)


def test_picard_that_leaves_the_numbers_is_diverged():
    z, y = blobs(4, 3, 30, seed=4, spread=1.5)
    with pytest.warns(ConvergenceWarning):
        result = fit_fixed_point(z, y, 1000.0, tied=True, solver="picard")
    assert result.status == "diverged"
    assert not result.converged
    assert 0 < result.n_iter < 1000
    assert_finite_and_spd(result)
    for name, values in result.history.items():
        assert np.isfinite(to_numpy(values)).all(), name
    # The last good iterate: the history's last entry is of the Gaussians returned.
    problem = Problem(z, y, 1000.0, "diagonal", True)
    assert float(to_numpy(result.history["objective"])[-1]) == pytest.approx(
        problem.objective(*point(result)), rel=1e-6
    )


# ------------------------------------------------------------------ shrinkage


def shrunk(matrix, n_samples, shrinkage, covariance):
    """Toward tr(C)/d I; "oas" by the formula of sklearn.covariance.OAS, with n = N_y."""
    dim = len(matrix)
    if covariance == "diagonal":
        matrix = np.diag(np.diagonal(matrix))
    level = np.trace(matrix) / dim
    if shrinkage == "oas":
        # tr C^2 / d^2; where C is diagonal, tr C^2 is the sum of the squared variances.
        square = (matrix**2).mean()
        part = (n_samples + 1) * (square - level**2 / dim)
        shrinkage = 1.0 if part == 0 else min((square + level**2) / part, 1.0)
    return (1 - shrinkage) * matrix + shrinkage * level * np.eye(dim)


@family
@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0, "oas"])
def test_shrinkage_toward_the_scaled_identity(xp, covariance, tied, shrinkage):
    rng = np.random.default_rng(0)
    # Sizes differ, so that n = N_y and the pooling in equal shares both show.
    sizes = [8, 20, 60]
    y = np.repeat(np.arange(3), sizes)
    mixing = np.eye(3) + 0.4 * rng.standard_normal((3, 3, 3))
    z = np.einsum("nij,nj->ni", mixing[y], rng.standard_normal((88, 3))) + y[:, None]
    result = fit_fixed_point(
        asarray_in(xp, z), y, 0.0, covariance=covariance, tied=tied, shrinkage=shrinkage
    )
    classes = [np.cov(z[y == k].T, bias=True) for k in range(3)]
    expected = np.stack(
        [shrunk(c, n, shrinkage, covariance) for c, n in zip(classes, sizes, strict=True)]
    )
    expected = to_family(expected, covariance, tied=tied)
    np.testing.assert_allclose(point(result)[1], expected, rtol=1e-12, atol=1e-13)


def test_shrinkage_moves_the_fit_at_positive_lam(data):
    z, y = data
    ends = {s: fit_fixed_point(z, y, 2.0, covariance="dense", shrinkage=s) for s in (0.0, 0.5)}
    problem = Problem(z, y, 2.0, "dense")
    assert distance(problem, point(ends[0.0]), point(ends[0.5])) > 1e-2


def test_a_result_says_its_lam_and_older_pickles_load(data):
    result = fit_fixed_point(*data, 2.0)
    assert result.lam == 2.0
    assert repr(result).startswith("FixedPointResult(lam=2, status='converged', n_iter=")
    again = pickle.loads(pickle.dumps(result))
    assert again.lam == 2.0 and repr(again) == repr(result)
    old = copy.copy(result)
    del old.__dict__["lam"]  # as it was pickled
    loaded = pickle.loads(pickle.dumps(old))
    assert loaded.lam is None
    assert repr(loaded).startswith("FixedPointResult(status='converged', n_iter=")


def test_a_running_result_says_its_lam_too(data):
    seen = []
    fit_fixed_point(*data, 1e4, tied=True, callback=lambda running: seen.append(running.lam))
    assert set(seen) == {1e4}
