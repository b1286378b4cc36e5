"""What covariance families compute is what whole matrices, class by class, give."""

import numpy as np
import pytest
from scipy.linalg import expm

from fpigauss.covariance import (
    CovarianceFamily,
    Dense,
    Diagonal,
    Factor,
    Isotropic,
    resolve_family,
    shrunk,
    shrunk_vjp,
)

K, D = 3, 4
SHAPES = {"diagonal": Diagonal, "dense": Dense, "isotropic": Isotropic}
family = pytest.mark.parametrize(
    "family",
    [shape(tied) for shape in SHAPES.values() for tied in (False, True)],
    ids=[f"{'tied ' if tied else ''}{name}" for name in SHAPES for tied in (False, True)],
)
shape = pytest.mark.parametrize("family", [kind() for kind in SHAPES.values()], ids=SHAPES)


def rng_of(*key):
    return np.random.default_rng([21, *key])


def length(family):
    """How many covariances a family has for K classes."""
    return 1 if family.tied else K


def symmetric(n, seed):
    drawn = rng_of(n, seed).normal(size=(n, D, D))
    return 0.5 * (drawn + np.swapaxes(drawn, 1, 2))


def positive(n, seed):
    drawn = rng_of(n, seed).normal(size=(n, D, D + 2))
    return drawn @ np.swapaxes(drawn, 1, 2) + 0.1 * np.eye(D)


def projected(family, matrices):
    """The projections of whole matrices onto a family, none of them pooled."""
    if isinstance(family, Dense):
        return matrices
    diagonals = np.diagonal(matrices, axis1=1, axis2=2)
    return diagonals.sum(axis=1, keepdims=True) if isinstance(family, Isotropic) else diagonals


def matrices_of(family, values):
    """The whole matrices (n, d, d) with these values."""
    if isinstance(family, Dense):
        return values
    return np.broadcast_to(values, (len(values), D))[:, :, None] * np.eye(D)


def values_of(family, matrices):
    """The values of the matrix of a family that is nearest to each of these."""
    values = projected(family, matrices)
    return values / D if isinstance(family, Isotropic) else values


def transposed(x):
    return np.swapaxes(x, 1, 2)


def wholes(family, factor):
    """F and F^-1 as matrices (n, d, d)."""
    parts = family.as_matrices(factor, D)
    return [x if x.ndim == 3 else matrices_of(Diagonal(), x) for x in parts]


def factors(family, seed=0):
    """Factors of a family, and F and F^-1 as whole matrices."""
    factor = family.factor(values_of(family, positive(length(family), seed)))
    return factor, *wholes(family, factor)


def close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def vectors(seed=5):
    return rng_of(seed).normal(size=(K, D))


def times(matrices, x):
    return np.squeeze(matrices @ x[:, :, None], -1)


# ------------------------------------------------------------------ forms


@family
def test_values_and_projections(family):
    values = values_of(family, symmetric(length(family), 0))
    other = symmetric(length(family), 1)
    projections = family.values_projections(values, D)
    close(projections, projected(family, matrices_of(family, values)))
    close(family.average(projections, D), values)
    # the inner product of values and projections is that of the matrices
    axes = tuple(range(1, values.ndim))
    inner = np.sum(values * projected(family, other), axis=axes)
    close(inner, np.trace(matrices_of(family, values) @ other, axis1=1, axis2=2))
    close(family.trace(projected(family, other)), np.trace(other, axis1=1, axis2=2))
    close(family.unit(D, vectors()), projected(family, np.eye(D)[None]))


@family
def test_class_covariances_are_projected(family):
    covariances = positive(K, 2)
    close(family.projections(covariances), projected(family, covariances))
    if not family.needs_dense:
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        close(family.projections(variances), projected(family, covariances))


@family
def test_outer_products_are_pooled_where_tied(family):
    a, b = vectors(6), vectors(7)
    for left, right in [(a, b), (a, a)]:
        product = left[:, :, None] * right[:, None, :]
        expected = projected(family, 0.5 * (product + transposed(product)))
        if family.tied:
            expected = expected.sum(axis=0, keepdims=True)
        close(family.outer(left, right), expected)
    projections = projected(family, symmetric(K, 3))
    total = projections.sum(axis=0, keepdims=True)
    close(family.pooled(projections), total if family.tied else projections)


@family
def test_identities_are_added(family):
    projections, weights = projected(family, symmetric(K, 4)), rng_of(8).uniform(0.5, 2.0, K)
    added = projected(family, weights[:, None, None] * np.eye(D))
    close(family.plus_identity(projections, weights, vectors()), projections + added)


# ------------------------------------------------------------------ factors


@family
def test_factors(family):
    sigma = values_of(family, positive(length(family), 0))
    factor, root, inverse = factors(family)
    whole = matrices_of(family, sigma)
    close(root @ transposed(root), whole)
    close(inverse @ root, np.broadcast_to(np.eye(D), root.shape))
    close(family.values(factor), sigma)
    close(matrices_of(family, family.precisions(factor)), np.linalg.inv(whole))
    close(family.log_det(factor, D), np.linalg.slogdet(whole)[1])
    eigenvalues = np.linalg.eigvalsh(whole)
    low, high = family.spectrum(factor)
    close(low, eigenvalues[:, 0])
    close(high, eigenvalues[:, -1])
    adjoint = family.adjoint_root(factor)
    close(adjoint, transposed(root) if adjoint.ndim == 3 else factor.root)


@family
def test_factors_are_composed(family):
    outer, root_outer, _ = factors(family, 0)
    inner, root_inner, _ = factors(family, 1)
    root, inverse = wholes(family, family.composed(outer, inner))
    close(root, root_outer @ root_inner)
    close(inverse @ root_outer @ root_inner, np.broadcast_to(np.eye(D), root.shape))


@family
def test_vectors_through_factors(family):
    x = vectors()
    factor, root, inverse = factors(family)
    close(family.color(factor, x), times(root, x))
    close(family.whiten(factor, x), times(inverse, x))
    close(family.color_adjoint(factor, x), times(transposed(root), x))
    values = values_of(family, symmetric(length(family), 2))
    close(family.apply(values, x), times(matrices_of(family, values), x))


@family
def test_matrices_through_factors(family):
    n = length(family)
    factor, root, inverse = factors(family)
    values = values_of(family, symmetric(n, 2))
    whole = matrices_of(family, values)
    projections = projected(family, whole)
    white = inverse @ whole @ transposed(inverse)
    close(family.whiten_projections(factor, projections), projected(family, white))
    colored = transposed(root) @ whole @ root
    close(family.color_precisions(factor, values, D), projected(family, colored))
    close(family.color_projections(factor, projections), projected(family, colored))
    congruent = values_of(family, root @ whole @ transposed(root))
    close(family.congruent(factor.root, values, D), congruent)
    other = matrices_of(family, values_of(family, symmetric(n, 3)))
    both = projected(family, whole @ other + other @ whole)
    close(family.anticommutator(values, projected(family, other), D), both)


@family
def test_rows_of_factors(family):
    factor, *_ = factors(family)
    index = np.array([2, 0, 0])
    taken = family.rows(factor, index)
    for part, whole in zip(taken, factor, strict=True):
        close(part, whole if family.tied else whole[index])


@shape
def test_an_inflated_class_does_not_take_the_center_along(family):
    means, deviations = vectors(), np.array([1.0, 2.0, 1e6])
    whole = deviations[:, None, None] ** 2 * np.eye(D)
    center = family.center(means, family.factor(values_of(family, whole)))
    close(center, np.average(means, axis=0, weights=1.0 / deviations)[None, :])
    tied = family.with_tied(True)
    shared = tied.factor(values_of(tied, whole[:1]))
    close(tied.center(means, shared), means.mean(axis=0, keepdims=True))


# ------------------------------------------------------------------ updates


@family
def test_updates_solve_their_equations(family):
    n = length(family)
    a, b = (matrices_of(family, values_of(family, positive(n, seed))) for seed in (3, 4))
    g = matrices_of(family, values_of(family, symmetric(n, 5)))
    of_a, of_b, of_g = (projected(family, x) for x in (a, b, g))
    solution = matrices_of(family, family.log_solution(of_a, of_b))
    x = np.stack([expm(s) for s in solution])
    close(x @ a @ x, b, rtol=1e-10)
    for solved in (family.precondition(of_a, of_g), family.preconditioner(of_a)(of_g)):
        x = matrices_of(family, solved)
        close(x @ a + a @ x, 2.0 * g, rtol=1e-10)


@family
def test_steps_go_along_geodesics(family):
    n = length(family)
    factor, root, _ = factors(family)
    step = values_of(family, symmetric(n, 6))
    whole = matrices_of(family, step)
    moved = matrices_of(family, family.values(family.retract(factor, step)))
    expected = root @ np.stack([expm(s) for s in whole]) @ transposed(root)
    close(moved, expected)
    sizes = np.abs(np.linalg.eigvalsh(whole)).max(axis=1)
    close(family.step_sizes(step), sizes)
    close(family.step_sizes(-step), sizes)
    ahead = family.retract(factor, step)
    product = ahead.inverse @ ahead.root if ahead.root.ndim == 3 else ahead.inverse * ahead.root
    close(product, np.eye(D) + 0.0 * product if product.ndim == 3 else np.ones_like(product))


# ------------------------------------------------------------------ pairs


@family
def test_squared_distances(family):
    x, means = rng_of(9).normal(size=(6, D)), vectors()
    factor, _, inverse = factors(family)
    white = np.einsum("kij,nkj->nki", np.broadcast_to(inverse, (K, D, D)), x[:, None] - means)
    close(family.squared_distances(x, means, factor), np.sum(white**2, axis=-1))


def divergence(difference, first, second):
    """The divergence of two normal distributions, from whole matrices."""
    ratio = np.linalg.solve(second, first)
    away = difference @ np.linalg.solve(second, difference)
    return 0.5 * (np.trace(ratio) - D - np.linalg.slogdet(ratio)[1] + away)


@shape
def test_divergences_of_pairs(family):
    first, second = (values_of(family, positive(K, seed)) for seed in (0, 1))
    difference = vectors()
    whole = (matrices_of(family, x) for x in (first, second))
    expected = [divergence(*pair) for pair in zip(difference, *whole, strict=True)]
    found = family.paired_divergence(difference, family.factor(first), family.factor(second))
    close(found, expected)


@shape
@pytest.mark.parametrize("size", [1e-1, 1e-3, 1e-6, 1e-9])
def test_divergences_of_close_pairs_keep_their_digits(family, size):
    # to second order, half the squared distance and a quarter of tr (Sigma'^-1 dSigma)^2
    second = values_of(family, positive(K, 1))
    first = second + size * values_of(family, symmetric(K, 2))
    difference = size * vectors()
    found = family.paired_divergence(difference, family.factor(first), family.factor(second))
    whole = matrices_of(family, second)
    change = np.linalg.solve(whole, matrices_of(family, first) - whole)
    away = np.sum(difference * times(np.linalg.inv(whole), difference), axis=-1)
    expected = 0.5 * away + 0.25 * np.trace(change @ change, axis1=1, axis2=2)
    norm = np.linalg.norm(change, axis=(1, 2)).max()
    close(found, expected, rtol=max(2.0 * norm, 1e-6))


# ------------------------------------------------------------------ what is refused


@shape
def test_the_first_class_that_is_not_positive_definite(family):
    good = values_of(family, positive(K, 0))
    assert family.first_not_positive(good) is None
    for faulty in (0.0, -1.0, np.nan):
        values = np.array(good)
        values[1:] = faulty * good[1:]
        assert family.first_not_positive(values) == 1


@shape
def test_the_first_class_that_is_singular_to_rounding(family):
    values, noise = values_of(family, positive(K, 0)), np.full((K, D), 1e-14)
    assert family.first_singular(values, noise) is None
    flat = np.array(values)
    flat[1:] = 1e-16 * values[1:]
    assert family.first_singular(flat, noise) == 1
    assert family.first_singular(values, np.array([[0.0], [1e9], [0.0]]) + 0.0 * noise) == 1


@pytest.mark.parametrize("family", [Diagonal(), Isotropic(), Diagonal(True), Isotropic(True)])
def test_a_variance_is_compared_with_the_noise_of_its_axes(family):
    values = values_of(family, positive(length(family), 0))
    variances = np.broadcast_to(values, (length(family), D))
    assert family.first_singular(values, 0.9 * variances) is None
    assert family.first_singular(values, 1.1 * variances) == 0


def test_collinear_classes_are_singular():
    direction = np.arange(1.0, D + 1)
    collinear = np.stack([np.eye(D), np.outer(direction, direction), np.eye(D)])
    assert Dense().first_singular(collinear, np.zeros((K, D))) == 1
    scale = np.geomspace(1e-6, 1e6, D)  # axes of unequal scale are not singular
    assert Dense().first_singular(np.diag(scale)[None], np.zeros((1, D))) is None


def test_the_first_class_that_is_not_symmetric():
    values = positive(K, 0)
    assert Dense().first_asymmetric(values) is None
    values[2, 0, 1] += 1e-3
    assert Dense().first_asymmetric(values) == 2


@family
def test_fewest_dimensions_that_inflate(family):
    assert family.inflated_dim(D) == (D if isinstance(family, Isotropic) else 1)


@shape
def test_rounding_keeps_covariances_positive_definite(family):
    values, like = values_of(family, positive(K, 0)), np.zeros(1, dtype=np.float32)
    rounded = family.rounded(values, like)
    assert rounded.dtype == np.float32
    close(rounded, values, rtol=1e-6)


@pytest.mark.parametrize("dim", [2, 30])
def test_rounding_shrinks_correlations_as_little_as_it_must(dim):
    eps = float(np.finfo(np.float32).eps)
    rho = 1.0 - 1e-9  # which float32 rounds to 1
    values = ((1.0 - rho) * np.eye(dim) + rho)[None]
    rounded = Dense().rounded(values, np.zeros(1, dtype=np.float32))
    np.linalg.cholesky(rounded.astype(np.float64))
    assert (np.diagonal(rounded[0]) == 1.0).all()
    assert (np.abs(rounded - values) <= 4.0 * dim * eps).all()


# ------------------------------------------------------------------ shrinkage and names


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_shrinkage_toward_a_scaled_identity(rho):
    covariances, counts = positive(K, 0), np.full(K, 10.0)
    level = np.trace(covariances, axis1=1, axis2=2) / D
    expected = (1.0 - rho) * covariances + rho * level[:, None, None] * np.eye(D)
    close(shrunk(covariances, counts, rho), expected)
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    close(shrunk(variances, counts, rho), np.diagonal(expected, axis1=1, axis2=2))


def test_names_and_flags():
    assert resolve_family("dense", True) == Dense(tied=True)
    assert resolve_family(Diagonal(tied=True), False) == Diagonal(tied=True)
    with_tied = Isotropic().with_tied(True)
    assert with_tied.tied and with_tied.with_tied(True) is with_tied


def test_factors_are_sliced():
    factor = Factor(np.arange(3.0)[:, None], -np.arange(3.0)[:, None])
    sliced = factor.of(slice(1, 3))
    assert sliced.root.tolist() == [[1.0], [2.0]] and sliced.inverse.tolist() == [[-1.0], [-2.0]]


@pytest.mark.parametrize("rho", [0.0, 0.3, "oas"])
@pytest.mark.parametrize("kind", ["matrices", "variances"])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_gradients_of_shrinkage(rho, kind, scale):
    covariances, counts = positive(K, 0), scale * np.array([5.0, 12.0, 30.0])
    direction = symmetric(K, 1)
    if kind == "variances":
        covariances, direction = (
            np.diagonal(x, axis1=1, axis2=2) for x in (covariances, direction)
        )
    cotangents = rng_of(12).normal(size=covariances.shape)
    if kind == "matrices":
        cotangents = 0.5 * (cotangents + transposed(cotangents))
    of_covariances, of_counts = shrunk_vjp(covariances, counts, rho, cotangents)

    def along(t, s=0.0):
        return np.sum(cotangents * shrunk(covariances + t * direction, counts + s, rho))

    h = 1e-4
    slope = (along(h) - along(-h)) / (2.0 * h)
    assert np.sum(of_covariances * direction) == pytest.approx(slope, rel=1e-6)
    step = 1e-3 * scale
    slope = (along(0.0, step) - along(0.0, -step)) / (2.0 * step)
    assert of_counts.sum() == pytest.approx(slope, rel=1e-4, abs=1e-12)
    assert of_counts.shape == (K,)


def test_oas_is_that_of_scikit_learn():
    covariance = pytest.importorskip("sklearn.covariance")
    x = rng_of(13).normal(size=(9, D)) * np.arange(1.0, D + 1)
    expected = covariance.OAS().fit(x).covariance_
    sample = np.cov(x.T, bias=True)[None]
    close(shrunk(sample, np.array([9.0]), "oas")[0], expected)
    # for classes that are spheres already, and for few rows, the whole identity
    sphere = 2.0 * np.eye(D)[None]
    close(shrunk(sphere, np.array([9.0]), "oas"), sphere)
    close(shrunk(sample, np.array([0.5]), "oas")[0], np.trace(sample[0]) / D * np.eye(D))


@family
def test_what_a_family_of_ones_own_inherits(family):
    # forms for any family, of which these have some of their own
    n = length(family)
    sizes = np.array([1e-8, 1.0, 1e3])[:n, None, None]
    values = values_of(family, sizes * symmetric(n, 2))
    whole, other = (
        matrices_of(family, values),
        matrices_of(family, values_of(family, positive(n, 3))),
    )
    of_other, general = projected(family, other), CovarianceFamily
    both = projected(family, whole @ other + other @ whole)
    close(general.anticommutator(family, values, of_other, D), both)
    factor, root, inverse = factors(family)
    congruent = values_of(family, root @ whole @ transposed(root))
    close(general.congruent(family, factor.root, values, D), congruent)
    weights = rng_of(8).uniform(0.5, 2.0, K)
    added = of_other + projected(family, weights[:, None, None] * np.eye(D))
    close(general.plus_identity(family, of_other, weights, vectors()), added)
    for found, expected in zip(
        general.as_matrices(family, factor, D), (root, inverse), strict=True
    ):
        close(found, expected)
    solved = general.preconditioner(family, of_other)(projected(family, whole))
    close(solved, family.precondition(of_other, projected(family, whole)))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_shrinkage_follows_the_scale_of_the_data(scale):
    covariances, counts = positive(K, 0), np.full(K, 9.0)
    for rho in (0.3, "oas"):
        found = shrunk(scale * covariances, counts, rho)
        close(found, scale * shrunk(covariances, counts, rho))
        assert not np.allclose(found, scale * covariances, rtol=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "arguments"),
    [
        ("moments", "projections", ()),
        ("spread", "per_axis", ()),
        ("values_moments", "values_projections", (D,)),
    ],
)
def test_former_names_of_methods_warn_when_they_are_called(old, new, arguments):
    values = values_of(Diagonal(), positive(K, 0))
    with pytest.warns(DeprecationWarning, match=f"Diagonal.{old} is now {new}"):
        found = getattr(Diagonal(), old)(values, *arguments)
    close(found, getattr(Diagonal(), new)(values, *arguments))
