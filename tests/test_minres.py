"""MINRES against dense solutions, of systems that are definite or not."""

import numpy as np
import pytest
from helpers import asarray_in, to_numpy

from fpigauss.solvers import solve_symmetric

N = 30


def system(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues once it is preconditioned, and its scales."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((N, N)))[0]
    scale = np.exp(rng.uniform(-3.0, 3.0, size=N))
    white = (basis * eigenvalues) @ basis.T
    root = np.sqrt(scale)
    return root[:, None] * white * root[None, :], scale, rng.standard_normal(N)


SPECTRA = {
    "definite": np.geomspace(1e-3, 1.0, N),
    "indefinite": np.concatenate([-np.geomspace(0.01, 1.0, 7), np.geomspace(0.01, 1.0, N - 7)]),
    "far apart": np.geomspace(1e-7, 1.0, N),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_is_the_solution(name):
    eigenvalues = SPECTRA[name]
    a, scale, b = system(eigenvalues)
    solved = solve_symmetric(lambda x: a @ x, b, lambda g: g / scale, rtol=1e-10, max_products=5000)
    assert solved.residual <= 1e-10
    expected = np.linalg.solve(a, b)
    kappa = np.abs(eigenvalues).max() / np.abs(eigenvalues).min()
    root = np.sqrt(scale)
    error = np.linalg.norm(root * (solved.x - expected)) / np.linalg.norm(root * expected)
    assert error <= 1e-10 * kappa
    assert solved.lowest == pytest.approx(eigenvalues.min(), rel=0.02, abs=1e-6)
    assert solved.highest == pytest.approx(eigenvalues.max(), rel=0.02)
    assert solved.nearest_zero >= 0.98 * np.abs(eigenvalues).min()


def test_a_singular_system_is_told():
    eigenvalues = np.append(0.0, np.geomspace(0.1, 1.0, N - 1))
    a, scale, b = system(eigenvalues)
    solved = solve_symmetric(lambda x: a @ x, b, lambda g: g / scale, rtol=1e-10, max_products=500)
    assert solved.residual > 1e-3 or solved.nearest_zero <= 1e-11


def test_nothing_is_solved_for_nothing():
    solved = solve_symmetric(lambda x: 1 / 0, np.zeros(3), lambda g: g, rtol=1e-8, max_products=9)
    assert solved.n_products == 0 and (solved.x == 0.0).all()


def test_in_every_namespace(xp):
    a, scale, b = system(SPECTRA["indefinite"])
    a, scale, b = (asarray_in(xp, x) for x in (a, scale, b))
    solved = solve_symmetric(lambda x: a @ x, b, lambda g: g / scale, rtol=1e-9, max_products=500)
    assert type(solved.x) is type(b)
    np.testing.assert_allclose(to_numpy(a @ solved.x), to_numpy(b), atol=1e-6)


def counted(a):
    calls = []

    def product(x):
        calls.append(x)
        return a @ x

    return product, calls


@pytest.mark.parametrize("n_distinct", [1, 3, 6])
def test_as_many_products_as_eigenvalues(n_distinct):
    eigenvalues = np.resize(np.linspace(-1.5, 2.0, n_distinct + 1)[1:], N)
    a, scale, b = system(eigenvalues)
    product, calls = counted(a)
    solved = solve_symmetric(product, b, lambda g: g / scale, rtol=1e-8, max_products=500)
    # and one for the residual
    assert solved.n_products == len(calls) == n_distinct + 1
    np.testing.assert_allclose(a @ solved.x, b, atol=1e-7)
    assert solved.lowest == pytest.approx(eigenvalues.min())
    assert solved.highest == pytest.approx(eigenvalues.max())
    assert solved.nearest_zero == pytest.approx(np.abs(eigenvalues).min())


@pytest.mark.parametrize("max_products", [1, 2, 5, 20])
def test_no_more_products_than_there_may_be(max_products):
    a, scale, b = system(SPECTRA["far apart"])
    product, calls = counted(a)
    solved = solve_symmetric(product, b, lambda g: g / scale, rtol=0.0, max_products=max_products)
    # the last residual is looked at in any case
    assert solved.n_products == len(calls) <= max_products + 1
    residual = (b - a @ solved.x) / np.sqrt(scale)
    size = np.linalg.norm(b / np.sqrt(scale))
    assert solved.residual == pytest.approx(np.linalg.norm(residual) / size, rel=1e-6)
    assert solved.residual <= 1.0


def test_a_longer_search_is_never_worse():
    a, scale, b = system(SPECTRA["indefinite"])
    residuals = [
        solve_symmetric(lambda x: a @ x, b, lambda g: g / scale, rtol=1e-9, max_products=n).residual
        for n in range(1, 60)
    ]
    assert (np.diff(residuals) <= 1e-12).all()
    assert residuals[-1] <= 1e-9


@pytest.mark.parametrize("size", [2.0**-600, 2.0**500])
def test_scales_round_nothing(size):
    a, scale, b = system(SPECTRA["indefinite"])
    one, other = (
        solve_symmetric(lambda x: a @ x, x, lambda g: g / scale, rtol=1e-9, max_products=500)
        for x in (b, size * b)
    )
    np.testing.assert_array_equal(other.x, size * one.x)
    assert (other.residual, other.n_products) == (one.residual, one.n_products)


def test_what_is_left_is_solved_for_again():
    # one pass stops at 1e-6, by the rounding of its products times the condition number, 1e7
    a, scale, b = system(SPECTRA["far apart"])
    solved = solve_symmetric(lambda x: a @ x, b, lambda g: g / scale, rtol=1e-14, max_products=5000)
    loose = solve_symmetric(lambda x: a @ x, b, lambda g: g / scale, rtol=1e-3, max_products=5000)
    assert solved.residual < 1e-9
    assert 1e-5 < loose.residual <= 1e-3 and loose.n_products < solved.n_products


def test_products_that_overflow_end_the_search():
    product, calls = counted(1e300 * np.eye(N))
    with np.errstate(all="ignore"):
        solved = solve_symmetric(
            lambda x: product(1e300 * x), np.ones(N), lambda g: g, rtol=1e-8, max_products=50
        )
    assert solved.residual == 1.0 and (solved.x == 0.0).all() and len(calls) <= 3
    assert solved.lowest == solved.highest == solved.nearest_zero == 0.0
