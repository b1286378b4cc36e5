"""The ends of the number range, of sizes and of gradients: an answer or an error, never a NaN."""

import re
import tracemalloc

import numpy as np
import pytest
from helpers import asarray_in, random_covariances, to_numpy

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    ConvergenceWarning,
    FrozenRepulsion,
    InvalidInputError,
    Repulsion,
    Status,
    fit_fixed_point,
    geometric_mean,
    pairwise_kld,
    pairwise_overlap,
    smallest_kld,
    solve_fixed_point,
    solve_separated,
)

RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(3), 30)
Z = RNG.normal(size=(90, 2)) + Y[:, None]

FAMILIES = [(name, tied) for name in ("diagonal", "dense", "isotropic") for tied in (False, True)]


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(1e3, "float16"), (1e25, "float32"), (1e-25, "float32"), (1e-160, "float64")],
)
def test_results_that_do_not_fit_the_dtype_are_refused(covariance, tied, scale, dtype):
    z = (Z * scale).astype(dtype)
    with pytest.raises(InvalidInputError, match=rf"(?s)(covariances|z).*({dtype}|rescale)"):
        fit_fixed_point(z, Y, 0.0, covariance=covariance, tied=tied)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_scales_that_fit_change_nothing(covariance, tied, scale):
    options = {"covariance": covariance, "tied": tied, "tol": 1e-9}
    near = fit_fixed_point(Z, Y, 2.0, **options).gaussians
    far = fit_fixed_point(Z * scale, Y, 2.0, **options).gaussians
    # two fits to a residual of 1e-9; distances of 500 times the residual were seen
    np.testing.assert_allclose(far.means / scale, near.means, rtol=1e-6)
    np.testing.assert_allclose(far.covariances / scale / scale, near.covariances, rtol=1e-6)


def in_units(xp, covariance, tied, unit, *, dtype=None):
    """Gaussians 1e5 standard deviations apart, and rows that are as far from them."""
    rng = np.random.default_rng(0)
    means = 1e5 * rng.standard_normal((4, 3))
    covariances = random_covariances(rng, 4, 3, covariance, tied) * unit * unit
    gaussians = ClassGaussians(
        asarray_in(xp, means * unit), asarray_in(xp, covariances), covariance=covariance, tied=tied
    )
    return gaussians, asarray_in(xp, 1.5 * means[::-1] * unit, dtype)


def of_all_pairs(gaussians, z):
    pairs = pairwise_kld(gaussians), smallest_kld(gaussians), pairwise_overlap(gaussians, log=True)
    return [to_numpy(x) for x in (*pairs, gaussians.mahalanobis(z))]


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
@pytest.mark.parametrize("power", [-506, -60, 60, 508])
def test_squares_of_numbers_may_be_out_of_range(xp, covariance, tied, power):
    """The square of a mean is beyond 1e308, or of a precision, but no divergence or distance."""
    unit = 2.0**power
    gaussians, z = in_units(xp, covariance, tied, unit)
    near = in_units(xp, covariance, tied, 1.0)
    # powers of two round nothing, so that ordinary numbers stay, bit for bit; far off, logarithms
    # round anew what they are added to, up to some hundred times the divergence
    rtol = 0.0 if abs(power) < 100 else 1e-13
    for result, expected in zip(of_all_pairs(gaussians, z), of_all_pairs(*near), strict=True):
        np.testing.assert_allclose(result, expected, rtol=rtol, atol=0.0)
    expected = to_numpy(near[0].class_log_prob(near[1])) - 3 * np.log(unit)
    np.testing.assert_allclose(to_numpy(gaussians.class_log_prob(z)), expected, rtol=1e-13)
    np.testing.assert_allclose(
        to_numpy(gaussians.predict_proba(z)), to_numpy(near[0].predict_proba(near[1])), rtol=1e-9
    )


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
@pytest.mark.parametrize("power", [-70, 45])
def test_latents_in_float32_of_any_unit(xp, covariance, tied, power):
    """Inverse variances of 1e42 are not in float32, log-densities are."""
    gaussians, z = in_units(xp, covariance, tied, 2.0**power, dtype="float32")
    near, rows = in_units(xp, covariance, tied, 1.0, dtype="float32")
    expected = to_numpy(near.class_log_prob(rows)) - 3 * power * np.log(2.0)
    # the same, but for the rounding of both logarithms
    np.testing.assert_allclose(to_numpy(gaussians.class_log_prob(z)), expected, rtol=2.0**-22)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
def test_classes_that_are_near_each_other_and_very_far_from_a_third(xp, covariance, tied):
    """Squares about the center are infinite, and cancel."""
    apart, far = 2.0**490, 2.0**530
    means = asarray_in(xp, np.array([[0.0, 0.0], [far, far], [far + apart, far]]))
    one = random_covariances(np.random.default_rng(0), 1, 2, covariance, True)
    gaussians = ClassGaussians(
        means,
        asarray_in(xp, one if tied else np.stack([one] * 3)),
        covariance=covariance,
        tied=tied,
    )
    distance = to_numpy(gaussians.mahalanobis(means[1:, :]))
    precision = np.linalg.inv(one)[0, 0] if covariance == "dense" else 1.0 / np.ravel(one)[0]
    expected = apart * apart * precision
    assert np.isinf(distance[:, 0]).all()
    np.testing.assert_allclose(distance[:, 1:], [[0.0, expected], [expected, 0.0]], rtol=1e-14)
    kld = to_numpy(pairwise_kld(gaussians))
    np.testing.assert_allclose(2.0 * kld[1:, 1:], distance[:, 1:], rtol=1e-14)
    assert np.isinf(kld[0, 1:]).all() and np.isinf(kld[1:, 0]).all() and kld[0, 0] == 0.0


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
def test_gradients_where_squares_are_out_of_range(covariance, tied):
    torch = pytest.importorskip("torch")
    gradients = []
    for unit in (1.0, 2.0**508):
        gaussians, z = in_units(torch, covariance, tied, unit)
        parts = [x.requires_grad_() for x in (gaussians.means, gaussians.covariances, z)]
        (pairwise_kld(gaussians).sum() + gaussians.class_log_prob(z).sum()).backward()
        units = (unit, unit * unit, unit)
        gradients.append([u * x.grad.numpy() for u, x in zip(units, parts, strict=True)])
    for far, near in zip(*reversed(gradients), strict=True):
        np.testing.assert_allclose(far, near, rtol=1e-12, atol=1e-12 * np.abs(near).max())


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
@pytest.mark.parametrize(("far", "dtype"), [(1e200, "float64"), (1e25, "float32")])
def test_latents_infinitely_far(xp, covariance, tied, far, dtype):
    gaussians = fit_fixed_point(Z, Y, 0.0, covariance=covariance, tied=tied).gaussians
    z = asarray_in(xp, np.array([[far, -far], [0.5, 0.5]]), dtype)
    gaussians = gaussians.to(z)
    for numbers in (gaussians.class_log_prob(z), gaussians.log_prob(z), gaussians.predict_proba(z)):
        assert not np.isnan(to_numpy(numbers)).any()
    assert to_numpy(gaussians.predict(z)).shape == (2,)


def test_no_rows(xp):
    gaussians = fit_fixed_point(asarray_in(xp, Z), Y, 0.0).gaussians
    none = asarray_in(xp, Z)[:0, :]
    assert to_numpy(gaussians.predict(none)).shape == (0,)
    assert to_numpy(gaussians.class_log_prob(none)).shape == (0, 3)
    assert to_numpy(gaussians.log_prob(none)).shape == (0,)
    assert to_numpy(gaussians.log_prob(none, [])).shape == (0,)
    assert to_numpy(gaussians.sample([])).shape == (0, 2)


@pytest.mark.parametrize("t", [500.0, -500.0])
def test_a_geometric_mean_beyond_the_numbers(t):
    with pytest.raises(InvalidInputError, match="t="):
        geometric_mean(np.eye(2) * 1e3, np.eye(2) * 1e-3, t)


def test_a_warm_start_with_gradients_leaves_none():
    torch = pytest.importorskip("torch", reason="the extra torch has gradients")
    start = ClassGaussians(
        torch.tensor(Z[:3], requires_grad=True), torch.ones(3, 2, dtype=torch.float64)
    )
    for update in ("both", "means", "covariances"):
        result = fit_fixed_point(torch.tensor(Z), Y, 2.0, init=start, update=update)
        assert not result.gaussians.means.requires_grad
        assert not result.gaussians.covariances.requires_grad


def test_statistics_are_nobody_elses_arrays():
    means = np.zeros((2, 1))
    means[1] = 1.0
    statistics = ClassStatistics(
        counts=[5, 5], means=means, covariances=np.ones((2, 1)), classes=[0, 1]
    )
    means[:] = np.nan
    result = solve_fixed_point(statistics, 0.0)
    result.gaussians.means[:] = 7.0
    np.testing.assert_array_equal(statistics.means, [[0.0], [1.0]])


def test_a_callable_pi_may_write_to_its_matrix():
    def writing(kld):
        kld *= 0.5
        return kld.sum() / 3

    ours = fit_fixed_point(Z, Y, 5.0, pi=lambda kld: kld.sum() / 6)
    theirs = fit_fixed_point(Z, Y, 5.0, pi=writing)
    # half of a sum is exact
    assert theirs.objective == ours.objective


class Own(Repulsion):
    """The mean of D, by a repulsion that writes to the blocks."""

    def measure(self, blocks, n_classes):
        total = 0.0
        for block in blocks:
            block *= 0.5
            total += block.sum()
        return total / (0.5 * n_classes * (n_classes - 1))


def mean_of(kld):
    return kld.sum() / (len(kld) * (len(kld) - 1))


def test_a_repulsion_may_write_to_its_blocks():
    ours = fit_fixed_point(Z, Y, 5.0, pi="mean")
    theirs = fit_fixed_point(Z, Y, 5.0, pi=Own())
    assert theirs.objective == pytest.approx(ours.objective, rel=1e-12)


@pytest.mark.parametrize(
    ("pi", "memory_limit"),
    [(mean_of, 2**30), (Own(), 2**30), (Own(), 1)],
    ids=["callable", "repulsion", "repulsion-in-blocks"],
)
def test_a_pi_of_ones_own_is_not_blamed_for_divergences_that_vanish(pi, memory_limit):
    """A plain iteration inflates the covariance until no pair has a divergence left."""
    rng = np.random.default_rng(0)
    z = np.repeat([[0.0], [1.0]], 40, axis=0) + rng.standard_normal((80, 1))
    options = {"tied": True, "init": "identity", "solver": "picard", "memory_limit": memory_limit}
    with pytest.warns(ConvergenceWarning):
        result = fit_fixed_point(z, np.repeat([0, 1], 40), 500.0, pi=pi, **options)
    assert result.status is Status.DIVERGED


@pytest.mark.parametrize("pi", [mean_of, Own()], ids=["callable", "repulsion"])
def test_a_pi_of_ones_own_is_not_blamed_for_divergences_that_overflow(pi):
    z = np.array([[0.0], [1.0], [1e160], [1e160 + 1e150]])
    with pytest.raises(InvalidInputError, match="the objective overflows at the initial Gaussians"):
        fit_fixed_point(z, [0, 0, 1, 1], 1.0, pi=pi)


def test_a_smaller_memory_limit_takes_less_memory():
    n_classes, dim = 300, 8
    rng = np.random.default_rng(1)
    statistics = ClassStatistics(
        counts=np.full(n_classes, 50.0),
        means=rng.normal(size=(n_classes, dim)),
        covariances=np.eye(dim) * rng.uniform(0.5, 2.0, size=(n_classes, 1, 1)),
        classes=np.arange(n_classes),
    )
    peaks = []
    for limit in (2**30, 2**18):
        tracemalloc.start()
        solve_fixed_point(
            statistics, 1.0, covariance="dense", max_iter=1, tol=0.0, memory_limit=limit
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0]


def test_float32_densities_of_classes_far_apart():
    # 18 sigma apart on each of 512 axes: products in float32 alone are off by 0.03
    center = np.full((1, 512), 18.0)
    means = np.concatenate([center, -center])
    z = means[[0, 1, 1]] + np.random.default_rng(2).normal(size=(3, 512))
    for covariances, tied in ((np.ones((2, 512)), False), (np.ones(512), True)):
        exact = ClassGaussians(means, covariances, tied=tied)
        table = exact.to(z.astype(np.float32)).class_log_prob(z.astype(np.float32))
        own = table[np.arange(3), [0, 1, 1]]
        expected = exact.log_prob(z.astype(np.float32).astype(float), [0, 1, 1])
        # a sum of 512 float32 numbers: eps * sum, with the roundings of z - mean
        np.testing.assert_allclose(own, expected, rtol=0, atol=512 * 1.2e-7 * 4)


@pytest.mark.parametrize(
    "labels",
    [[1] * 45 + ["x"] * 45, ["a"] * 45 + ["b"] * 44 + [float("nan")], [1] * 60 + [2] * 29 + [None]],
)
def test_lists_of_mixed_labels_are_refused(labels):
    with pytest.raises(InvalidInputError, match=r"y is .* in row \d+"):
        fit_fixed_point(Z, labels, 1.0)


@pytest.mark.parametrize("lam", [1e6, 1e7])
@pytest.mark.parametrize(
    "options", [{"tied": True}, {"update": "means"}, {"update": "means", "init": "identity"}]
)
def test_large_lam_converges_where_a_minimum_is_certain(lam, options):
    result = fit_fixed_point(Z, Y, lam, max_iter=2000, **options)
    assert result.converged, result


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("pi", "alpha"), [(1e-300, 1e-300), ("forward", 1e-320)])
def test_a_range_of_the_repulsion_that_underflows_repels_nothing(tied, pi, alpha):
    near = Z - Y[:, None] * (1.0 - 1e-3)  # divergences that underflow too, times alpha
    free = fit_fixed_point(near, Y, 0.0, tied=tied)
    result = fit_fixed_point(near, Y, 1e300, tied=tied, pi=pi, alpha=alpha)
    assert result.converged
    assert result.residual <= 1e-12  # rounding alone
    np.testing.assert_allclose(result.gaussians.means, free.gaussians.means, rtol=1e-12)


def test_slopes_far_beyond_the_range_of_the_repulsion_are_zero():
    apart = np.array([[0.0, 1e300], [1e-3, 0.0]])
    repulsion = FrozenRepulsion(1e-200)
    for slope in (repulsion.slope, repulsion.slope_in_pi):
        with np.errstate(all="ignore"):  # as in fits
            slopes = slope(apart, 1e-200, 1e-100)
        assert (slopes[[0, 1], [1, 0]] == 0.0).all()


@pytest.mark.parametrize("options", [{}, {"pi": 1.0}, {"covariance": "isotropic"}])
def test_the_way_to_the_largest_lam(options):
    with pytest.warns(ConvergenceWarning):
        result = fit_fixed_point(Z, Y, 1.7e308, tied=True, max_iter=20, **options)
    assert np.isfinite(result.gaussians.means).all()


@pytest.mark.parametrize("lam", [1e20, 1e300])
def test_a_repulsion_that_leaves_nothing_of_the_data_is_blamed(lam):
    """In the three dimensions that three classes leave, only the data hold a shared covariance."""
    z = np.random.default_rng(0).normal(size=(90, 5)) + Y[:, None]
    match = rf"^lam: .*lam={re.escape(f'{lam:g}')}.*below rounding.*pass a smaller lam"
    with pytest.raises(InvalidInputError, match=match):
        fit_fixed_point(z, Y, lam, covariance="dense", tied=True)


def test_forces_that_overflow_at_the_start_are_refused():
    means = 1e-12 * np.arange(20.0)[:, None] ** 2
    statistics = ClassStatistics(np.full(20, 5.0), means, np.ones((20, 1)), np.arange(20))
    with pytest.raises(InvalidInputError, match=r"overflows at the initial.*lam=1e\+300"):
        solve_fixed_point(statistics, 1e300, update="means", pi="mean")


@pytest.mark.parametrize("target", [1e-320, 1e-300, 1e300])
@pytest.mark.parametrize("options", [{"tied": True}, {"update": "means"}])
def test_a_separation_at_the_ends_of_the_number_range_of_classes_that_coincide(target, options):
    statistics = ClassStatistics([5, 5], [[1.0], [1.0]], [[1.0], [1.0]], [0, 1])
    with pytest.raises(InvalidInputError, match=r"coincide|same"):
        solve_separated(statistics, min_kld=target, **options)


@pytest.mark.parametrize("tied", [True, False])
def test_a_quasi_newton_step_that_overflows_is_passed_over(tied):
    """From an identity that is 1e200 times the data, products of changes overflow."""
    rng = np.random.default_rng(0)
    means = 1e-106 * rng.standard_normal((3, 8))
    basis = np.linalg.qr(rng.standard_normal((3, 8, 8)))[0]
    covariances = 1e-200 * (basis @ np.swapaxes(basis, 1, 2))  # the identity, up to rounding
    covariances = 0.5 * (covariances + np.swapaxes(covariances, 1, 2))
    statistics = ClassStatistics(np.full(3, 9.0), means, covariances, np.arange(3))
    with pytest.warns(ConvergenceWarning):
        result = solve_fixed_point(
            statistics, 0.0, covariance="dense", tied=tied, init="identity", max_iter=60
        )
    assert np.isfinite(result.gaussians.covariances).all()
