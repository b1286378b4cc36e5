"""Gaussians as far apart as asked: the target is met within its band, or an error says why not."""

import math
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers import (
    FAMILIES,
    FAMILY_IDS,
    affine_map,
    asarray_in,
    dtype_name,
    in_namespace,
    mapped,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import gaussian_classes, quiet

from fpigauss import (
    ClassStatistics,
    ConvergenceWarning,
    FixedPoint,
    InvalidInputError,
    UnboundedObjectiveWarning,
    UnknownOptionError,
    UnreachableSeparationError,
    critical_lam,
    fit_separated,
    pairwise_overlap,
    smallest_kld,
    solve_fixed_point,
    solve_separated,
)
from fpigauss.interface import SmallestKLD, separated, separation_of

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
shape = pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
seeds = st.integers(0, 10_000)


def data(seed, n_classes=5, dim=4):
    return gaussian_classes(seed, n_classes, dim, 60)


def statistics_of(seed, n_classes=5, dim=4):
    return ClassStatistics.from_samples(*data(seed, n_classes, dim), covariance="dense")


def in_band(value, target):
    return target <= value <= 1.05 * target


# -- what is asked for is met --------------------------------------------------------------


@shape
@settings(max_examples=8)
@given(
    seed=seeds,
    n_classes=st.integers(2, 6),
    dim=st.integers(1, 5),
    factor=st.floats(1.5, 300.0),
    pi=st.sampled_from(["forward", "initial", "mean", 20.0]),
    alpha=st.floats(0.3, 10.0),
)
def test_tied_families_meet_every_target(covariance, seed, n_classes, dim, factor, pi, alpha):
    statistics = statistics_of(seed, n_classes, dim)
    options = {"covariance": covariance, "pi": pi, "alpha": alpha}
    data_kld = smallest_kld(solve_fixed_point(statistics, 0.0, tied=True, **options).gaussians)
    target = factor * data_kld
    # what a bounded repulsion reaches grows with log lam: keep lam within the floating numbers
    if pi in ("initial", 20.0):
        mean = 20.0 if pi == 20.0 else solve_fixed_point(statistics, 0.0, tied=True, **options).pi
        target = min(target, data_kld + 20.0 * alpha * mean)
    found = solve_separated(statistics, min_kld=target, **options)
    assert in_band(smallest_kld(found.gaussians), target)
    assert found.value == smallest_kld(found.gaussians)
    assert found.result.converged
    assert found.lam > 0.0


@shape
@settings(max_examples=6)
@given(seed=seeds, targets=st.lists(st.floats(2.0, 500.0), min_size=2, max_size=3, unique=True))
def test_lam_grows_with_the_target(covariance, seed, targets):
    statistics = statistics_of(seed)
    ordered = sorted(targets)
    lams = [solve_separated(statistics, min_kld=t, covariance=covariance).lam for t in ordered]
    for (before, lower), (after, upper) in zip(
        zip(ordered, lams, strict=True), zip(ordered[1:], lams[1:], strict=True), strict=False
    ):
        if upper > 0.0 and after > 1.05 * before:  # bands that do not touch
            assert lower < upper


@shape
@settings(max_examples=5)
@given(seed=seeds)
def test_equivariance(covariance, seed):
    z, y = data(seed, 4, 3)
    rng = np.random.default_rng(seed)
    matrix, shift = affine_map(rng, 3, covariance), 10 * rng.standard_normal(3)
    one = fit_separated(z, y, min_kld=40.0, covariance=covariance, tol=1e-9)
    other = fit_separated(z @ matrix.T + shift, y, min_kld=40.0, covariance=covariance, tol=1e-9)
    # trials are solved to 1e-2 on paths that differ by rounding: lam agrees to what that leaves
    assert other.lam == pytest.approx(one.lam, rel=1e-6)
    means, covariances = mapped(
        matrix, shift, one.gaussians.means, one.gaussians.covariances, covariance
    )
    np.testing.assert_allclose(other.gaussians.means, means, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other.gaussians.covariances, covariances, rtol=1e-4, atol=1e-6)


@shape
@settings(max_examples=5)
@given(seed=seeds)
def test_permuted_classes(covariance, seed):
    z, y = data(seed, 4, 3)
    order = np.random.default_rng(seed).permutation(4)
    one = fit_separated(z, y, min_kld=40.0, covariance=covariance, tol=1e-9)
    other = fit_separated(z, order[y], min_kld=40.0, covariance=covariance, tol=1e-9)
    assert other.lam == pytest.approx(one.lam, rel=1e-6)
    np.testing.assert_allclose(other.gaussians.means[order], one.gaussians.means, atol=1e-4)


# -- twenty problems in six families, and digits -------------------------------------------


def found_or_error(statistics, target, options):
    try:
        with quiet():  # a local minimum may survive past lam*, which is then warned of
            return solve_separated(statistics, min_kld=target, **options)
    except UnreachableSeparationError as error:
        return error


@pytest.mark.parametrize("pi", ["forward", "initial"])
@family
def test_twenty_problems(covariance, tied, pi):
    ratios = []
    for seed in range(20):
        statistics = statistics_of(seed)
        options = {"covariance": covariance, "tied": tied, "pi": pi}
        data_kld = smallest_kld(solve_fixed_point(statistics, 0.0, **options).gaussians)
        target = 50.0 if tied and pi == "forward" else 1.5 * data_kld
        found = found_or_error(statistics, target, options)
        if isinstance(found, UnreachableSeparationError):
            assert not tied
            assert 0.0 < found.value < target
            assert "tied=True" in str(found)
            ends = {trial.status for trial in found.path}
            assert "unbounded" in ends or "jump" in str(found), str(found)
            continue
        assert in_band(found.value, target), (seed, found)
        assert found.result.converged
        pi_number = pi if found.result.pi is None else found.result.pi
        with quiet():
            cold = solve_fixed_point(
                statistics, found.lam, covariance=covariance, tied=tied, pi=pi_number
            )
        ratios.append(found.n_iter / max(1, cold.n_iter))
    if tied:
        assert len(ratios) == 20
        assert np.median(ratios) <= 3.0, ratios
    else:
        assert len(ratios) >= 12  # 1.5 times the data's own KLD, mostly below lam*


@pytest.mark.parametrize("target", [50.0, 150.0])
@shape
def test_digits(covariance, target):
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    z, y = datasets.load_digits(return_X_y=True)
    z = (z - z.mean(axis=0)) @ np.linalg.svd(z - z.mean(axis=0), full_matrices=False)[2][:16].T
    found = fit_separated(z, y, min_kld=target, covariance=covariance)
    assert in_band(smallest_kld(found.gaussians), target)
    assert len(found.path) <= 10
    cold = solve_fixed_point(
        ClassStatistics.from_samples(z, y, covariance="dense"),
        found.lam,
        covariance=covariance,
        tied=True,
    )
    assert smallest_kld(cold.gaussians) == pytest.approx(found.value, rel=1e-3)
    assert found.n_iter <= 3 * cold.n_iter


# -- the targets ---------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [0.3, 1e-3, 1e-18, 1e-300])
def test_overlap_of_tied_families(overlap):
    found = solve_separated(statistics_of(0), max_overlap=overlap)
    others = ~np.eye(5, dtype=bool)
    largest = pairwise_overlap(found.gaussians, log=True)[others].max()
    assert 1.05 * math.log(overlap) <= largest <= math.log(overlap)
    assert found.value == pytest.approx(math.exp(largest))


def test_overlap_of_other_families_is_the_bound():
    statistics = statistics_of(0)
    others = ~np.eye(5, dtype=bool)
    before = solve_fixed_point(statistics, 0.0).gaussians
    overlap = pairwise_overlap(before)[others].max() ** 1.3
    found = solve_separated(statistics, max_overlap=overlap, tied=False)
    largest = pairwise_overlap(found.gaussians)[others].max()
    assert overlap**1.05 <= largest <= overlap


def test_nats_per_dimension():
    found = solve_separated(statistics_of(0), per_dim=2.5)
    assert in_band(smallest_kld(found.gaussians) / 4, 2.5)
    assert found.value == pytest.approx(smallest_kld(found.gaussians) / 4)


@pytest.mark.parametrize(
    "target", [{"min_kld": 0.1}, {"max_overlap": 1.0}, {"max_overlap": 0.99}, {"per_dim": 1e-3}]
)
def test_met_without_repulsion(target):
    found = solve_separated(statistics_of(0), **target)
    assert found.lam == 0.0
    assert found.without_repulsion
    assert "without repulsion (lam=0)" in found.message
    assert len(found.path) == 1
    np.testing.assert_array_equal(found.gaussians.means, statistics_of(0).means)


def test_the_registry():
    assert separation_of({"min_kld": 5, "per_dim": None}) == SmallestKLD(5.0)
    target = SmallestKLD(5.0)
    gaussians = solve_fixed_point(statistics_of(0), 100.0, tied=True).gaussians
    assert target.met(gaussians)
    assert target.value(gaussians) == smallest_kld(gaussians)
    assert not SmallestKLD(1e4).met(gaussians)


# -- what comes back -----------------------------------------------------------------------


def test_the_result():
    statistics = statistics_of(1)
    found = solve_separated(statistics, min_kld=50.0)
    assert found.path[0][:2] == (
        0.0,
        smallest_kld(solve_fixed_point(statistics, 0.0, tied=True).gaussians),
    )
    assert found.path[-1] == (found.lam, found.value, "converged", found.result.n_iter)
    assert found.n_iter == sum(trial.n_iter for trial in found.path)
    assert found.gaussians is found.result.gaussians
    assert not found.without_repulsion
    assert f"at lam={found.lam:.6g}" in found.message
    assert repr(found).startswith("SeparatedResult(lam=")
    again = pickle.loads(pickle.dumps(found))
    assert again.path == found.path
    with pytest.raises(AttributeError):
        found.lam = 1.0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_namespace(xp, dtype):
    z, y = data(2)
    found = fit_separated(asarray_in(xp, z, dtype), y, min_kld=50.0)
    assert in_namespace(found.gaussians.means, xp)
    assert dtype_name(found.gaussians.means) == dtype
    assert in_band(smallest_kld(found.gaussians), 50.0)
    reference = fit_separated(z, y, min_kld=50.0)
    assert found.lam == pytest.approx(reference.lam, rel=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_meets_the_target_as_returned(torch, dtype):
    z, y = data(2)
    latents = torch.asarray(z, dtype=getattr(torch, dtype))
    found = fit_separated(latents, y, min_kld=50.0)
    assert found.gaussians.means.dtype == latents.dtype
    assert in_band(smallest_kld(found.gaussians), 50.0)


def test_samples_and_statistics_and_weights_agree():
    z, y = data(3)
    weight = np.arange(len(y)) % 3 + 1.0
    one = fit_separated(z, y, min_kld=50.0, sample_weight=weight)
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    other = fit_separated(z[rows], y[rows], min_kld=50.0)
    statistics = ClassStatistics.from_samples(z, y, sample_weight=weight)
    assert solve_separated(statistics, min_kld=50.0).lam == one.lam
    assert other.lam == pytest.approx(one.lam, rel=1e-6)


def test_data_are_read_once():
    z, y = data(3)

    class Once:
        shape, dtype, ndim = z.shape, z.dtype, 2
        reads = 0

        def __array__(self, dtype=None, copy=None):
            Once.reads += 1
            return z

    fit_separated(Once(), y, min_kld=50.0)
    assert Once.reads == 1


# -- options pass through ------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"update": "means"},
        {"update": "means", "tied": False},
        {"update": "covariances"},
        {"init": "identity"},
        {"shrinkage": 0.3, "covariance": "dense"},
        {"solver": "guarded"},
        {"solver": "picard"},
        {"equations": "released", "tied": False, "alpha": 10.0},
        {"pi": lambda kld: 1.0 + (kld + kld.T) / 2},
    ],
    ids=lambda options: "-".join(options),
)
def test_options(options):
    found = solve_separated(statistics_of(4), min_kld=30.0, **options)
    assert in_band(found.value, 30.0)
    given = {"tied": True, **options}
    if "init" not in given:
        given["init"] = found.gaussians
        again = solve_fixed_point(statistics_of(4), found.lam, **given)
        assert smallest_kld(again.gaussians) == pytest.approx(found.value, rel=1e-3)


def test_what_is_not_updated_stays():
    statistics = statistics_of(4)
    found = solve_separated(statistics, min_kld=30.0, update="means", tied=False)
    np.testing.assert_array_equal(
        found.gaussians.covariances, solve_fixed_point(statistics, 0.0).gaussians.covariances
    )
    found = solve_separated(statistics, min_kld=30.0, update="covariances")
    np.testing.assert_array_equal(found.gaussians.means, statistics.means)


def test_printed_equations_reach_what_they_can():
    found = solve_separated(statistics_of(4), min_kld=1.3, equations="printed", tied=False)
    assert in_band(found.value, 1.3) or found.without_repulsion
    with pytest.raises(UnreachableSeparationError, match='tied=True and equations="stationary"'):
        solve_separated(statistics_of(4), min_kld=500.0, equations="printed", tied=False)


@pytest.mark.parametrize("equations", ["printed", "released"])
def test_equations_of_per_class_families_ask_for_them(equations):
    with pytest.raises(InvalidInputError, match="tied=False"):
        solve_separated(statistics_of(4), min_kld=5.0, equations=equations)


def test_initial_pi_is_that_of_the_first_cold_start():
    statistics = statistics_of(5)
    cold = solve_fixed_point(statistics, 100.0, tied=True, pi="initial")
    found = solve_separated(statistics, min_kld=30.0, pi="initial")
    assert found.result.pi == cold.pi


def test_warm_starts_and_near():
    statistics = statistics_of(5)
    cold = solve_separated(statistics, min_kld=150.0)
    for lam in (0.0, 10.0, 1e4):
        init = solve_fixed_point(statistics, lam, tied=True).gaussians
        warm = solve_separated(statistics, min_kld=150.0, init=init)
        assert in_band(warm.value, 150.0)
    options = FixedPoint(tied=True, init=cold.gaussians)
    near = separated(statistics, options, SmallestKLD(150.0), near=cold.lam)
    assert in_band(near.value, 150.0)
    assert len(near.path) <= 3
    with pytest.raises(InvalidInputError, match="near is -1"):
        separated(statistics, options, SmallestKLD(150.0), near=-1.0)
    with pytest.raises(InvalidInputError, match="lam is 3, but min_kld is to find one"):
        separated(statistics, replace(options, lam=3.0), SmallestKLD(150.0))


def test_pairs_of_held_classes_do_not_count():
    # classes 0 and 1 are close, and so are no others
    means = np.array([[0.0, 0.0], [0.1, 0.0], [30.0, 0.0], [0.0, 30.0]])
    statistics = ClassStatistics(
        counts=[9] * 4, means=means, covariances=np.ones((4, 2)), classes=[0, 1, 2, 3]
    )
    init = solve_fixed_point(statistics, 0.0, tied=True).gaussians
    frozen = FixedPoint(tied=True, init=init, frozen=(0, 1))
    found = separated(statistics, frozen, SmallestKLD(400.0))
    assert found.without_repulsion
    assert separated(statistics, FixedPoint(tied=True), SmallestKLD(400.0)).lam > 0.0


def test_a_callback_sees_every_fit_and_can_stop_the_search():
    seen = []
    statistics = statistics_of(5)
    found = solve_separated(statistics, min_kld=50.0, callback=seen.append)
    assert len(seen) >= len(found.path) - 1

    def stop(result):
        raise StopIteration

    stopped = solve_separated(statistics, min_kld=50.0, callback=stop)
    assert stopped.result.status == "stopped"
    assert len(stopped.path) == 2


def test_progress_shows_one_bar(capfd):
    solve_separated(statistics_of(5), min_kld=50.0, progress=True)
    assert "separation" in capfd.readouterr().err


def test_two_classes_and_one_dimension():
    found = solve_separated(statistics_of(6, 2, 1), min_kld=50.0)
    assert in_band(found.value, 50.0)


# -- warnings and errors -------------------------------------------------------------------


def test_only_the_last_fit_warns():
    statistics = statistics_of(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = solve_separated(statistics, min_kld=50.0, max_iter=8)
    assert len(caught) <= 1
    assert any(trial.status == "max_iter" for trial in found.path)
    assert all(w.category is ConvergenceWarning and w.filename == __file__ for w in caught)


def test_past_critical_lam():
    statistics = statistics_of(0)
    with pytest.raises(UnreachableSeparationError) as caught:
        solve_separated(statistics, min_kld=50.0, tied=False)
    error = caught.value
    assert "lam tried gives a smallest KLD of at least 50 nats" in str(error)
    assert 'fits end "unbounded"' in str(error)
    assert "pass tied=True" in str(error)
    assert error.lam > 0.9 * critical_lam(5)
    with quiet():
        cold = solve_fixed_point(statistics, error.lam)  # not what a loose fit seemed to reach
    assert cold.converged
    assert error.value == pytest.approx(smallest_kld(cold.gaussians), rel=1e-3)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.value, again.lam, again.path) == (
        str(error),
        error.value,
        error.lam,
        error.path,
    )


def test_where_solutions_jump_both_branches_are_followed():
    # pi="initial", per class: at lam = 10 a class inflates, and the KLD jumps from 1.5 to 5
    statistics = statistics_of(0)
    found = solve_separated(statistics, min_kld=3.0, tied=False, pi="initial")
    assert in_band(found.value, 3.0)
    with pytest.raises(UnreachableSeparationError, match=r"the fits jump from .* nats at lam="):
        solve_separated(statistics, min_kld=2.2, tied=False, pi="initial")


def test_no_evaluations():
    with pytest.raises(UnreachableSeparationError, match="raise max_iter, or ask for less"):
        solve_separated(statistics_of(0), min_kld=50.0, max_iter=0)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, "no target is given; pass one of min_kld, max_overlap, per_dim"),
        ({"min_kld": 1.0, "per_dim": 1.0}, "min_kld and per_dim are given; pass only one"),
        ({"min_kld": -1.0}, "min_kld is -1; pass a finite number > 0"),
        ({"min_kld": 0.0}, "min_kld is 0; pass a finite number > 0"),
        ({"min_kld": math.nan}, "min_kld is NaN; pass a real number"),
        ({"min_kld": math.inf}, "min_kld is inf; pass a finite number > 0"),
        ({"min_kld": "far"}, "min_kld is 'far', not a number"),
        ({"min_kld": True}, "min_kld is True, not a number"),
        ({"per_dim": 0.0}, "per_dim is 0; pass a finite number > 0"),
        ({"max_overlap": 0.0}, r"max_overlap is 0; pass a probability in \(0, 1\]"),
        ({"max_overlap": 1.5}, r"max_overlap is 1.5; pass a probability in \(0, 1\]"),
        ({"max_overlap": math.nan}, "max_overlap is NaN; pass a real number"),
        ({"min_kld": 1.0, "lam": 3.0}, "lam is given, but fit_separated finds it"),
        ({"min_kld": 1.0, "covariance": "round"}, "covariance is 'round'"),
        ({"min_kld": 1.0, "max_iter": -1}, "max_iter is -1"),
    ],
)
def test_bad_input(target, message):
    class Unread:
        def __array__(self, dtype=None, copy=None):
            raise AssertionError("read before the options were checked")

    with pytest.raises(InvalidInputError, match=message):
        fit_separated(Unread(), [0, 1], **target)
    with pytest.raises(InvalidInputError, match=message):
        solve_separated(None, **target)


def test_unknown_names():
    with pytest.raises(UnknownOptionError, match="did you mean min_kld"):
        solve_separated(statistics_of(0), min_kdl=3.0)
    with pytest.raises(InvalidInputError, match="statistics is a ndarray"):
        solve_separated(np.eye(2), min_kld=3.0)


def test_equal_classes_are_refused():
    z, y = data(0)
    with pytest.raises(InvalidInputError, match="have the same initial Gaussian"):
        fit_separated(np.concatenate([z, z]), np.concatenate([y, y + 5]), min_kld=3.0)


def test_past_the_numbers():
    with quiet(), pytest.raises((UnreachableSeparationError, InvalidInputError)):
        solve_separated(statistics_of(0), min_kld=1e300)
    with quiet():
        assert in_band(solve_separated(statistics_of(0), min_kld=1e6).value, 1e6)
    assert issubclass(UnboundedObjectiveWarning, UserWarning)
