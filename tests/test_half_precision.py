"""Results in half precision are as usable as others; rounding keeps covariances what they are."""

import warnings

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in, blobs, to_numpy

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    Dense,
    InvalidInputError,
    fit_fixed_point,
    pairwise_kld,
)

Z, Y = blobs(n_classes=3, dim=3, spread=1.0)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "numpy float16"])
class TestUse:
    def latents(self, torch, dtype):
        if dtype.startswith("numpy"):
            return Z.astype(np.float16)
        return torch.tensor(Z).to(getattr(torch, dtype))

    @pytest.fixture
    def result(self, torch, covariance, tied, dtype):
        z = self.latents(torch, dtype)
        return fit_fixed_point(z, Y, 1.0, covariance=covariance, tied=tied).gaussians

    def test_save(self, result, dtype, tmp_path):
        result.save(tmp_path / "g.npz")
        loaded = ClassGaussians.load(tmp_path / "g.npz")
        # numpy has no bfloat16: float32 has all its numbers
        assert loaded.means.dtype == (np.float32 if dtype == "bfloat16" else np.float16)
        like = np.zeros(1, np.float32)
        assert np.array_equal(loaded.means, result.to(like).means)
        assert np.array_equal(loaded.covariances, result.to(like).covariances)

    def test_conversion(self, torch, result, dtype):
        for like in (
            np.zeros(1),
            np.zeros(1, np.float32),
            torch.zeros(1),
            torch.zeros(1, dtype=torch.float64),
            torch.zeros(1, dtype=torch.bfloat16),
            torch.zeros(1, dtype=torch.float16),
        ):
            moved = result.to(like)
            assert moved.means.dtype == like.dtype
            back = moved.to(result.means)
            if dtype != "bfloat16" or like.dtype != torch.float16:  # of a smaller range
                np.testing.assert_allclose(
                    to_numpy(back.means.astype(np.float32))
                    if dtype.startswith("numpy")
                    else back.means.float().numpy(),
                    result.to(np.zeros(1, np.float32)).means,
                    rtol=2.0**-7,
                    atol=1e-3,
                )

    def test_warm_start(self, torch, result, covariance, tied, dtype):
        options = {"covariance": covariance, "tied": tied}
        for z in (Z, Z.astype(np.float32), torch.tensor(Z), self.latents(torch, dtype)):
            warm = fit_fixed_point(z, Y, 1.0, init=result, **options)
            assert warm.status == "converged"

    def test_everything_else(self, torch, result, dtype):
        z = self.latents(torch, dtype)
        assert result.log_prob(z, Y).shape == (len(Y),)
        assert result.predict_proba(z).shape == (len(Y), 3)
        assert result.sample([0, 1], seed=0).dtype == z.dtype
        assert pairwise_kld(result).dtype == z.dtype
        statistics = ClassStatistics.from_samples(z, Y)
        assert to_numpy(statistics.means).dtype == np.float64
        ClassGaussians(result.means, result.covariances, covariance=result.family, tied=result.tied)


def random_correlations(seed, n, dim, smallest):
    """Correlation matrices with an eigenvalue of about ``smallest``."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n, dim, dim)))[0]
    values = np.exp(rng.uniform(-1.0, 1.0, (n, 1, dim)))
    values[:, :, 0] = smallest
    matrices = (basis * values) @ np.swapaxes(basis, 1, 2)
    scale = 1.0 / np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    matrices = matrices * scale[:, :, None] * scale[:, None, :]
    return 0.5 * (matrices + np.swapaxes(matrices, 1, 2))


class TestRounding:
    """Bars: d * eps on correlations, as rounding may move their eigenvalues by d * eps / 2."""

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    @pytest.mark.parametrize("dim", [2, 5, 20])
    @pytest.mark.parametrize("spread", [0.0, 2.0])
    def test_nearly_singular(self, torch, dtype, dim, spread):
        kind = getattr(torch, dtype)
        correlations = random_correlations(dim, 30, dim, 1e-12)
        scale = np.exp(spread * np.random.default_rng(0).uniform(-1.0, 1.0, (30, dim)))
        matrices = correlations * scale[:, :, None] * scale[:, None, :]
        gaussians = ClassGaussians(np.zeros((30, dim)), matrices, covariance="dense")
        rounded = gaussians.to(torch.zeros(1, dtype=kind)).covariances.double().numpy()
        assert np.linalg.eigvalsh(rounded).min() > 0.0
        exact_diagonal = torch.tensor(np.diagonal(matrices, axis1=1, axis2=2).copy()).to(kind)
        diagonal = np.diagonal(rounded, axis1=1, axis2=2)
        assert np.array_equal(diagonal, exact_diagonal.double().numpy())  # rounded, not lifted
        off = (rounded - matrices) / (scale[:, :, None] * scale[:, None, :])
        assert np.abs(off).max() <= 2.0 * dim * float(torch.finfo(kind).eps)

    def test_those_that_are_fine_are_only_rounded(self):
        indefinite = (
            matrix
            for matrix in random_correlations(1, 30, 6, 1e-12)
            if np.linalg.eigvalsh(matrix.astype(np.float32).astype(float)).min() < 0.0
        )
        bad, good = next(indefinite), random_correlations(2, 2, 6, 0.1)[0]
        gaussians = ClassGaussians(np.zeros((2, 6)), np.stack([bad, good]), covariance="dense")
        rounded = gaussians.to(np.zeros(1, np.float32)).covariances
        assert not np.array_equal(rounded[0], bad.astype(np.float32))
        assert np.array_equal(rounded[1], good.astype(np.float32))

    def test_in_every_namespace(self, xp):
        matrices = random_correlations(3, 4, 5, 1e-12)
        plain = ClassGaussians(np.zeros((4, 5)), matrices, covariance="dense")
        expected = plain.to(np.zeros(1, np.float32)).covariances
        found = plain.to(asarray_in(xp, np.zeros(1), "float32")).covariances
        assert np.array_equal(to_numpy(found), expected)

    def test_axes_of_different_scale(self):
        rng = np.random.default_rng(0)
        y = np.repeat([0, 1], 500)
        x = rng.normal(size=(1000, 1)) + y[:, None]
        z = np.hstack([1e4 * rng.normal(size=(1000, 1)), x, x + 1e-5 * rng.normal(size=(1000, 1))])
        fits = [
            fit_fixed_point(z.astype(dtype), y, 0.0, covariance="dense").gaussians
            for dtype in (np.float64, np.float32)
        ]
        exact, rounded = (np.diagonal(g.covariances, axis1=1, axis2=2) for g in fits)
        np.testing.assert_allclose(rounded, exact, rtol=1e-6)
        # each row's class by either; the nearly collinear direction tells little of it
        same = [g.predict(z.astype(g.means.dtype)) == y for g in fits]
        assert abs(same[0].mean() - same[1].mean()) < 0.02

    def test_near_the_largest_number(self):
        c = np.array([[65400.0, 65399.9], [65399.9, 65400.0]])
        gaussians = ClassGaussians([[0.0, 0.0], [1.0, 1.0]], np.stack([c, c]), covariance="dense")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rounded = gaussians.to(np.zeros(1, np.float16)).covariances.astype(float)
        assert np.isfinite(rounded).all()
        assert np.linalg.eigvalsh(rounded).min() > 0.0
        np.testing.assert_allclose(rounded, np.stack([c, c]), rtol=2.0**-8)

    def test_where_nothing_helps(self):
        # what is indefinite before it is rounded stays so: the shrinkage is bounded
        like = np.zeros(1, np.float32)
        matrix = np.array([[[1.0, 2.0], [2.0, 1.0]]])
        with pytest.raises(InvalidInputError, match="positive definite"):
            Dense().rounded(matrix, like)
