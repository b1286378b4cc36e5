"""The gradient of a fit: against differences of fits, and against a dense Hessian of autograd.

Fits are to 1e-12, so that the fourth-order differences of fits with a step of 1e-3 are good to some
1e-9 of their sizes.
"""

import copy
import pickle
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, blobs, to_numpy
from problems import CASES, quiet
from problems import TOL as PROBLEMS_TOL

import fpigauss
from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPoint,
    InvalidInputError,
    NotDifferentiableError,
    SaddlePointWarning,
    fit_fixed_point,
    solve_fixed_point,
)

TOL = 1e-12
K, DIM = 3, 2
LAM = 1.0


def data(seed=0):
    return blobs(K, DIM, 15, seed=seed, spread=1.5)


def weights(n, seed=1):
    return np.random.default_rng(seed).uniform(0.5, 2.0, size=n)


def cotangents(result, seed=2):
    rng = np.random.default_rng(seed)
    of_means = rng.standard_normal(result.gaussians.means.shape)
    of_covariances = rng.standard_normal(result.gaussians.covariances.shape)
    return of_means, of_covariances


def along(function, h=1e-3):
    """The derivative at 0, to fourth order."""
    near, far = (function(t) - function(-t) for t in (h, 2 * h))
    return (8 * near - far) / (12 * h)


def directions(z, w, n=2, seed=3):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        yield rng.standard_normal(z.shape), rng.standard_normal(w.shape), rng.standard_normal()


def assert_is_the_gradient(options, lam=LAM, z=None, y=None, rtol=1e-6):
    """Compare with differences of fits, for z, weights and lam."""
    if z is None:
        z, y = data()
    w = weights(len(z))

    def fit(dz, dw, dlam):
        return fit_fixed_point(
            z + dz, y, lam + dlam, sample_weight=w + dw, tol=TOL, max_iter=5000, **options
        )

    result = fit(0.0, 0.0, 0.0)
    assert result.converged
    pulled = cotangents(result)

    def scalar(*moved):
        gaussians = fit(*moved).gaussians
        pairs = zip(pulled, (gaussians.means, gaussians.covariances), strict=True)
        return sum(float(np.sum(a * b)) for a, b in pairs)

    gradient = result.vjp(*pulled)
    of_z, of_w = gradient.of_samples(z, y, w)
    for dz, dw, dlam in directions(z, w):
        found = (np.sum(of_z * dz), np.sum(of_w * dw), gradient.lam * dlam)
        for mask, value in zip(np.eye(3), found, strict=True):
            moved = [a * b for a, b in zip(mask, (dz, dw, dlam), strict=True)]
            expected = along(lambda t, moved=moved: scalar(*(t * x for x in moved)))
            # a derivative may be near zero by chance
            assert abs(value - expected) <= rtol * max(abs(expected), 1e-2), (mask, value, expected)


@pytest.mark.parametrize("pi", ["forward", 3.0, "initial"])
@pytest.mark.parametrize("update", ["both", "means", "covariances"])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_is_that_of_differences(covariance, tied, update, pi):
    assert_is_the_gradient({"covariance": covariance, "tied": tied, "update": update, "pi": pi})


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_where_pi_is_the_mean_that_moves_along(covariance, tied):
    assert_is_the_gradient({"covariance": covariance, "tied": tied, "pi": "mean"})


@pytest.mark.parametrize("update", ["means", "covariances"])
@pytest.mark.parametrize("pi", ["mean", "initial"])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES[:4], ids=FAMILY_IDS[:4])
def test_through_held_parts_of_other_starts(covariance, tied, update, pi):
    options = {"covariance": covariance, "tied": tied, "update": update, "pi": pi}
    assert_is_the_gradient(options | {"init": "identity"})


@pytest.mark.parametrize("shrinkage", [0.3, "oas"])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES[:4], ids=FAMILY_IDS[:4])
def test_through_shrinkage(covariance, tied, shrinkage):
    assert_is_the_gradient({"covariance": covariance, "tied": tied, "shrinkage": shrinkage})


@pytest.mark.parametrize("alpha", [0.7, 2.0])
@pytest.mark.parametrize("pi", ["forward", "initial"])
def test_with_another_alpha(alpha, pi):
    assert_is_the_gradient({"tied": True, "alpha": alpha, "pi": pi})


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_without_repulsion_too(covariance, tied):
    """At lam = 0, in lam from above alone."""
    z, y = data()
    options = {"covariance": covariance, "tied": tied, "tol": TOL}
    result = fit_fixed_point(z, y, 0.0, **options)
    pulled = cotangents(result)
    h = 1e-4
    ahead = [fit_fixed_point(z, y, t * h, **options).gaussians for t in range(4)]
    values = [np.sum(pulled[0] * g.means) + np.sum(pulled[1] * g.covariances) for g in ahead]
    expected = (-11 * values[0] + 18 * values[1] - 9 * values[2] + 2 * values[3]) / (6 * h)
    assert result.vjp(*pulled).lam == pytest.approx(expected, rel=1e-6, abs=1e-7)


# -- the Gaussians of init -----------------------------------------------------------------


@pytest.mark.parametrize("update", ["means", "covariances", "both"])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_in_the_gaussians_of_init_where_they_are_held_or_measure_pi(covariance, tied, update):
    z, y = data()
    start = fit_fixed_point(z, y, 0.0, covariance=covariance, tied=tied).gaussians
    options = {"covariance": covariance, "tied": tied, "update": update, "pi": "initial"}

    def fit(dm, dc):
        init = replace(start, means=start.means + dm, covariances=start.covariances + dc)
        return fit_fixed_point(z, y, LAM, tol=TOL, init=init, **options)

    result = fit(0.0, 0.0)
    pulled = cotangents(result)

    def scalar(dm, dc):
        gaussians = fit(dm, dc).gaussians
        return np.sum(pulled[0] * gaussians.means) + np.sum(pulled[1] * gaussians.covariances)

    gradient = result.vjp(*pulled)
    rng = np.random.default_rng(4)
    dm = 0.1 * rng.standard_normal(start.means.shape)
    dc = rng.standard_normal(start.covariances.shape)
    dc = 0.05 * (dc + np.swapaxes(dc, -1, -2) if covariance == "dense" else dc)
    for a, b in [(1, 0), (0, 1)]:
        expected = along(lambda t, a=a, b=b: scalar(t * a * dm, t * b * dc), h=1e-2)
        found = a * np.sum(gradient.init_means * dm) + b * np.sum(gradient.init_covariances * dc)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert fit_fixed_point(z, y, LAM, **options).vjp().init_means is None


@pytest.mark.parametrize("pi", ["forward", "initial", "mean"])
@pytest.mark.parametrize("update", ["both", "means"])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_beside_frozen_classes(covariance, tied, update, pi):
    """Class 0 is held without samples; class 1 is held with samples; class 3 starts from data."""
    z, y = blobs(4, DIM, 15, seed=5, spread=2.0)
    start = fit_fixed_point(z, y, 0.0, covariance=covariance, tied=tied).gaussians
    known = slice(0, 3)
    start = ClassGaussians(
        start.means[known] + 0.1,
        start.covariances if tied else start.covariances[known],
        covariance=covariance,
        tied=tied,
    )
    z, y = z[y > 0], y[y > 0]
    options = {"covariance": covariance, "tied": tied, "update": update, "pi": pi, "frozen": [0, 1]}

    def fit(dz, dm, dlam):
        init = replace(start, means=start.means + dm)
        with quiet():
            return fit_fixed_point(z + dz, y, LAM + dlam, tol=TOL, init=init, **options)

    result = fit(0.0, 0.0, 0.0)
    assert result.converged
    pulled = cotangents(result)

    def scalar(*moved):
        gaussians = fit(*moved).gaussians
        return np.sum(pulled[0] * gaussians.means) + np.sum(pulled[1] * gaussians.covariances)

    gradient = result.vjp(*pulled)
    of_z = gradient.of_samples(z, y)[0]
    rng = np.random.default_rng(6)
    dz, dm = rng.standard_normal(z.shape), 0.1 * rng.standard_normal(start.means.shape)
    for mask in np.eye(3):
        expected = along(lambda t, m=mask: scalar(t * m[0] * dz, t * m[1] * dm, t * m[2]), h=1e-3)
        found = mask @ [np.sum(of_z * dz), np.sum(gradient.init_means * dm), gradient.lam]
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-7), mask


def test_where_equal_covariances_are_held():
    """The fit then computes with a shared one, but each has a gradient of its own."""
    z, y = data()
    start = ClassGaussians(np.zeros((K, DIM)) + np.arange(K)[:, None], np.full((K, DIM), 1.5))
    pulled = (np.ones((K, DIM)), np.arange(6.0).reshape(K, DIM))

    def fit(dc):
        init = replace(start, covariances=start.covariances + dc)
        return fit_fixed_point(z, y, LAM, init=init, update="means", tol=TOL)

    def scalar(dc):
        gaussians = fit(dc).gaussians
        return np.sum(pulled[0] * gaussians.means) + np.sum(pulled[1] * gaussians.covariances)

    gradient = fit(0.0).vjp(*pulled)
    dc = np.random.default_rng(0).standard_normal((K, DIM))
    expected = along(lambda t: scalar(t * dc))
    assert np.sum(gradient.init_covariances * dc) == pytest.approx(expected, rel=1e-7)


# -- against a dense Hessian ---------------------------------------------------------------


def objective(torch, theta, of_data, lam, shape, covariance, tied, pi):
    """Eq. 4 from statistics, of means and covariances in the family's shape."""
    means, covariances = theta
    m, c = of_data
    full = _full(torch, covariances, covariance, tied, shape)
    precisions = torch.linalg.inv(full)
    log_det = torch.logdet(full)
    away = m - means
    fit = 0.5 * (log_det + (precisions * (c + away[:, :, None] * away[:, None, :])).sum((1, 2)))
    gap = means[:, None] - means[None, :]
    kld = 0.5 * (
        torch.einsum("bij,aji->ab", precisions, full)
        + torch.einsum("abi,bij,abj->ab", gap, precisions, gap)
        - shape[1]
        + log_det[None, :]
        - log_det[:, None]
    )
    kld = kld[~torch.eye(shape[0], dtype=torch.bool)]
    phi = -np.exp(-1.0) * torch.log(kld) if pi is None else torch.exp(-kld / pi)
    return fit.sum() + lam * phi.mean()


def _full(torch, covariances, covariance, tied, shape):
    if covariance == "dense":
        full = (covariances + covariances.transpose(-1, -2)) / 2
    elif covariance == "diagonal":
        full = torch.diag_embed(covariances)
    else:
        full = covariances[..., None, None] * torch.eye(shape[1], dtype=torch.float64)
    return full.expand(shape[0], *shape[1:], shape[1]) if tied else full


@pytest.mark.parametrize("pi", ["forward", 3.0])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_is_that_of_a_dense_hessian(torch, covariance, tied, pi):
    z, y = data(7)
    statistics = ClassStatistics.from_samples(z, y, covariance="dense")
    result = solve_fixed_point(statistics, LAM, covariance=covariance, tied=tied, pi=pi, tol=TOL)
    pulled = cotangents(result)
    if covariance == "dense":  # of a symmetric matrix
        pulled = (pulled[0], 0.5 * (pulled[1] + np.swapaxes(pulled[1], -1, -2)))
    given = (result.gaussians.means, result.gaussians.covariances)
    theta = [torch.tensor(x, requires_grad=True) for x in given]
    of_data = [
        torch.tensor(x, requires_grad=True) for x in (statistics.means, statistics.covariances)
    ]
    lam = torch.tensor(LAM, dtype=torch.float64, requires_grad=True)
    value = objective(torch, theta, of_data, lam, (K, DIM), covariance, tied, result.pi)
    force = torch.autograd.grad(value, theta, create_graph=True)
    force = torch.cat([x.reshape(-1) for x in force])
    rows = [torch.autograd.grad(f, [*theta, *of_data, lam], retain_graph=True) for f in force]
    rows = np.stack([np.concatenate([x.numpy().ravel() for x in row]) for row in rows])
    n = len(force)
    flat = np.concatenate([x.ravel() for x in pulled])
    # of symmetric matrices: the Hessian has no inverse on the others
    solution = np.linalg.lstsq(rows[:, :n], flat, rcond=1e-10)[0]
    expected = -solution @ rows[:, n:]
    gradient = result.vjp(*pulled)
    found = np.concatenate([gradient.means.ravel(), gradient.covariances.ravel(), [gradient.lam]])
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


# -- many classes, memory, namespaces ------------------------------------------------------


@pytest.mark.parametrize("pi", ["forward", 3.0, "mean", "initial"])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_in_blocks_of_rows_it_is_the_same(covariance, tied, pi):
    z, y = blobs(7, DIM, 12, seed=8, spread=3.0)
    options = {"covariance": covariance, "tied": tied, "pi": pi, "tol": 1e-10}
    whole = fit_fixed_point(z, y, LAM, **options)
    pulled = cotangents(whole)
    blocked = fit_fixed_point(z, y, LAM, memory_limit=80 * 7 * 4, max_iter=5000, **options)
    first, second = (result.vjp(*pulled) for result in (whole, blocked))
    np.testing.assert_allclose(second.means, first.means, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(second.covariances, first.covariances, rtol=1e-6, atol=1e-8)
    assert second.lam == pytest.approx(first.lam, rel=1e-6)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_in_every_namespace(xp, covariance, tied):
    z, y = data()
    options = {"covariance": covariance, "tied": tied, "pi": "initial", "tol": 1e-10}
    expected = fit_fixed_point(z, y, LAM, **options)
    pulled = cotangents(expected)
    rows = xp.asarray(z)
    result = fit_fixed_point(rows, y, LAM, **options)
    gradient = result.vjp(*(xp.asarray(x) for x in pulled))
    of_z, of_w = gradient.of_samples(rows, y)
    assert type(gradient.means) is type(rows) and type(of_z) is type(rows)
    for found, known in zip((of_z, of_w), expected.vjp(*pulled).of_samples(z, y), strict=True):
        np.testing.assert_allclose(to_numpy(found), known, rtol=1e-7, atol=1e-9)


def test_on_the_twenty_problems_it_takes_less_than_a_solve():
    """Count products, each about an evaluation, and compare digits with those of a finer fit."""
    parts = []
    for case in CASES:
        z, y = case.data()
        result = fit_fixed_point(z, y, case.value_of_lam(), tol=PROBLEMS_TOL, **case.options())
        gradient = result.vjp(*cotangents(result))
        parts.append(gradient.n_products / result.n_iter)
        assert gradient.residual <= 1e-9 and gradient.smallest_curvature > 0.0, case.name
        if case.pi == "initial":  # which a warm start would measure elsewhere
            continue
        finer = fit_fixed_point(
            z, y, case.value_of_lam(), tol=1e-11, init=result.gaussians, **case.options()
        ).vjp(*cotangents(result))
        error = np.abs(gradient.means - finer.means).max() / np.abs(finer.means).max()
        assert error <= 1e-6, case.name
    assert np.median(parts) <= 1.0


def test_memory_does_not_grow_with_the_iterations():
    """Measured at 10 and at 1,000: Picard's iterations, which are differentiated where they are."""
    z, y = blobs(8, 32, 40, seed=10, spread=1.0)
    held = []
    for n_iter in (10, 1000):
        with quiet():
            result = fit_fixed_point(z, y, 2.0, solver="picard", max_iter=n_iter, tol=0.0)
        assert result.n_iter == n_iter
        adjoint = replace(result._adjoint, status=fpigauss.Status.CONVERGED)
        pulled = cotangents(result)
        tracemalloc.start()
        adjoint.vjp(*pulled)
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert held[1] <= 1.05 * held[0]


# -- what cannot be differentiated ---------------------------------------------------------


def test_a_fit_that_did_not_converge_is_an_error():
    z, y = data()
    with pytest.warns(fpigauss.ConvergenceWarning):
        result = fit_fixed_point(z, y, 50.0, tied=True, max_iter=3)
    with pytest.raises(NotDifferentiableError, match=r'status "max_iter".*raise max_iter'):
        result.vjp(np.ones((K, DIM)))


def test_the_remedy_for_a_fit_that_did_not_converge_is_one_that_helps():
    def stop(result):
        raise StopIteration

    far = {"lam": 1e4, "covariance": "diagonal"}
    for options, remedy in ((far, "pass a smaller lam, or tied"), ({"callback": stop}, "callback")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = fit_fixed_point(*data(), **({"lam": LAM} | options))
        with pytest.raises(NotDifferentiableError, match=f"no gradient; .*{remedy}"):
            result.vjp(np.ones((K, DIM)))


def test_equations_without_an_objective_are_an_error():
    z, y = data()
    result = fit_fixed_point(z, y, 0.1, equations="printed")
    with pytest.raises(InvalidInputError, match='equations="stationary"'):
        result.vjp(np.ones((K, DIM)))


def test_copies_and_pickles_leave_the_problem_behind():
    result = fit_fixed_point(*data(), LAM)
    for other in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert repr(other) == repr(result)
        with pytest.raises(InvalidInputError, match="fit again"):
            other.vjp()
    assert "_adjoint" not in pickle.dumps(result).decode("latin1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"means": np.ones((K, DIM + 1))}, r"means has shape \(3, 3\), \(3, 2\) is needed"),
        ({"covariances": np.ones(K)}, r"covariances has shape \(3,\), \(3, 2\) is needed"),
        ({"means": np.full((K, DIM), np.nan)}, "means"),
    ],
)
def test_cotangents_are_checked(arguments, message):
    result = fit_fixed_point(*data(), LAM)
    with pytest.raises(InvalidInputError, match=message):
        result.vjp(**arguments)


def test_where_classes_coincide_lam_zero_has_no_derivative_in_lam_alone():
    z, y = ring((0.0, 0.0), (0.0, 0.0))
    gradient = fit_fixed_point(z, y, 0.0, tied=True).vjp(np.ones((2, 2)))
    assert not np.isfinite(gradient.lam)
    np.testing.assert_allclose(gradient.means, np.ones((2, 2)))


def ring(*centers):
    """Four rows around each center, which have that mean exactly."""
    around = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    z = np.concatenate([np.asarray(center) + around for center in centers])
    return z, np.repeat(np.arange(len(centers)), 4)


def test_where_a_direction_costs_nothing_it_is_an_error():
    """Two classes with one mean part in any direction: the fit may turn."""
    z, y = ring((0.0, 0.0), (0.0, 0.0))
    init = ClassGaussians([[0.3, 0.1], [-0.3, -0.1]], np.ones((2, 2)))
    result = fit_fixed_point(z, y, 5.0, init=init, update="means", tol=TOL)
    assert result.converged
    turned = np.array([[0.1, -0.3], [-0.1, 0.3]])
    with pytest.raises(NotDifferentiableError, match=r"singular, or nearly so, at lam=5"):
        result.vjp(turned)


def test_at_a_saddle_point_it_is_that_of_differences_with_a_warning():
    """Three classes on a line: the one in the middle would leave it."""
    z, y = ring((-0.1, 0.0), (0.0, 0.0), (0.1, 0.0))
    options = {"update": "means", "tied": True}
    with pytest.warns(
        SaddlePointWarning, match=r"curves downward.*residual .*smallest curvature found -.*n_init"
    ):
        fit_fixed_point(z, y, 5.0, tol=TOL, **options).vjp(np.ones((3, 2)) + np.eye(3)[:, :2])
    result = fit_fixed_point(z, y, 5.0, tol=TOL, **options)
    with pytest.warns(SaddlePointWarning):
        gradient = result.vjp([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert gradient.smallest_curvature < 0.0

    def middle(t):
        """From the saddle point, Newton's steps on the line's own coordinate."""
        from scipy.optimize import root

        statistics = ClassStatistics.from_samples(z, y)
        m = statistics.means.copy()
        m[1, 1] += t

        def force(flat):
            means = flat.reshape(3, 2)
            gap = means[:, None] - means[None, :]
            v = result.gaussians.covariances
            d = 0.5 * (gap**2 / v).sum(-1) + np.eye(3)
            w = 2.0 * 5.0 / 6.0 * np.exp(-1.0) / d * (1.0 - np.eye(3))
            return ((means - m) / v - (w[:, :, None] * gap / v).sum(1)).ravel()

        return root(force, result.gaussians.means.ravel(), tol=1e-14).x[3]

    assert gradient.means[1, 1] == pytest.approx(along(middle), rel=1e-6)


def test_a_result_that_may_be_far_from_the_fixed_point_is_an_error():
    """Where the objective is flat, a small residual says little."""
    z, y = ring((0.0, 0.0), (1e-4, 0.0))
    init = ClassGaussians([[-0.6, 0.5], [0.6, -0.5]], np.ones((2, 2)))
    with np.errstate(all="ignore"):
        result = fit_fixed_point(z, y, 5.0, init=init, update="means", tol=1e-3)
    assert result.converged
    with pytest.raises(NotDifferentiableError, match=r"smaller tol|singular"):
        result.vjp(np.array([[0.1, -0.3], [-0.1, 0.3]]))


def close_classes(gap):
    """Two classes of one shape, whose repulsion changes within far less than their width."""
    z, y = ring((0.0, 0.0), (0.8 * gap, 0.6 * gap))
    return ClassStatistics.from_samples(z * [1.0, 1.3] + [0.2, 0.1], y)


TURNED = [[0.1, -0.3], [-0.1, 0.3]]


@pytest.mark.parametrize("gap", [1e-5, 1e-3])
@pytest.mark.parametrize("lam", [1e-6, 1e-4, 0.5])
def test_where_classes_are_close_it_is_known_roughly(gap, lam):
    loose, tight = (
        solve_fixed_point(close_classes(gap), lam, tied=True, tol=tol).vjp(TURNED).means
        for tol in (1e-6, TOL)
    )
    np.testing.assert_allclose(loose, tight, atol=0.1 * abs(tight).max())


@pytest.mark.parametrize("lam", [1e-6, 1e-4])
def test_where_classes_are_closer_than_the_residual_tells_it_is_an_error(lam):
    result = solve_fixed_point(close_classes(1e-6), lam, tied=True)
    assert result.converged
    with pytest.raises(NotDifferentiableError, match=r"some classes are so close.*smaller tol"):
        result.vjp(TURNED)


def test_of_samples_names_a_row_that_is_not_finite():
    z, y = data()
    gradient = fit_fixed_point(z, y, LAM).vjp(np.ones((K, DIM)))
    with pytest.raises(InvalidInputError, match="in row 1, column 0"):
        gradient.of_samples([[0.0, 0.0], [np.nan, 0.0]], y[:2])


@pytest.mark.parametrize("size", [5e-324, 1e-200, 1e200])
def test_is_proportional_to_its_cotangent(size):
    result = fit_fixed_point(*data(), LAM)
    unit, found = (result.vjp(x * np.eye(K, DIM)).means for x in (1.0, size))
    np.testing.assert_allclose(found, size * unit, rtol=1e-8, atol=2e-323)


def test_a_repulsion_with_a_kernel_of_its_own_needs_a_slope():
    class Own(fpigauss.Repulsion):
        has_potential = True

        def measure(self, blocks, n_classes):
            return None

        def kernel(self, divergences, pi, alpha):
            return np.exp(-0.2 * divergences)

        def potential(self, divergences, pi, alpha):
            return 5.0 * np.exp(-0.2 * divergences)

    class WithSlope(Own):
        def slope(self, divergences, pi, alpha):
            return -0.2 * np.exp(-0.2 * divergences)

    z, y = data()
    with pytest.raises(InvalidInputError, match=r"define Own\.slope"):
        fit_fixed_point(z, y, LAM, pi=Own()).vjp(np.ones((K, DIM)))
    assert_is_the_gradient({"pi": WithSlope()})


def test_families_of_ones_own():
    from test_custom_family import Blocks, PairedAxes, Rotated

    z, y = blobs(3, 4, 20, seed=9, spread=1.5)
    for family in (PairedAxes(), Rotated(), Blocks(), PairedAxes(tied=True), Rotated(tied=True)):
        assert_is_the_gradient({"covariance": family}, z=z, y=y)


def test_a_path_of_options_keeps_it():
    z, y = data()
    fitted = FixedPoint(LAM, tied=True).fit(z, y)
    assert repr(fitted.vjp(np.ones((K, DIM)))).startswith("FixedPointGradient(lam=")
    separated = fpigauss.fit_separated(z, y, min_kld=3.0).result
    assert separated.vjp(np.ones((K, DIM))).means.shape == (K, DIM)


def test_a_pi_of_ones_own_is_held_even_if_it_derives_from_the_mean():
    class Larger(fpigauss.MeanRepulsion):
        def measure(self, blocks, n_classes):
            return 1.5 * super().measure(blocks, n_classes)

    z, y = data()
    held = fit_fixed_point(z, y, LAM, pi=Larger(), tol=TOL)
    number = fit_fixed_point(z, y, LAM, pi=held.pi, tol=TOL)
    function = fit_fixed_point(z, y, LAM, pi=lambda d: 1.5 * d.sum() / (K * (K - 1)), tol=TOL)
    pulled = cotangents(held)
    expected = number.vjp(*pulled)
    for result in (held, function):
        gradient = result.vjp(*pulled)
        np.testing.assert_allclose(gradient.means, expected.means, rtol=1e-7, atol=1e-9)
