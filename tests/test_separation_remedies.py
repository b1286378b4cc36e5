"""What a search for a separation reaches, and whether the remedies that its errors name help."""

import re

import numpy as np
import pytest
from problems import quiet

from fpigauss import (
    ClassStatistics,
    SeparatedResult,
    UnreachableSeparationError,
    fit_fixed_point,
    fit_separated,
    smallest_kld,
    solve_separated,
)
from fpigauss.errors import InvalidInputError


def nearby_classes():
    """Two classes .2 nats apart, where a shared covariance has axes that only the data hold."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 50)
    z = rng.normal(size=(100, 4))
    z[:, 0] += 0.6 * y
    return z, y


def four_classes():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 20)
    return rng.normal(size=(80, 3)) + rng.normal(size=(4, 3))[y], y


# -- targets beyond the lam at which a cold fit can start --------------------------------------


@pytest.mark.parametrize(
    ("target", "pi"), [(10.0, "initial"), (10.0, 0.2), (50.0, "initial"), (130.0, 0.2)]
)
def test_warm_starts_go_on_where_cold_ones_cannot_begin(target, pi):
    z, y = nearby_classes()
    found = fit_separated(z, y, min_kld=target, covariance="dense", pi=pi)
    assert target <= smallest_kld(found.gaussians) <= 1.05 * target
    assert found.result.converged
    assert np.linalg.cond(found.gaussians.covariances) < 100.0
    with pytest.raises(InvalidInputError, match="reach this one by warm starts"):
        fit_fixed_point(z, y, found.lam, covariance="dense", tied=True, pi=float(found.result.pi))


def test_a_fit_where_cold_ones_cannot_begin_is_reached_as_the_error_says():
    z, y = nearby_classes()
    options = {"covariance": "dense", "tied": True, "pi": 0.2}
    result = fit_fixed_point(z, y, 1e15, **options)
    result = fit_fixed_point(z, y, 1e22, init=result.gaussians, **options)
    assert result.converged
    # the repulsion falls by e for each .2 nats
    found = fit_separated(z, y, min_kld=smallest_kld(result.gaussians), **options)
    assert np.log(found.lam / result.lam) == pytest.approx(
        (found.value - smallest_kld(result.gaussians)) / 0.2, rel=0.02, abs=0.02
    )


def test_other_targets_and_statistics_are_searched_alike():
    z, y = nearby_classes()
    options = {"covariance": "dense", "pi": "initial"}
    found = fit_separated(z, y, max_overlap=0.005, **options)
    assert 0.005**1.05 <= found.value <= 0.005
    statistics = ClassStatistics.from_samples(z, y, covariance="dense")
    per_dim = solve_separated(statistics, per_dim=2.5, **options)
    assert 2.5 <= per_dim.value <= 1.05 * 2.5
    assert per_dim.lam == solve_separated(statistics, min_kld=10.0, **options).lam


def test_a_first_guess_that_is_far_off_does_not_end_the_search():
    z, y = four_classes()
    near_zero = fit_fixed_point(z, y, 1e-3, tied=True).gaussians
    for options in ({"init": near_zero}, {}):
        found = fit_separated(z, y, min_kld=1e12, **options)
        assert 1e12 <= found.value <= 1.05e12


@pytest.mark.parametrize(("target", "alpha"), [(10.0, 1e280), (10.0, 1e300), (1e14, 1e270)])
def test_a_large_lam_that_does_not_overflow_is_tried(target, alpha):
    found = fit_separated(*nearby_classes(), min_kld=target, alpha=alpha)
    assert target <= found.value <= 1.05 * target
    assert found.result.converged


# -- remedies ----------------------------------------------------------------------------------


def outcome(data, options):
    with quiet():
        try:
            return fit_separated(*data, **options)
        except UnreachableSeparationError as error:
            return error


def remedies_of(error, options):
    """The options that follow each remedy of an error, by a phrase that is in the message."""
    named = str(error).rsplit("; ", 1)[1]
    followed = {
        "raise max_iter": {"max_iter": 20000},
        "raise tol": {"tol": 1e-2},
        "lower tol": {"tol": 1e-6},
        "tied=True": {"tied": True, "equations": "stationary"},
        'update="means"': {"update": "means"},
        'equations="stationary"': {"equations": "stationary", "tied": True},
        "ask for less": {"min_kld": 0.97 * error.value},
    }
    alpha = re.search(r"(raise|lower) alpha to ([^ ,]+)", named)
    if alpha is not None:
        assert (float(alpha[2]) > options.get("alpha", 1.0)) == (alpha[1] == "raise")
        followed[f"{alpha[1]} alpha"] = {"alpha": float(alpha[2])}
    return {name: change for name, change in followed.items() if name in named}


HARD = [
    {"min_kld": target, "covariance": covariance, "pi": pi, "alpha": alpha}
    for covariance in ("dense", "isotropic")
    for pi in ("forward", 0.2)
    for target, alpha in ((10.0, 1e-3), (150.0, 1e-3), (1e3, 1e306))
]
HARD += [
    {"min_kld": 130.0, "pi": 0.2},
    {"min_kld": 1e3, "pi": "mean", "alpha": 1e-3},
    {"min_kld": 1e60, "covariance": "dense", "max_iter": 100},
    {"min_kld": 1e60, "pi": 0.2, "alpha": 1e60, "max_iter": 100},
    {"min_kld": 30.0, "max_iter": 2},
    {"min_kld": 30.0, "max_iter": 12, "covariance": "dense"},
    {"min_kld": 30.0, "tol": 10.0},
    {"min_kld": 30.0, "tol": 1e-17, "max_iter": 100},
    {"min_kld": 50.0, "tied": False},
    {"min_kld": 50.0, "tied": False, "covariance": "isotropic", "pi": 0.2},
    {"min_kld": 50.0, "tied": False, "pi": "mean", "alpha": 1e-2, "max_iter": 300},
    {"min_kld": 50.0, "equations": "printed", "tied": False, "max_iter": 300},
    {"min_kld": 50.0, "equations": "released", "tied": False, "max_iter": 300},
    {"min_kld": 50.0, "update": "means", "pi": 0.2, "alpha": 0.1},
]


@pytest.mark.parametrize("data", [nearby_classes, four_classes])
@pytest.mark.parametrize("options", HARD, ids=str)
def test_a_remedy_helps_or_leads_to_another_obstacle(data, options):
    error = outcome(data(), options)
    if isinstance(error, SeparatedResult):
        return
    remedies = remedies_of(error, options)
    assert remedies
    for name, change in remedies.items():
        then = outcome(data(), {**options, **change})
        if isinstance(then, UnreachableSeparationError):
            assert name not in str(then)
            assert name != "ask for less"


@pytest.mark.parametrize(
    ("options", "verb", "alpha"),
    [
        ({"min_kld": 1e3, "alpha": 1e-3}, "raise", 1.0),
        ({"min_kld": 1e3, "alpha": 1e306}, "lower", 1.0),
        ({"min_kld": 1e3, "pi": 0.2}, "raise", 5100.0),
        ({"min_kld": 1e3, "pi": 0.2, "alpha": 1e306}, "lower", 5100.0),
        ({"min_kld": 150.0, "pi": 0.2, "covariance": "dense"}, "raise", 770.0),
    ],
)
def test_the_alpha_that_is_named_meets_the_target(options, verb, alpha):
    error = outcome(nearby_classes(), options)
    assert f"; {verb} alpha to {alpha:g}, or ask for less" in str(error)
    found = outcome(nearby_classes(), {**options, "alpha": alpha})
    assert options["min_kld"] <= found.value <= 1.05 * options["min_kld"]
    assert found.result.converged


def test_no_alpha_is_named_where_none_helps():
    error = outcome(nearby_classes(), {"min_kld": 1e300, "max_iter": 100})
    assert "alpha" not in str(error)
