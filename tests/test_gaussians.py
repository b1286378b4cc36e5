"""Class Gaussians: densities, prediction, samples, conversion, files.

Densities are compared with torch's multivariate normal in float64. Its own error and ours are a
few eps times (Mahalanobis distance squared + d) times the condition of the covariance, below 100
here: with distances below 1e3 that is about 1e-11.
"""

import math

import numpy as np
import pytest
from helpers import (
    FAMILIES,
    FAMILY_IDS,
    asarray_in,
    dtype_name,
    full_covariances,
    in_namespace,
    random_covariances,
    to_numpy,
)
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal

from fpigauss import ClassGaussians, InvalidInputError

K, D = 4, 3
every_family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)


def parameters(covariance, tied, *, seed=0, spread=3.0, n_classes=K, dim=D):
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((n_classes, dim))
    return means, random_covariances(rng, n_classes, dim, covariance, tied)


def build(xp, means, covariances, covariance, tied, dtype=None, classes=None):
    return ClassGaussians(
        asarray_in(xp, means, dtype),
        asarray_in(xp, covariances, dtype),
        covariance=covariance,
        tied=tied,
        classes=classes,
    )


def reference_log_prob(z, means, covariances, covariance, tied):
    """(N, K) log densities, in float64, from differences and a Cholesky factor a class."""
    z, means = np.asarray(z, dtype=np.float64), np.asarray(means, dtype=np.float64)
    full = full_covariances(np.asarray(covariances, np.float64), *means.shape, covariance, tied)
    columns = []
    for mean, sigma in zip(means, full, strict=True):
        factor = np.linalg.cholesky(sigma)
        white = np.linalg.solve(factor, (z - mean).T)
        log_det = 2 * np.log(np.diag(factor)).sum()
        size = (white**2).sum(axis=0)
        columns.append(-0.5 * (size + log_det + len(mean) * math.log(2 * math.pi)))
    return np.stack(columns, axis=1)


def points(means, n=30, *, seed=1, width=3.0):
    rng = np.random.default_rng(seed)
    nearest = rng.integers(len(means), size=n)
    return means[nearest] + width * rng.standard_normal((n, means.shape[1]))


@every_family
class TestDensity:
    def test_torch_distributions(self, xp, torch, covariance, tied):
        means, covariances = parameters(covariance, tied)
        z = points(means)
        full = full_covariances(covariances, K, D, covariance, tied)
        expected = torch.distributions.MultivariateNormal(
            torch.tensor(means), torch.tensor(full)
        ).log_prob(torch.tensor(z)[:, None, :])
        gaussians = build(xp, means, covariances, covariance, tied)
        result = gaussians.class_log_prob(asarray_in(xp, z))
        assert in_namespace(result, xp)
        assert dtype_name(result) == "float64"
        np.testing.assert_allclose(to_numpy(result), expected.numpy(), rtol=0, atol=1e-11)

    def test_scipy_stats(self, covariance, tied):
        means, covariances = parameters(covariance, tied, seed=2)
        z = points(means)
        full = full_covariances(covariances, K, D, covariance, tied)
        expected = np.stack(
            [multivariate_normal(m, s).logpdf(z) for m, s in zip(means, full, strict=True)], axis=1
        )
        gaussians = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
        np.testing.assert_allclose(gaussians.class_log_prob(z), expected, rtol=0, atol=1e-11)
        np.testing.assert_allclose(
            reference_log_prob(z, means, covariances, covariance, tied),
            expected,
            rtol=0,
            atol=1e-11,
        )

    def test_one_dimension(self, xp, covariance, tied):
        means, covariances = parameters(covariance, tied, dim=1)
        z = points(means)
        gaussians = build(xp, means, covariances, covariance, tied)
        expected = reference_log_prob(z, means, covariances, covariance, tied)
        result = gaussians.class_log_prob(asarray_in(xp, z))
        np.testing.assert_allclose(to_numpy(result), expected, rtol=0, atol=1e-11)

    def test_log_prob(self, xp, covariance, tied):
        means, covariances = parameters(covariance, tied, seed=3)
        z = points(means)
        gaussians = build(xp, means, covariances, covariance, tied)
        table = to_numpy(gaussians.class_log_prob(asarray_in(xp, z)))
        labels = np.random.default_rng(3).integers(K, size=len(z))
        for given in (asarray_in(xp, labels), labels, labels.tolist()):
            own = gaussians.log_prob(asarray_in(xp, z), given)
            np.testing.assert_allclose(
                to_numpy(own), table[np.arange(len(z)), labels], rtol=0, atol=1e-11
            )
        mixture = gaussians.log_prob(asarray_in(xp, z))
        assert tuple(mixture.shape) == (len(z),)
        np.testing.assert_allclose(
            to_numpy(mixture), logsumexp(table, axis=1) - math.log(K), rtol=0, atol=1e-12
        )

    def test_predict(self, xp, covariance, tied):
        means, covariances = parameters(covariance, tied, seed=4)
        z = points(means)
        classes = np.array([7, -1, 3, 12])
        order = np.argsort(classes)
        gaussians = build(xp, means, covariances, covariance, tied, classes=classes[order])
        table = reference_log_prob(z, means, covariances, covariance, tied)
        predicted = gaussians.predict(asarray_in(xp, z))
        assert in_namespace(predicted, xp)
        assert np.array_equal(to_numpy(predicted), classes[order][table.argmax(axis=1)])
        probabilities = to_numpy(gaussians.predict_proba(asarray_in(xp, z)))
        np.testing.assert_allclose(probabilities, softmax(table, axis=1), rtol=0, atol=1e-11)
        # K roundings of numbers of at most 1
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=0, atol=K * 2.0**-52)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_far_out(self, xp, covariance, tied, dtype):
        # squares of 1e30 leave float32; 1e15 is far enough for it
        means, covariances = parameters(covariance, tied, seed=5)
        z = points(means) * (1e15 if dtype == "float32" else 1e100)
        gaussians = build(xp, means, covariances, covariance, tied, dtype)
        z = asarray_in(xp, z, dtype)
        for result in (gaussians.class_log_prob(z), gaussians.log_prob(z)):
            assert dtype_name(result) == dtype
            assert np.isfinite(to_numpy(result)).all()
        probabilities = to_numpy(gaussians.predict_proba(z))
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=0, atol=K * eps)
        assert (probabilities >= 0).all()

    def test_float32(self, xp, covariance, tied):
        # Against the same float32 numbers in float64. A squared distance of centered factors is
        # right to a few eps of |x|^2 + |mu|^2 (in standard deviations), here below 2e3.
        means, covariances = (x.astype(np.float32) for x in parameters(covariance, tied, seed=6))
        if covariance == "dense":
            covariances = (covariances + np.swapaxes(covariances, -1, -2)) / 2
        z = points(means).astype(np.float32)
        gaussians = build(xp, means, covariances, covariance, tied)
        result = gaussians.class_log_prob(asarray_in(xp, z))
        assert dtype_name(result) == "float32"
        expected = reference_log_prob(z, means, covariances, covariance, tied)
        size = float(np.abs(expected).max()) + 2e3
        np.testing.assert_allclose(
            to_numpy(result), expected, rtol=0, atol=4 * np.finfo(np.float32).eps * size
        )

    def test_float32_far_from_the_origin(self, xp, covariance, tied):
        # 1e4 standard deviations off, float32 resolves 1e-3; centering makes z and the means exact
        # differences again, and the error is that of the test before. (Uncentered products would
        # be off by eps 1e8 = 12.)
        means, covariances = parameters(covariance, tied, seed=7)
        means, covariances = (means + 1e4).astype(np.float32), covariances.astype(np.float32)
        if covariance == "dense":
            covariances = (covariances + np.swapaxes(covariances, -1, -2)) / 2
        z = points(means).astype(np.float32)
        gaussians = build(xp, means, covariances, covariance, tied)
        expected = reference_log_prob(z, means, covariances, covariance, tied)
        size = float(np.abs(expected).max()) + 2e3
        result = gaussians.class_log_prob(asarray_in(xp, z))
        np.testing.assert_allclose(
            to_numpy(result), expected, rtol=0, atol=4 * np.finfo(np.float32).eps * size
        )

    def test_classes_far_from_each_other(self, xp, covariance, tied):
        # 1e6 standard deviations apart; near a class, its own log density is as right as alone:
        # z - mu_y is exact to eps 1e6 = 2e-10, times a distance of 3 or so.
        means, covariances = parameters(covariance, tied, seed=8, spread=1.0)
        means = 1e6 * np.round(means * 64) / 64
        own = np.repeat(np.arange(K), 10)
        z = means[own] + np.random.default_rng(8).standard_normal((len(own), D))
        gaussians = build(xp, means, covariances, covariance, tied)
        rows = np.arange(len(own))
        expected = reference_log_prob(z, means, covariances, covariance, tied)[rows, own]
        table = to_numpy(gaussians.class_log_prob(asarray_in(xp, z)))
        np.testing.assert_allclose(table[rows, own], expected, rtol=0, atol=1e-9)
        labeled = to_numpy(gaussians.log_prob(asarray_in(xp, z), asarray_in(xp, own)))
        np.testing.assert_allclose(labeled, expected, rtol=0, atol=1e-9)
        mixture = to_numpy(gaussians.log_prob(asarray_in(xp, z)))
        np.testing.assert_allclose(mixture, expected - math.log(K), rtol=0, atol=1e-9)

    def test_half_precision(self, torch, covariance, tied):
        # z in half, the work in float32: as right as float32 for the numbers that half can hold.
        # If the result is handed back in half, that rounds it once, by half its eps. (Work in half
        # would be off by eps 2e3 = 2.)
        means, covariances = parameters(covariance, tied, seed=9)
        z = torch.tensor(points(means)).to(torch.float16)
        gaussians = ClassGaussians(
            torch.tensor(means, dtype=torch.float32),
            torch.tensor(covariances, dtype=torch.float32),
            covariance=covariance,
            tied=tied,
        )
        result = gaussians.class_log_prob(z)
        expected = reference_log_prob(
            z.numpy(),
            to_numpy(gaussians.means),
            to_numpy(gaussians.covariances),
            covariance,
            tied,
        )
        size = float(np.abs(expected).max()) + 2e3
        np.testing.assert_allclose(
            result.to(torch.float64).numpy(),
            expected,
            rtol=torch.finfo(result.dtype).eps / 2,
            atol=4 * np.finfo(np.float32).eps * size,
        )


def spd_from(raw, covariance, torch):
    """A differentiable way from any array to covariances of the family, symmetric throughout."""
    if covariance == "dense":
        return raw @ raw.mT + 0.5 * torch.eye(raw.shape[-1], dtype=raw.dtype)
    return torch.exp(raw)


@every_family
class TestGradients:
    def leaves(self, covariance, tied, torch):
        rng = np.random.default_rng(10)
        n_classes, dim = 3, 2
        means = rng.standard_normal((n_classes, dim))
        shape = () if tied else (n_classes,)
        shape += {"isotropic": (), "diagonal": (dim,), "dense": (dim, dim)}[covariance]
        raw = rng.standard_normal(shape)
        z = rng.standard_normal((4, dim))
        return [torch.tensor(x, requires_grad=True) for x in (z, means, raw)]

    @pytest.mark.parametrize("method", ["class_log_prob", "log_prob", "labeled"])
    def test_gradcheck(self, torch, covariance, tied, method):
        def evaluate(z, means, raw):
            gaussians = ClassGaussians(
                means, spd_from(raw, covariance, torch), covariance=covariance, tied=tied
            )
            if method == "labeled":
                return gaussians.log_prob(z, torch.tensor([0, 2, 1, 2]))
            return getattr(gaussians, method)(z)

        # gradcheck's own bounds: central differences of step 1e-6 in float64
        assert torch.autograd.gradcheck(evaluate, self.leaves(covariance, tied, torch))

    def test_float32_gradients(self, torch, covariance, tied):
        # factors are prepared in float64; the gradient still comes back in float32
        z, means, raw = (
            x.detach().to(torch.float32).requires_grad_()
            for x in self.leaves(covariance, tied, torch)
        )
        gaussians = ClassGaussians(
            means, spd_from(raw, covariance, torch), covariance=covariance, tied=tied
        )
        gaussians.log_prob(z).sum().backward()
        for leaf in (z, means, raw):
            assert leaf.grad.dtype == torch.float32
            assert torch.isfinite(leaf.grad).all()
            assert (leaf.grad != 0).any()


class TestLabels:
    names = np.array(["ash", "elm", "fir", "oak"])

    def test_string_classes(self, xp):
        means, covariances = parameters("diagonal", False, seed=11)
        gaussians = build(xp, means, covariances, "diagonal", False, classes=self.names)
        z = points(means)
        table = reference_log_prob(z, means, covariances, "diagonal", False)
        predicted = gaussians.predict(asarray_in(xp, z))
        assert isinstance(predicted, np.ndarray)
        assert np.array_equal(predicted, self.names[table.argmax(axis=1)])
        labels = self.names[np.random.default_rng(11).integers(K, size=len(z))]
        own = to_numpy(gaussians.log_prob(asarray_in(xp, z), labels))
        columns = np.searchsorted(self.names, labels)
        np.testing.assert_allclose(own, table[np.arange(len(z)), columns], rtol=0, atol=1e-11)

    def test_default_classes_count_from_zero(self):
        means, covariances = parameters("diagonal", False)
        assert np.array_equal(ClassGaussians(means, covariances).classes, np.arange(K))


@every_family
class TestSamples:
    n = 20_000

    @pytest.mark.parametrize("temperature", [1.0, 0.5])
    def test_moments(self, covariance, tied, temperature):
        # Five standard errors: a mean's is sigma / sqrt(n), a covariance's
        # sqrt((C_ii C_jj + C_ij^2) / n) for Gaussian data. A standard deviation is multiplied by
        # the temperature, a covariance by its square.
        means, covariances = parameters(covariance, tied, seed=13)
        full = temperature**2 * full_covariances(covariances, K, D, covariance, tied)
        gaussians = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
        labels = np.repeat([2, 0], self.n)
        z = gaussians.sample(labels, temperature=temperature, seed=14)
        assert z.shape == (2 * self.n, D)
        for label in (0, 2):
            own, sigma = z[labels == label], full[label]
            variances = np.diag(sigma)
            mean_error = np.abs(own.mean(axis=0) - means[label])
            assert (mean_error < 5 * np.sqrt(variances / self.n)).all()
            error = np.sqrt((np.outer(variances, variances) + sigma**2) / self.n)
            assert (np.abs(np.cov(own.T, bias=True) - sigma) < 5 * error).all()

    def test_same_seed_same_samples_everywhere(self, xp, covariance, tied):
        # drawn on the host; mu + F x differs by the order of d products, in F perhaps too
        means, covariances = parameters(covariance, tied, seed=15)
        labels = np.random.default_rng(15).integers(K, size=20)
        here = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
        there = build(xp, means, covariances, covariance, tied)
        expected = here.sample(labels, seed=16)
        result = there.sample(asarray_in(xp, labels), seed=16)
        assert in_namespace(result, xp)
        assert dtype_name(result) == "float64"
        np.testing.assert_allclose(to_numpy(result), expected, rtol=0, atol=1e-12)

    def test_seeds(self, covariance, tied):
        means, covariances = parameters(covariance, tied, seed=17)
        gaussians = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
        labels = [0, 1, 3, 3]
        first = gaussians.sample(labels, seed=18)
        assert np.array_equal(first, gaussians.sample(labels, seed=18))
        assert (first != gaussians.sample(labels, seed=19)).all()
        assert (first != gaussians.sample(labels)).all()  # None: fresh entropy
        one, other = np.random.default_rng(20), np.random.default_rng(20)
        drawn = gaussians.sample(labels, seed=one)
        assert np.array_equal(drawn, gaussians.sample(labels, seed=other))
        assert (drawn != gaussians.sample(labels, seed=one)).all()  # the generator went on
        assert (first[2] != first[3]).all()  # rows of one class are draws apart

    def test_a_number_of_draws(self, xp, covariance, tied):
        means, covariances = parameters(covariance, tied, seed=17)
        gaussians = build(
            xp, 1e6 * np.arange(K)[:, None] + 0.0 * means, covariances, covariance, tied
        )
        z = gaussians.sample(400, seed=21)
        assert in_namespace(z, xp)
        counts = np.bincount(to_numpy(gaussians.predict(z)), minlength=K)
        # a count is binomial; five standard deviations
        assert (np.abs(counts - 400 / K) < 5 * np.sqrt(400 * (K - 1)) / K).all()
        np.testing.assert_array_equal(
            to_numpy(z), to_numpy(gaussians.sample(np.int64(400), seed=21))
        )
        assert gaussians.sample(0).shape == (0, D)

    def test_float32(self, xp, covariance, tied):
        means, covariances = parameters(covariance, tied, seed=21)
        gaussians = build(xp, means, covariances, covariance, tied, "float32")
        expected = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
        result = gaussians.sample([0, 1, 2, 3], seed=22)
        assert dtype_name(result) == "float32"
        # parameters and result are each rounded to 6e-8 of at most 20 or so; the Cholesky factor
        # amplifies that by the condition of the covariance, below 25
        np.testing.assert_allclose(
            to_numpy(result), expected.sample([0, 1, 2, 3], seed=22), rtol=0, atol=1e-4
        )


@every_family
class TestConversion:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_to(self, xp, covariance, tied, dtype):
        means, covariances = parameters(covariance, tied, seed=23)
        gaussians = ClassGaussians(
            means, covariances, covariance=covariance, tied=tied, classes=TestLabels.names
        )
        like = asarray_in(xp, [0.0], dtype)
        moved = gaussians.to(like)
        for array, original in ((moved.means, means), (moved.covariances, covariances)):
            assert in_namespace(array, xp)
            assert dtype_name(array) == dtype
            assert np.array_equal(to_numpy(array), original.astype(dtype))
        assert np.array_equal(moved.classes, TestLabels.names)
        back = moved.to(np.zeros(1))
        assert isinstance(back.means, np.ndarray)
        assert back.means.dtype == np.float64
        z = points(means)
        table = to_numpy(moved.class_log_prob(asarray_in(xp, z, dtype)))
        expected = reference_log_prob(
            z.astype(dtype), to_numpy(moved.means), to_numpy(moved.covariances), covariance, tied
        )
        atol = 1e-11 if dtype == "float64" else 1e-3  # as in TestDensity
        np.testing.assert_allclose(table, expected, rtol=0, atol=atol)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("classes", [None, [3, 5, 8, 9], ["a", "bb", "ccc", "ü"]])
    def test_save_and_load(self, xp, covariance, tied, dtype, classes, tmp_path):
        means, covariances = parameters(covariance, tied, seed=24)
        gaussians = build(xp, means, covariances, covariance, tied, dtype, classes)
        path = tmp_path / "gaussians.npz"
        for _ in range(2):  # the second replaces the first
            gaussians.save(path)
            assert [entry.name for entry in tmp_path.iterdir()] == ["gaussians.npz"]
        loaded = ClassGaussians.load(path)
        for name in ("means", "covariances"):
            array, original = getattr(loaded, name), to_numpy(getattr(gaussians, name))
            assert isinstance(array, np.ndarray)
            assert array.dtype == dtype
            assert array.shape == original.shape
            assert np.array_equal(array, original)
        assert np.array_equal(loaded.classes, gaussians.classes)
        assert loaded.classes.dtype.kind == np.asarray(gaussians.classes).dtype.kind
        # the family came along: the same densities, and a shape that only it reads rightly
        z = points(means).astype(dtype)
        limit = 1e-11 if dtype == "float64" else 1e-3
        np.testing.assert_allclose(
            loaded.class_log_prob(z),
            to_numpy(gaussians.class_log_prob(asarray_in(xp, z))),
            rtol=0,
            atol=limit,
        )


class TestValue:
    def test_frozen(self):
        gaussians = ClassGaussians(*parameters("diagonal", False))
        for name in ("means", "covariances", "classes"):
            with pytest.raises(AttributeError):
                setattr(gaussians, name, None)

    def test_python_lists(self):
        gaussians = ClassGaussians([[0.0, 0.0], [2.0, 0.0]], [[1.0, 1.0], [1.0, 4.0]])
        assert isinstance(gaussians.means, np.ndarray)
        assert np.array_equal(gaussians.predict([[-1.0, 0.0], [2.0, 3.0]]), [0, 1])

    def test_integers_are_taken_as_floating_point(self):
        gaussians = ClassGaussians([[0, 0], [2, 0]], [[1, 1], [1, 4]])
        assert gaussians.means.dtype == np.float64
        expected = -0.5 * (1 + 2 * math.log(2 * math.pi))
        assert gaussians.class_log_prob([[1, 0]])[0, 0] == pytest.approx(expected, rel=1e-14)

    def test_rounding_is_not_asymmetry(self):
        # M M' from a product that is not symmetrized is off by a few eps, and welcome
        rng = np.random.default_rng(25)
        factor = rng.standard_normal((2, 5, 5))
        covariances = factor @ np.swapaxes(factor, 1, 2) + np.eye(5)
        covariances[:, 0, 1] *= 1 + 2.0**-50
        gaussians = ClassGaussians(np.zeros((2, 5)), covariances, covariance="dense")
        assert np.isfinite(gaussians.class_log_prob(np.ones((1, 5)))).all()

    def test_statistics_are_not_gaussians(self, tmp_path):
        from fpigauss import ClassStatistics

        path = tmp_path / "statistics.npz"
        ClassStatistics.from_samples([[0.0], [1.0]], [0, 1]).save(path)
        with pytest.raises(InvalidInputError):
            ClassGaussians.load(path)


def test_its_repr_is_one_line():
    gaussians = ClassGaussians(np.zeros((30, 20)), np.ones((20,)), tied=True)
    assert repr(gaussians) == (
        "ClassGaussians(n_classes=30, dim=20, covariance='diagonal', tied=True)"
    )
