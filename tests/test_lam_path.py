"""Fits along a path of lam: the same solutions as cold starts, for less."""

import sys
from types import ModuleType

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, affine_map, asarray_in, in_namespace
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import gaussian_classes, quiet
from sklearn.datasets import load_wine

from fpigauss import (
    ConvergenceWarning,
    InvalidInputError,
    LamPath,
    UnboundedObjectiveWarning,
    UnknownOptionError,
    critical_lam,
    fit_fixed_point,
    lam_path,
    pairwise_kld,
    pairwise_overlap,
)

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
seeds = st.integers(0, 10_000)


def data(seed, n_classes=5, dim=4):
    return gaussian_classes(seed, n_classes, dim, 60)


def cold_fits(z, y, path, **options):
    return [fit_fixed_point(z, y, lam, **options) for lam in path.lam]


# -- the same as cold starts ---------------------------------------------------------------


@family
@settings(max_examples=4)
@given(seed=seeds, lams=st.lists(st.floats(0.0, 6.0), min_size=1, max_size=5))
def test_every_fit_is_that_of_a_cold_start(covariance, tied, seed, lams):
    z, y = data(seed)
    options = {"covariance": covariance, "tied": tied, "tol": 1e-8}
    path = lam_path(z, y, lams, **options)
    assert list(path.lam) == sorted(lams)
    for k, cold in enumerate(cold_fits(z, y, path, **options)):
        objective = path.likelihood[k] + path.repulsion[k]
        assert objective == pytest.approx(cold.objective, rel=1e-9, abs=1e-9)
        assert path.status[k] == cold.status == "converged"


@family
def test_columns_are_what_the_gaussians_give(covariance, tied):
    z, y = data(0)
    path = lam_path(z, y, [0.0, 1.0, 3.0], covariance=covariance, tied=tied)
    others = ~np.eye(5, dtype=bool)
    for k, gaussians in enumerate(path.gaussians):
        kld, overlap = pairwise_kld(gaussians)[others], pairwise_overlap(gaussians)[others]
        assert path.smallest_kld[k] == pytest.approx(kld.min())
        assert path.median_kld[k] == pytest.approx(np.median(kld))
        assert path.overlap[k] == pytest.approx(overlap.max())
        # the balanced negative log-likelihood, and lam times the mean of -exp(-1) log D
        own = [-gaussians.log_prob(z[y == label], y[y == label]).mean() for label in range(5)]
        assert path.likelihood[k] == pytest.approx(sum(own), rel=1e-9)
        repulsion = -path.lam[k] * np.exp(-1.0) * np.log(kld).mean()
        assert path.repulsion[k] == pytest.approx(repulsion, rel=1e-9, abs=1e-12)


def wine():
    z, y = load_wine(return_X_y=True)
    return (z - z.mean(axis=0)) / z.std(axis=0), y


def ratio_to_cold_starts(z, y, lams=None, **options):
    path = lam_path(z, y, lams, **options)
    assert set(path.status) == {"converged"}
    cold = cold_fits(z, y, path, **options)
    objective = [result.objective for result in cold]
    np.testing.assert_allclose(path.likelihood + path.repulsion, objective, rtol=1e-8)
    return path.n_iter.sum() / sum(result.n_iter for result in cold)


@pytest.mark.parametrize(("tied", "pi"), [(True, "forward"), (True, "initial"), (False, "forward")])
@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
def test_half_the_evaluations_of_cold_starts(covariance, tied, pi):
    problems = [wine(), data(0), data(1), gaussian_classes(0, 10, 8, 60)]
    options = {"covariance": covariance, "tied": tied, "pi": pi}
    ratios = [ratio_to_cold_starts(z, y, **options) for z, y in problems]
    assert np.median(ratios) <= (0.5 if covariance == "isotropic" else 0.4), ratios


def test_a_coarse_path_takes_no_more_than_cold_starts():
    for covariance in ("diagonal", "dense", "isotropic"):
        for tied, lams in ((False, np.geomspace(0.01, 6.0, 5)), (True, np.geomspace(1.0, 1e3, 4))):
            assert ratio_to_cold_starts(*data(0), lams=lams, covariance=covariance, tied=tied) < 0.9


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
@settings(max_examples=3)
@given(seed=seeds)
def test_equivariance(covariance, seed):
    z, y = data(seed, 4, 3)
    matrix = affine_map(np.random.default_rng(seed), 3, covariance)
    one = lam_path(z, y, np.geomspace(1.0, 100.0, 6), covariance=covariance, tied=True)
    other = lam_path(z @ matrix.T, y, one.lam, covariance=covariance, tied=True)
    np.testing.assert_allclose(other.smallest_kld, one.smallest_kld, rtol=1e-4)
    np.testing.assert_allclose(other.repulsion, one.repulsion, rtol=1e-4, atol=1e-6)


def test_jumps_begin_the_predictions_anew():
    # per class with pi="initial", a class inflates on the way
    z, y = data(0)
    path = lam_path(z, y, pi="initial")
    assert set(path.status) == {"converged"}
    cold = cold_fits(z, y, path, pi="initial")
    assert path.n_iter.sum() <= 0.6 * sum(result.n_iter for result in cold)


# -- what passes through -------------------------------------------------------------------


def test_default_grids():
    z, y = data(1)
    assert len(lam_path(z, y, tied=True)) == 34
    path = lam_path(z, y)
    assert path.lam[0] == 0.0
    assert path.lam[-1] == pytest.approx(0.95 * critical_lam(5))
    assert (np.diff(path.lam) > 0).all()


@pytest.mark.parametrize("held", ["means", "covariances"])
def test_what_is_not_updated_stays(held):
    z, y = data(1)
    update = "covariances" if held == "means" else "means"
    path = lam_path(z, y, [0.0, 1.0, 2.0, 4.0, 8.0], tied=True, update=update)
    for gaussians in path.gaussians[1:]:
        np.testing.assert_array_equal(getattr(gaussians, held), getattr(path.gaussians[0], held))


def test_initial_pi_is_that_of_the_first_cold_start():
    z, y = data(1)
    path = lam_path(z, y, [50.0, 60.0], tied=True, pi="initial")
    pi = fit_fixed_point(z, y, 50.0, tied=True, pi="initial").pi
    again = fit_fixed_point(z, y, 60.0, tied=True, pi=pi)
    assert path.likelihood[1] + path.repulsion[1] == pytest.approx(again.objective, rel=1e-9)


def test_every_namespace(xp):
    z, y = data(2)
    lams = [0.0, 1.0, 10.0, 30.0]
    held_out = data(3)
    reference = lam_path(z, y, lams, validation=held_out, tied=True, covariance="dense")
    validation = (asarray_in(xp, held_out[0]), held_out[1])
    path = lam_path(
        asarray_in(xp, z), y, lams, validation=validation, tied=True, covariance="dense"
    )
    assert in_namespace(path.gaussians[-1].means, xp)
    for name, column in reference.columns().items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(path.columns()[name], column, rtol=1e-4, err_msg=name)


def test_validation_is_scored_as_by_hand():
    z, y = data(4)
    path = lam_path(z, y, [0.0, 100.0], validation=(z, y), tied=True)
    for k, gaussians in enumerate(path.gaussians):
        posterior = gaussians.predict_proba(z)
        hits = posterior.argmax(axis=1) == y
        confidence = posterior.max(axis=1)
        bins = np.minimum((15 * confidence).astype(int), 14)
        gaps = [abs((hits - confidence)[bins == b].sum()) for b in range(15)]
        assert path.accuracy[k] == pytest.approx(hits.mean())
        assert path.nll[k] == pytest.approx(-np.log(posterior[np.arange(len(y)), y]).mean())
        assert path.ece[k] == pytest.approx(sum(gaps) / len(y))
    without = lam_path(z, y, [0.0], tied=True)
    assert (without.accuracy, without.nll, without.ece) == (None, None, None)
    assert "accuracy" not in without.columns()


def test_to_frame(monkeypatch):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    path = lam_path(*data(4), [0.0, 1.0], tied=True)
    frame = path.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["lam"]) == [0.0, 1.0]
    monkeypatch.setitem(sys.modules, "pandas", None)
    polars = ModuleType("polars")
    polars.DataFrame = dict
    monkeypatch.setitem(sys.modules, "polars", polars)
    assert list(path.to_frame()["lam"]) == [0.0, 1.0]
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ModuleNotFoundError, match="to_frame needs pandas or polars"):
        path.to_frame()


def test_repr_and_length():
    path = lam_path(*data(4), [0.0, 1.0], tied=True)
    assert isinstance(path, LamPath)
    assert len(path) == 2
    assert repr(path).startswith("LamPath(2 fits, lam=0 to 1, smallest_kld=")


def test_one_warning_of_a_kind():
    with pytest.warns(ConvergenceWarning, match="and 2 more like it; see status") as caught:
        path = lam_path(*data(4), [10.0, 20.0, 30.0], tied=True, max_iter=2)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert list(path.status) == ["max_iter"] * 3
    with pytest.warns(UnboundedObjectiveWarning):
        path = lam_path(*data(4), [1.0, 100.0])
    assert list(path.status) == ["converged", "unbounded"]


def test_equations_that_break_down_leave_gaps():
    z, y = data(4)
    with quiet():
        path = lam_path(z, y, [1.0, 1e3, 1e5], equations="printed", max_iter=100)
    broken = path.status == "diverged"
    for k in np.flatnonzero(broken):
        if path.gaussians[k] is None:
            assert np.isnan(path.likelihood[k])
    assert path.status[0] == "converged"


def test_a_callback_can_stop_the_path():
    def stop(result):
        raise StopIteration

    path = lam_path(*data(4), [0.0, 10.0, 20.0], tied=True, callback=stop)
    assert list(path.status) == ["converged", "stopped"]


def test_progress_shows_one_bar(capfd):
    lam_path(*data(4), [0.0, 1.0], tied=True, progress=True)
    assert "lam path" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("lams", "options", "message"),
    [
        ([-1.0], {}, "lams is -1; pass a finite number >= 0"),
        ([np.nan], {}, "lams is NaN"),
        ([], {}, "lams is empty"),
        (3.0, {}, "lams is 3.0; pass a sequence"),
        ([1.0], {"lam": 3.0}, "lam is given; pass lams"),
        ([1.0], {"validation": 3}, "validation is a int; pass a pair"),
        (
            [1.0],
            {"validation": (np.ones((3, 2)), [0, 1, 2])},
            r"validation\[0\] has shape \(3, 2\)",
        ),
        ([1.0], {"validation": (np.ones((3, 4)), [0, 1])}, "3 rows and 2 labels"),
        ([1.0], {"validation": (np.ones((1, 4)), [9])}, "validation"),
        ([1.0], {"validation": (np.full((1, 4), np.nan), [0])}, r"validation\[0\] contains NaN"),
        ([1.0], {"solver": "fast"}, "solver is 'fast'"),
    ],
)
def test_bad_input(lams, options, message):
    with pytest.raises(InvalidInputError, match=message):
        lam_path(*data(4), lams, **options)


def test_validation_of_another_library(torch):
    z, y = data(4)
    with pytest.raises(InvalidInputError, match=r"validation\[0\] is of another library"):
        lam_path(z, y, [1.0], tied=True, validation=(torch.asarray(z), y))
    listed = lam_path(torch.asarray(z), y, [1.0], tied=True, validation=(z.tolist(), y))
    assert listed.accuracy == lam_path(z, y, [1.0], tied=True, validation=(z, y)).accuracy


def test_a_row_too_far_for_densities_has_equal_shares():
    z, y = data(4)
    far = np.concatenate([z, np.full((1, z.shape[1]), 1e160)])
    path = lam_path(z, y, [0.0, 1.0], tied=True, validation=(far, np.append(y, 0)))
    alone = lam_path(z, y, [0.0, 1.0], tied=True, validation=(z, y))
    n, n_classes = len(y), len(np.unique(y))
    expected = (n * np.asarray(alone.nll) + np.log(n_classes)) / (n + 1)
    np.testing.assert_allclose(path.nll, expected, rtol=1e-12)


def test_unknown_names():
    with pytest.raises(UnknownOptionError, match="did you mean validation"):
        lam_path(*data(4), validate=3)
