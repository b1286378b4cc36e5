"""The geometric mean and the Riccati solve: identities, symmetry, and digits.

The textbook form, A^1/2 (A^-1/2 B A^-1/2)^1/2 A^1/2, satisfies every identity on well-conditioned
matrices and keeps no digit at condition 1e12. So accuracy is measured against 60 digits.
"""

import mpmath
import numpy as np
import pytest
from helpers import asarray_in, dtype_name, in_namespace, to_numpy
from hypothesis import given
from hypothesis import strategies as st

from fpigauss import geometric_mean
from fpigauss._array.linalg import riccati

EPS = 2.0**-52


def spd(rng, *batch, dim=4, condition=100.0):
    """Random orientations; eigenvalues from 1 down to 1 / condition, both ends taken."""
    basis = np.linalg.qr(rng.standard_normal((*batch, dim, dim)))[0]
    between = rng.uniform(size=(*batch, 1, dim))
    between[..., :2] = (0.0, 1.0)
    matrices = (basis * condition**-between) @ np.swapaxes(basis, -1, -2)
    return (matrices + np.swapaxes(matrices, -1, -2)) / 2


def transposed(matrices):
    return np.swapaxes(matrices, -1, -2)


def relative_error(result, expected):
    """The largest error of a batch, in the Frobenius norm, relative to what is expected."""
    size = np.linalg.norm(expected, axis=(-2, -1))
    return (np.linalg.norm(result - expected, axis=(-2, -1)) / size).max()


def exact(first, second):
    """A # B, and the SPD solution of X A X = B, in 60 digits, of exactly the numbers given."""
    with mpmath.workdps(60):
        a, b = mpmath.matrix(first.tolist()), mpmath.matrix(second.tolist())
        factor = mpmath.cholesky(a)
        inverse = mpmath.inverse(factor)

        def root(matrix):
            values, vectors = mpmath.eigsy((matrix + matrix.T) / 2)
            return vectors * mpmath.diag([mpmath.sqrt(value) for value in values]) * vectors.T

        mean = factor * root(inverse * b * inverse.T) * factor.T
        solution = inverse.T * root(factor.T * b * factor) * inverse
        # The defining equation holds to 40 digits or more, else the reference is worth nothing.
        assert mpmath.norm(solution * a * solution - b) < mpmath.mpf(10) ** -40 * mpmath.norm(b)
        return tuple(np.array(x.tolist(), dtype=np.float64) for x in (mean, solution))


@pytest.mark.parametrize(
    ("condition", "bound"), [(1e6, 1e-10), (1e10, 1e-6), (1e12, 1e-4)], ids=["1e6", "1e10", "1e12"]
)
def test_digits_when_ill_conditioned(condition, bound):
    # The bounds are the project's. Two Cholesky factors and the SVD of their product leave a
    # factor of 8 or more on these draws; one Cholesky factor and an eigendecomposition fails.
    rng = np.random.default_rng(int(np.log10(condition)))
    first, second = spd(rng, 2, 100, dim=6, condition=condition)
    expected = [exact(a, b) for a, b in zip(first, second, strict=True)]
    means, solutions = (np.stack(x) for x in zip(*expected, strict=True))
    assert relative_error(geometric_mean(first, second), means) < bound
    assert relative_error(riccati(first, second), solutions) < bound


def test_digits_in_every_namespace(xp):
    # the same algorithm everywhere: ten draws suffice to see that
    rng = np.random.default_rng(1)
    first, second = spd(rng, 2, 10, dim=6, condition=1e10)
    expected = [exact(a, b) for a, b in zip(first, second, strict=True)]
    means, solutions = (np.stack(x) for x in zip(*expected, strict=True))
    a, b = asarray_in(xp, first), asarray_in(xp, second)
    assert relative_error(to_numpy(geometric_mean(a, b)), means) < 1e-6
    assert relative_error(to_numpy(riccati(a, b)), solutions) < 1e-6


# Identities. Condition c and backward-stable steps: a few d eps c, 1e-12 for c = 100 and d <= 8.
# The Riccati residual squares X, and with it the constant.
TOL = 1e-12


@given(seed=st.integers(0, 10_000), dim=st.integers(2, 8))
def test_idempotent(seed, dim):
    a = spd(np.random.default_rng(seed), dim=dim)
    assert relative_error(geometric_mean(a, a), a) < TOL


@given(seed=st.integers(0, 10_000), dim=st.integers(2, 8), t=st.floats(0, 1))
def test_symmetry(seed, dim, t):
    a, b = spd(np.random.default_rng(seed), 2, dim=dim)
    assert relative_error(geometric_mean(a, b), geometric_mean(b, a)) < TOL
    assert relative_error(geometric_mean(a, b, t), geometric_mean(b, a, 1 - t)) < TOL


@given(seed=st.integers(0, 10_000), dim=st.integers(2, 8), t=st.floats(0, 1))
def test_congruence(seed, dim, t):
    # M (A #_t B) M' = (M A M') #_t (M B M'); cond(M)^2 <= 100 joins cond(A), which is 10 here
    rng = np.random.default_rng(seed)
    a, b = spd(rng, 2, dim=dim, condition=10.0)
    m = spd(rng, dim=dim, condition=10.0) @ np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    outside = m @ geometric_mean(a, b, t) @ m.T
    inside = [m @ x @ m.T for x in (a, b)]
    inside = geometric_mean(*[(x + x.T) / 2 for x in inside], t)
    assert relative_error(inside, outside) < 10 * TOL


@given(seed=st.integers(0, 10_000), dim=st.integers(2, 8))
def test_ends(seed, dim):
    a, b = spd(np.random.default_rng(seed), 2, dim=dim)
    assert relative_error(geometric_mean(a, b, 0.0), a) < TOL
    assert relative_error(geometric_mean(a, b, 1.0), b) < TOL
    assert relative_error(geometric_mean(a, b, 0.5), geometric_mean(a, b)) < TOL


@given(seed=st.integers(0, 10_000), dim=st.integers(2, 8), t=st.floats(0, 1), s=st.floats(0, 1))
def test_a_geodesic(seed, dim, t, s):
    # A #_s (A #_t B) = A #_(s t) B
    a, b = spd(np.random.default_rng(seed), 2, dim=dim)
    twice = geometric_mean(a, geometric_mean(a, b, t), s)
    assert relative_error(twice, geometric_mean(a, b, s * t)) < TOL


@given(seed=st.integers(0, 10_000), dim=st.integers(2, 8))
def test_riccati_residual(seed, dim):
    a, b = spd(np.random.default_rng(seed), 2, dim=dim)
    x = riccati(a, b)
    assert relative_error(x @ a @ x, b) < 10 * TOL
    mean = geometric_mean(a, b)
    assert relative_error(mean @ np.linalg.solve(a, mean), b) < 10 * TOL


@given(seed=st.integers(0, 10_000), dim=st.integers(2, 8))
def test_riccati_is_a_geometric_mean(seed, dim):
    a, b = spd(np.random.default_rng(seed), 2, dim=dim)
    inverse = np.linalg.inv(a)
    expected = geometric_mean((inverse + inverse.T) / 2, b)
    assert relative_error(riccati(a, b), expected) < 10 * TOL


@given(seed=st.integers(0, 10_000), dim=st.integers(2, 8), t=st.floats(0, 1))
def test_commuting(seed, dim, t):
    # one basis: A #_t B = A^(1-t) B^t
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    a, b = 100.0 ** rng.uniform(-0.5, 0.5, size=(2, dim))
    dense = [(basis * values) @ basis.T for values in (a, b, a ** (1 - t) * b**t)]
    first, second, expected = ((x + x.T) / 2 for x in dense)
    assert relative_error(geometric_mean(first, second, t), expected) < TOL


@pytest.mark.parametrize("condition", [1e2, 1e12])
def test_exactly_symmetric(xp, condition):
    a, b = (asarray_in(xp, x) for x in spd(np.random.default_rng(2), 2, 20, condition=condition))
    for result in (geometric_mean(a, b), geometric_mean(a, b, 0.3), riccati(a, b)):
        result = to_numpy(result)
        assert np.array_equal(result, transposed(result))


@pytest.mark.parametrize("condition", [1e2, 1e10])
def test_positive_definite(xp, condition):
    # its smallest eigenvalue is at least 1 / condition, the rounding 1e-6 of its size at worst,
    # so definiteness is what Cholesky says: X = H H' is never far from it
    a, b = (asarray_in(xp, x) for x in spd(np.random.default_rng(3), 2, 20, condition=condition))
    for result in (geometric_mean(a, b), geometric_mean(a, b, 0.3), riccati(a, b)):
        np.linalg.cholesky(to_numpy(result))


def test_batches_and_broadcasting(xp):
    rng = np.random.default_rng(4)
    a, b = spd(rng, 5, 1, dim=3), spd(rng, 3, dim=3)
    for function in (geometric_mean, riccati):
        result = function(asarray_in(xp, a), asarray_in(xp, b))
        assert in_namespace(result, xp)
        assert dtype_name(result) == "float64"
        assert tuple(result.shape) == (5, 3, 3, 3)
        for i in range(5):
            for j in range(3):
                one = function(asarray_in(xp, a[i, 0]), asarray_in(xp, b[j]))
                assert tuple(one.shape) == (3, 3)
                assert relative_error(to_numpy(result)[i, j], to_numpy(one)) < TOL


def test_one_matrix_against_a_batch(xp):
    rng = np.random.default_rng(5)
    a, b = spd(rng, dim=3), spd(rng, 4, dim=3)
    result = to_numpy(geometric_mean(asarray_in(xp, a), asarray_in(xp, b), 0.25))
    expected = np.stack([geometric_mean(a, other, 0.25) for other in b])
    assert relative_error(result, expected) < TOL


def test_one_by_one(xp):
    a, b = np.array([[4.0]]), np.array([[9.0]])
    mean = geometric_mean(asarray_in(xp, a), asarray_in(xp, b))
    np.testing.assert_allclose(to_numpy(mean), [[6.0]], rtol=4 * EPS)
    solution = riccati(asarray_in(xp, a), asarray_in(xp, b))
    np.testing.assert_allclose(to_numpy(solution), [[1.5]], rtol=4 * EPS)


def test_float32(xp):
    # d eps cond: 4 * 1.2e-7 * 100
    a, b = (asarray_in(xp, x, "float32") for x in spd(np.random.default_rng(6), 2, 5))
    mean = geometric_mean(a, b)
    assert dtype_name(mean) == "float32"
    exact_mean = geometric_mean(to_numpy(a).astype(np.float64), to_numpy(b).astype(np.float64))
    assert relative_error(to_numpy(mean), exact_mean) < 5e-5


def test_python_lists():
    mean = geometric_mean([[1.0, 0.0], [0.0, 4.0]], [[9.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(mean, [[3.0, 0.0], [0.0, 2.0]], rtol=4 * EPS)
