"""The same problem in another guise gives the same fit.

Another order, other units, another namespace, precision or place, row blocks.

Tolerances. Where two solvers' paths differ by rounding alone and both stop at a residual of `tol`,
their ends differ by a few hundred `tol` (DISTANCE: at 1e-6, distances up to 5e-4 have been seen),
in standard deviations and log eigenvalues. The objective is flat there, so that it agrees to the
square of that, and to rounding. A fixed number of Picard steps has no such slack: there only
rounding counts, amplified by a handful of steps.
"""

import numpy as np
import pytest
from helpers import (
    FAMILIES,
    FAMILY_IDS,
    affine_map,
    asarray_in,
    blobs,
    dtype_name,
    in_namespace,
    mapped,
    to_numpy,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import point, problem_of
from reference import Problem, distance

from fpigauss import ClassGaussians, fit_fixed_point

TOL = 1e-10
DISTANCE = 1000 * TOL

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
seeds = st.integers(0, 10_000)
pis = st.sampled_from(["forward", "initial"])


def lam_for(tied):
    """Past lam* = 5.4 of four classes where a minimum is certain, below it elsewhere."""
    return 30.0 if tied else 3.0


def fit(z, y, covariance, tied, pi="forward", **options):
    result = fit_fixed_point(
        z, y, lam_for(tied), covariance=covariance, tied=tied, pi=pi, tol=TOL, **options
    )
    assert result.status == "converged", (result.status, result.residual)
    return result


def reference(z, y, covariance, tied):
    return Problem(z, y, lam_for(tied), covariance, tied)


@family
@settings(max_examples=4)
@given(seed=seeds, pi=pis)
def test_permuted_classes(xp, covariance, tied, seed, pi):
    z, y = blobs(4, 3, 25, seed=seed, spread=1.5)
    order = np.random.default_rng(seed).permutation(4)
    one = fit(asarray_in(xp, z), y, covariance, tied, pi)
    other = fit(asarray_in(xp, z), order[y], covariance, tied, pi)
    means, covariances = point(other)
    back = (means[order], covariances if tied else covariances[order])
    assert distance(reference(z, y, covariance, tied), point(one), back) < DISTANCE
    assert float(other.objective) == pytest.approx(float(one.objective), rel=1e-11)


@family
@settings(max_examples=4)
@given(seed=seeds, pi=pis)
def test_permuted_samples(xp, covariance, tied, seed, pi):
    z, y = blobs(4, 3, 25, seed=seed, spread=1.5)
    order = np.random.default_rng(seed).permutation(len(y))
    one = fit(asarray_in(xp, z), y, covariance, tied, pi)
    other = fit(asarray_in(xp, z[order]), y[order], covariance, tied, pi)
    assert distance(reference(z, y, covariance, tied), point(one), point(other)) < DISTANCE
    assert float(other.objective) == pytest.approx(float(one.objective), rel=1e-11)


@family
@settings(max_examples=6)
@given(seed=seeds, pi=pis)
def test_affine_maps_of_the_family(xp, covariance, tied, seed, pi):
    z, y = blobs(4, 3, 25, seed=seed, spread=1.5)
    rng = np.random.default_rng(seed)
    matrix = affine_map(rng, 3, covariance)
    shift = 10 * rng.standard_normal(3)
    moved = z @ matrix.T + shift
    one = fit(asarray_in(xp, z), y, covariance, tied, pi)
    other = fit(asarray_in(xp, moved), y, covariance, tied, pi)
    expected = mapped(matrix, shift, *point(one), covariance)
    assert distance(reference(moved, y, covariance, tied), expected, point(other)) < DISTANCE
    # Every class's log density shifts by the log-determinant; the divergences do not.
    log_det = np.linalg.slogdet(matrix)[1]
    assert float(other.objective) == pytest.approx(
        float(one.objective) + 4 * log_det, rel=1e-11, abs=1e-10
    )


@family
@pytest.mark.parametrize("pi", ["forward", "initial", "mean"])
def test_far_from_the_origin_as_near(xp, covariance, tied, pi):
    # Multiples of 2^-20 below 2^21 are exact in float64: both fits see the same differences.
    z, y = blobs(4, 3, 25, seed=1, spread=1.5)
    z = np.round(z * 2**20) / 2**20
    far = z + 2.0**20
    np.testing.assert_array_equal(far - 2.0**20, z)
    one = fit(asarray_in(xp, z), y, covariance, tied, pi)
    other = fit(asarray_in(xp, far), y, covariance, tied, pi)
    means, covariances = point(other)
    # Class means, of the data and of the result, are rounded to eps * 2^20 = 2e-10.
    bound = DISTANCE + 1e-9
    apart = distance(reference(z, y, covariance, tied), point(one), (means - 2.0**20, covariances))
    assert apart < bound
    # Moving the 12 data means by that moves the objective by |Sigma^-1 (m - mu)|, here below 10,
    # times that.
    assert float(other.objective) == pytest.approx(float(one.objective), rel=0, abs=12 * 10 * 2e-10)


def five_steps(z, y, covariance, tied, pi, **options):
    return fit_fixed_point(
        z,
        y,
        lam_for(tied),
        covariance=covariance,
        tied=tied,
        pi=pi,
        solver="picard",
        max_iter=5,
        tol=0,
        **options,
    )


@family
@pytest.mark.parametrize("pi", ["forward", "initial", "mean", lambda kld: 1 + (kld + kld.T) / 2])
def test_every_namespace_agrees_with_numpy(xp, covariance, tied, pi):
    z, y = blobs(4, 3, 25, seed=2, spread=1.5)
    problem = reference(z, y, covariance, tied)
    for run in (five_steps, fit):
        ours = run(z, y, covariance, tied, pi)
        theirs = run(asarray_in(xp, z), y, covariance, tied, pi)
        assert in_namespace(theirs.gaussians.means, xp)
        assert in_namespace(theirs.gaussians.covariances, xp)
        bound = 1e-10 if run is five_steps else DISTANCE
        assert distance(problem, point(ours), point(theirs)) < bound
        assert float(theirs.objective) == pytest.approx(float(ours.objective), rel=1e-11)


@family
def test_numpy_and_torch_agree_to_ten_digits_where_converged(torch, covariance, tied):
    # lam = 1 is well conditioned, and a residual of 1e-12 leaves a distance below 1e-10.
    z, y = blobs(4, 3, 25, seed=3, spread=2.0)
    options = {"covariance": covariance, "tied": tied, "tol": 1e-12}
    ours = fit_fixed_point(z, y, 1.0, **options)
    theirs = fit_fixed_point(torch.asarray(z), y, 1.0, **options)
    assert ours.status == theirs.status == "converged"
    assert distance(reference(z, y, covariance, tied), point(ours), point(theirs)) < 1e-10


@family
def test_float32_comes_back_and_is_close(xp, covariance, tied):
    z, y = blobs(4, 3, 25, seed=4, spread=1.5)
    single = z.astype(np.float32)
    ours = fit(single.astype(np.float64), y, covariance, tied)
    theirs = fit(asarray_in(xp, single), y, covariance, tied)
    for name in ("means", "covariances"):
        array = getattr(theirs.gaussians, name)
        assert dtype_name(array) == "float32"
        assert in_namespace(array, xp)
        expected = to_numpy(getattr(ours.gaussians, name))
        # Computed in float64 from the same numbers: only the result is rounded, to 2^-24.
        np.testing.assert_allclose(to_numpy(array), expected, rtol=1.2e-7, atol=1e-7)


@pytest.mark.parametrize("pi", ["forward", "mean", "initial", 2.0])
@family
def test_row_blocks_change_nothing(xp, covariance, tied, pi):
    # 40 classes: D alone is 12,800 bytes, so that 4096 force blocks of a few rows.
    z, y = blobs(40, 3, 8, seed=5, spread=3.0)
    problem = reference(z, y, covariance, tied)
    whole = five_steps(asarray_in(xp, z), y, covariance, tied, pi)
    blocks = five_steps(asarray_in(xp, z), y, covariance, tied, pi, memory_limit=4096)
    assert distance(problem, point(whole), point(blocks)) < 1e-10
    for name, values in whole.history.items():
        np.testing.assert_allclose(
            to_numpy(blocks.history[name]), to_numpy(values), rtol=1e-9, atol=1e-9, err_msg=name
        )


@family
def test_the_solver_in_row_blocks_ends_at_the_same_point(covariance, tied):
    z, y = blobs(40, 3, 8, seed=6, spread=3.0)
    whole = fit(z, y, covariance, tied)
    blocks = fit(z, y, covariance, tied, memory_limit=4096)
    assert distance(reference(z, y, covariance, tied), point(whole), point(blocks)) < DISTANCE


@family
@pytest.mark.parametrize("update", ["means", "covariances"])
def test_what_is_not_updated_is_untouched(xp, covariance, tied, update):
    z, y = blobs(4, 3, 25, seed=7, spread=1.5)
    means, covariances = reference(z, y, covariance, tied).start()
    rng = np.random.default_rng(0)
    means = means + 0.1 * rng.standard_normal(means.shape)
    init = ClassGaussians(
        asarray_in(xp, means), asarray_in(xp, 1.1 * covariances), covariance=covariance, tied=tied
    )
    result = fit(asarray_in(xp, z), y, covariance, tied, update=update, init=init)
    held = "covariances" if update == "means" else "means"
    moved = "means" if update == "means" else "covariances"
    before, after = getattr(init, held), getattr(result.gaussians, held)
    np.testing.assert_array_equal(to_numpy(after), to_numpy(before))
    assert not np.allclose(
        to_numpy(getattr(result.gaussians, moved)), to_numpy(getattr(init, moved))
    )
    problem = problem_of(
        result, z, y, lam_for(tied), covariance=covariance, tied=tied, update=update
    )
    assert problem.gradient_excess(*point(result), TOL) <= 1
