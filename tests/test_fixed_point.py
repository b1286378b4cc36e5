"""What the fixed point promises for every family: soundness, descent, stationarity, limits.

The reference (reference.py) has Eq. 4 from the raw samples in torch, its gradient by autograd, and
the bound on the gradient that a residual of `tol` implies; `gradient_excess` is the gradient over
that bound.
"""

import numpy as np
import pytest
from helpers import (
    FAMILIES,
    FAMILY_IDS,
    asarray_in,
    blobs,
    dtype_name,
    in_namespace,
    random_covariances,
    to_numpy,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from problems import point, problem_of, quiet
from reference import Problem, distance

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    NotPositiveDefiniteError,
    critical_lam,
    fit_fixed_point,
    geometric_mean,
    solve_fixed_point,
)

ENDS = {"converged", "max_iter", "stalled", "unbounded", "diverged", "stopped"}
family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)


def symmetrized(kld):
    """A callable pi, a (K, K) array."""
    return 1 + (kld + kld.T) / 2


def half_largest(kld):
    """A callable pi, a number."""
    return float(to_numpy(kld).max()) / 2


def assert_sound(result, xp, *, n_classes, dim, max_iter):
    """Finite, exactly symmetric, positive definite, of the right kind, with a status that fits."""
    gaussians = result.gaussians
    for array in (gaussians.means, gaussians.covariances):
        assert in_namespace(array, xp)
        assert dtype_name(array) == "float64"
    means, covariances = point(result)
    assert means.shape == (n_classes, dim)
    shape = {"diagonal": (dim,), "dense": (dim, dim), "isotropic": ()}[gaussians_kind(result)]
    assert covariances.shape == (shape if gaussians.tied else (n_classes, *shape))
    assert np.isfinite(means).all()
    assert np.isfinite(covariances).all()
    if gaussians_kind(result) == "dense":
        np.testing.assert_array_equal(covariances, np.swapaxes(covariances, -2, -1))
        np.linalg.cholesky(covariances)  # raises where it is not positive definite
    else:
        assert (covariances > 0).all()
    assert str(result.status) in ENDS
    assert result.converged == (result.status == "converged")
    assert 0 <= result.n_iter <= max_iter
    assert np.isfinite(float(result.objective))
    assert np.isfinite(float(result.residual))
    for name, values in result.history.items():
        assert np.isfinite(to_numpy(values)).all(), name


def gaussians_kind(result):
    return getattr(result.gaussians.covariance, "name", result.gaussians.covariance)


lams = st.one_of(st.sampled_from([0.0, 1e12]), st.floats(-3, 12).map(lambda power: 10.0**power))
pis = st.sampled_from(["forward", "mean", "initial", 0.3, symmetrized, half_largest])


@family
@settings(max_examples=12)
@given(
    lam=lams,
    pi=pis,
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.3, 1.0, 3.0]),
    solver=st.sampled_from(["auto", "accelerated", "guarded", "picard"]),
)
def test_sound_whatever_lam(xp, covariance, tied, lam, pi, seed, spread, solver):
    z, y = blobs(4, 3, 20, seed=seed, spread=spread)
    with quiet():
        result = fit_fixed_point(
            asarray_in(xp, z),
            y,
            lam,
            covariance=covariance,
            tied=tied,
            pi=pi,
            solver=solver,
            max_iter=30,
        )
    assert_sound(result, xp, n_classes=4, dim=3, max_iter=30)


@family
@pytest.mark.parametrize("solver", ["guarded", "accelerated"])
@settings(max_examples=12)
@given(
    power=st.floats(-1, 5),
    pi=st.sampled_from(["forward", "initial", 0.3, 5.0]),
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.5, 1.5]),
    init=st.sampled_from(["data", "identity"]),
    update=st.sampled_from(["both", "means", "covariances"]),
)
# A runaway: variances ten orders of magnitude apart between two classes, and a third far off.
@example(power=1.0, pi="forward", seed=0, spread=0.5, init="data", update="both")
def test_the_objective_never_rises(
    xp, covariance, tied, solver, power, pi, seed, spread, init, update
):
    z, y = blobs(4, 3, 20, seed=seed, spread=spread)
    options = {"covariance": covariance, "tied": tied, "pi": pi, "init": init, "update": update}
    with quiet():
        result = fit_fixed_point(
            asarray_in(xp, z), y, 10.0**power, solver=solver, max_iter=60, **options
        )
    objective = to_numpy(result.history["objective"])
    allowed = 1e-12 * np.maximum(1, np.abs(objective[:-1]))
    assert (np.diff(objective) <= allowed).all()
    # The history is the objective that the reference sees, not another one that falls: also of
    # iterates on the run. Dense covariances come back with errors of eps * condition in their
    # smallest logarithms, whose slopes in L are of the order of 1 + lam.
    problem = problem_of(result, z, y, 10.0**power, **options)
    at = point(result)
    condition = np.linalg.cond(at[1]).max() if covariance == "dense" else 1.0
    slack = 1e-9 * max(1, abs(objective[-1]))
    slack += 4 * np.finfo(float).eps * condition * (1 + 10.0**power)
    assert objective[-1] == pytest.approx(problem.objective(*at), rel=0, abs=slack)


def assert_stationary(result, z, y, lam, tol, **options):
    assert result.status == "converged", (result.status, result.residual, result.n_iter)
    assert result.residual <= tol
    problem = problem_of(result, z, y, lam, **options)
    assert problem.gradient_excess(*point(result), tol) <= 1


@family
@pytest.mark.parametrize("lam", [0.0, 3.0, 7.0])
def test_the_gradient_vanishes_below_critical_lam(xp, covariance, tied, lam):
    z, y = blobs(6, 4, 30, seed=1, spread=1.5)
    assert lam < critical_lam(6)  # 8.15
    options = {"covariance": covariance, "tied": tied}
    result = fit_fixed_point(asarray_in(xp, z), y, lam, tol=1e-8, **options)
    assert_stationary(result, z, y, lam, 1e-8, **options)


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
@pytest.mark.parametrize("lam", [300.0, 1000.0, 3000.0])
@pytest.mark.parametrize("pi", ["forward", "initial"])
def test_the_gradient_vanishes_at_large_lam_where_tied(xp, covariance, lam, pi):
    z, y = blobs(6, 4, 30, seed=2, spread=1.5)
    options = {"covariance": covariance, "tied": True, "pi": pi}
    result = fit_fixed_point(asarray_in(xp, z), y, lam, tol=1e-8, **options)
    assert_stationary(result, z, y, lam, 1e-8, **options)


@family
@pytest.mark.parametrize("lam", [300.0, 1000.0, 3000.0])
def test_the_gradient_vanishes_for_identity_means_only(xp, covariance, tied, lam):
    z, y = blobs(6, 4, 30, seed=3, spread=1.5)
    options = {"covariance": covariance, "tied": tied, "init": "identity", "update": "means"}
    result = fit_fixed_point(asarray_in(xp, z), y, lam, tol=1e-8, **options)
    assert_stationary(result, z, y, lam, 1e-8, **options)
    identity = {"diagonal": np.ones(4), "dense": np.eye(4), "isotropic": np.ones(())}[covariance]
    covariances = point(result)[1]
    np.testing.assert_array_equal(covariances, np.broadcast_to(identity, covariances.shape))


@family
@pytest.mark.parametrize("pi", ["mean", "initial", 2.0, symmetrized, half_largest])
def test_the_gradient_vanishes_with_pi_frozen_as_at_the_end(xp, covariance, tied, pi):
    z, y = blobs(6, 4, 30, seed=4, spread=1.5)
    options = {"covariance": covariance, "tied": tied, "pi": pi}
    result = fit_fixed_point(asarray_in(xp, z), y, 3.0, tol=1e-8, **options)
    assert_stationary(result, z, y, 3.0, 1e-8, **options)
    # The pi of the result is the one that was asked for.
    problem = problem_of(result, z, y, 3.0, **options)
    expected = {
        "mean": lambda: problem.mean_kld(*point(result)),
        "initial": lambda: problem.mean_kld(*problem.start()),
        2.0: lambda: 2.0,
        symmetrized: lambda: symmetrized(problem.kld(*point(result))),
        half_largest: lambda: half_largest(problem.kld(*point(result))),
    }[pi]()
    np.testing.assert_allclose(to_numpy(result.pi), expected, rtol=1e-10)


@family
@pytest.mark.parametrize("alpha", [0.7, 10.0])
@pytest.mark.parametrize("pi", ["forward", "mean"])
def test_the_gradient_vanishes_at_other_alphas(covariance, tied, alpha, pi):
    z, y = blobs(6, 4, 30, seed=5, spread=1.5)
    lam = 0.4 * critical_lam(6, alpha)
    options = {"covariance": covariance, "tied": tied, "pi": pi, "alpha": alpha}
    result = fit_fixed_point(z, y, lam, tol=1e-8, **options)
    assert_stationary(result, z, y, lam, 1e-8, **options)


@family
@pytest.mark.parametrize("pi", ["forward", "mean", "initial", 2.0, symmetrized, half_largest])
@pytest.mark.parametrize("update", ["both", "means", "covariances"])
def test_objective_residual_and_smallest_kld_are_those_of_the_reference(
    xp, covariance, tied, pi, update
):
    z, y = blobs(5, 3, 25, seed=6, spread=1.2)
    options = {"covariance": covariance, "tied": tied, "pi": pi, "update": update, "alpha": 1.3}
    result = fit_fixed_point(asarray_in(xp, z), y, 4.0, tol=0, max_iter=4, **options)
    problem = problem_of(result, z, y, 4.0, **options)
    at = point(result)
    assert float(result.objective) == pytest.approx(problem.objective(*at), rel=1e-11)
    # Far from rounding's reach: four steps leave a residual above 1e-7.
    assert float(result.residual) == pytest.approx(problem.residual(*at), rel=1e-6, abs=1e-12)
    smallest = float(to_numpy(result.history["smallest_kld"])[-1])
    assert smallest == pytest.approx(problem.smallest_kld(*at), rel=1e-10)


@family
@settings(max_examples=5)
@given(seed=st.integers(0, 10_000))
def test_exact_at_lam_zero(xp, covariance, tied, seed):
    z, y = blobs(4, 3, 20, seed=seed, spread=0.5)
    result = fit_fixed_point(asarray_in(xp, z), y, 0.0, covariance=covariance, tied=tied)
    assert result.status == "converged"
    assert result.n_iter == 0
    problem = Problem(z, y, 0.0, covariance, tied)
    means, covariances = problem.start()
    np.testing.assert_allclose(point(result)[0], means, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(point(result)[1], covariances, rtol=1e-12, atol=1e-13)
    assert float(result.objective) == pytest.approx(
        problem.objective(means, covariances), rel=1e-12
    )


@family
def test_the_data_come_back_where_the_repulsion_is_gone(xp, covariance, tied):
    z, y = blobs(4, 3, 30, seed=7, spread=2.0)
    pi = 1e-4
    problem = Problem(z, y, 100.0, covariance, tied, pi)
    # exp(-D / pi) is zero in float64 for D > 745 pi, at both ends of the way.
    shape = problem.start()[1].shape
    ones = np.broadcast_to(np.eye(3) if covariance == "dense" else 1.0, shape)
    assert problem.smallest_kld(problem.start()[0], ones) > 745 * pi
    assert problem.smallest_kld(*problem.start()) > 745 * pi
    result = fit_fixed_point(
        asarray_in(xp, z),
        y,
        100.0,
        covariance=covariance,
        tied=tied,
        pi=pi,
        init="identity",
        tol=1e-10,
    )
    assert result.status == "converged"
    # One update goes half the way, in logs, to the scatter: what is left is twice the residual.
    assert distance(problem, problem.start(), point(result)) <= 2.01e-10 + 1e-12


@family
def test_one_covariance_step_without_repulsion_is_a_geometric_mean(xp, covariance, tied):
    z, y = blobs(4, 3, 30, seed=8, spread=2.0)
    rng = np.random.default_rng(0)
    means = Problem(z, y, 0.0).start()[0] + 0.3 * rng.standard_normal((4, 3))
    start = random_covariances(rng, 4, 3, covariance, tied)
    result = fit_fixed_point(
        asarray_in(xp, z),
        y,
        100.0,
        covariance=covariance,
        tied=tied,
        pi=1e-4,
        update="covariances",
        init=ClassGaussians(
            asarray_in(xp, means), asarray_in(xp, start), covariance=covariance, tied=tied
        ),
        solver="picard",
        max_iter=1,
        tol=0,
    )
    assert Problem(z, y, 1.0, covariance, tied).smallest_kld(means, start) > 745e-4
    assert result.n_iter == 1
    scatter = np.stack(
        [(z[y == k] - means[k]).T @ (z[y == k] - means[k]) / (y == k).sum() for k in range(4)]
    )
    if tied:
        scatter = scatter.mean(axis=0)
    if covariance == "dense":
        expected = geometric_mean(start, scatter)
    else:
        variances = np.diagonal(scatter, axis1=-2, axis2=-1)
        expected = np.sqrt(
            start * (variances if covariance == "diagonal" else variances.mean(axis=-1))
        )
    # A # B of matrices of condition below 100: a few hundred eps.
    np.testing.assert_allclose(point(result)[1], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(point(result)[0], means)


WIDE = np.array([0.3, 1.0, 4.0])


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
def test_the_printed_equations_are_not_stationary(covariance):
    # Without Sigma_y the mean update is off by the units of the axes, which WIDE sets apart.
    z, y = blobs(4, 3, 30, seed=9, spread=1.5)
    z = z * WIDE
    gradients = {}
    for equations in ("printed", "stationary"):
        result = fit_fixed_point(z, y, 2.0, covariance=covariance, equations=equations, tol=1e-8)
        assert result.status == "converged"
        problem = problem_of(result, z, y, 2.0, covariance=covariance)
        gradients[equations] = problem.natural_gradient(*point(result))[0].max()
    assert gradients["stationary"] < 1.1e-8
    assert gradients["printed"] > 1e-2


def test_the_printed_equations_are_not_equivariant():
    z, y = blobs(4, 3, 30, seed=9, spread=1.5)
    apart = {}
    for equations in ("printed", "stationary"):
        one = fit_fixed_point(z, y, 2.0, equations=equations, tol=1e-9)
        other = fit_fixed_point(z * WIDE, y, 2.0, equations=equations, tol=1e-9)
        means, variances = point(other)
        problem = problem_of(one, z, y, 2.0)
        apart[equations] = distance(problem, point(one), (means / WIDE, variances / WIDE**2))
    # A residual of 1e-9 leaves the solution within a few hundred times that.
    assert apart["stationary"] < 1e-6
    assert apart["printed"] > 1e-2


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
def test_the_printed_covariances_are_stationary(covariance):
    # Eq. 6 is right, and its A, where positive definite, has the fixed points of A+.
    z, y = blobs(4, 3, 30, seed=10, spread=1.5)
    options = {"covariance": covariance, "update": "covariances"}
    result = fit_fixed_point(z, y, 2.0, equations="printed", tol=1e-9, **options)
    other = fit_fixed_point(z, y, 2.0, tol=1e-9, **options)
    problem = problem_of(result, z, y, 2.0, **options)
    assert distance(problem, point(result), point(other)) < 1e-6


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
def test_the_printed_a_loses_definiteness(covariance):
    # A class a thousand times wider than the rest, means alike: the others' KLD to it is small and
    # its own to them is large, so its W_y'y exceed its W_yy' and the first coefficient of A is
    # negative; the rest of A, with Sigma_y' and the differences small beside Sigma_y, does not make
    # up for it.
    rng = np.random.default_rng(0)
    y = np.repeat(["broad", "first", "second"], 40)
    scale = np.where(y == "broad", 1000.0, 1.0)[:, None]
    z = scale * rng.standard_normal((120, 3)) + np.where(y == "second", 0.5, 0.0)[:, None]
    with quiet(), pytest.raises(NotPositiveDefiniteError, match=r"broad.*lam=500\b"):
        fit_fixed_point(z, y, 500.0, covariance=covariance, equations="printed")


LAMS = [0.0, 1.0, 1e2, 1e4, 1e8, 1e12]


@family
@pytest.mark.parametrize("pi", ["forward", "mean", "initial", symmetrized])
def test_tiny_classes_end_well_at_every_lam(covariance, tied, pi):
    """With LAMS, the 144 fits: 4 classes of 20 samples in 3 dimensions, 0.3 apart."""
    rng = np.random.default_rng(144)
    y = np.repeat(np.arange(4), 20)
    z = 0.3 * np.eye(4, 3)[y] + rng.standard_normal((80, 3))
    for lam in LAMS:
        with quiet():
            result = fit_fixed_point(
                z, y, lam, covariance=covariance, tied=tied, pi=pi, max_iter=300
            )
        assert_sound(result, np, n_classes=4, dim=3, max_iter=300)
        if result.converged:
            assert_stationary(result, z, y, lam, 1e-6, covariance=covariance, tied=tied, pi=pi)
        if tied or pi == "initial":
            assert result.status != "unbounded"


def test_steps_are_taken_where_changes_of_the_objective_are_rounding():
    n_classes, dim = 40, 64
    means = np.random.default_rng(0).standard_normal((n_classes, dim))
    statistics = ClassStatistics(
        counts=np.full(n_classes, 50.0),
        means=np.arange(1, dim + 1) ** -0.5 * means,
        covariances=np.ones((n_classes, dim)),
        classes=np.arange(n_classes),
    )
    options = {"covariance": "isotropic", "update": "means", "init": "identity", "alpha": 10.0}
    result = solve_fixed_point(statistics, 1.2e6, tol=1e-11, **options)
    assert result.converged
    # 1.05 here; 1.67 where only a falling natural gradient is believed, |L| being 8e5
    assert result.n_iter <= 1.2 * len(result.history["step"])
