"""MINRES against dense solutions, of systems that are definite or not."""

import numpy as np
import pytest
from helpers import asarray_in

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
    np.testing.assert_allclose(np.asarray(a @ solved.x), np.asarray(b), atol=1e-6)
