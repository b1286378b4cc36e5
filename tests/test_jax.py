"""Jax with its float64, and without, as it is by default: results in jax, digits of float64."""

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, blobs

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    fit_fixed_point,
    geometric_mean,
    pairwise_kld,
    solve_fixed_point,
)
from fpigauss._array.namespaces import precise, working_dtype

LAM = 3.0


@pytest.fixture(scope="module", params=[False, True], ids=["float32 only", "x64"])
def jnp(request):
    jax = pytest.importorskip("jax", reason="jax is not installed: pip install -e . --group test")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield jax.numpy
    jax.config.update("jax_enable_x64", before)


def latents():
    z, y = blobs()
    return z.astype(np.float32), y


def in_jax(x):
    return type(x).__module__.partition(".")[0] in ("jax", "jaxlib")


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_fits_are_those_of_numpy(jnp, covariance, tied):
    z, y = latents()
    options = {"covariance": covariance, "tied": tied}
    expected = fit_fixed_point(z, y, LAM, **options)
    found = fit_fixed_point(jnp.asarray(z), jnp.asarray(y), LAM, **options)
    assert found.converged and expected.converged
    assert abs(found.n_iter - expected.n_iter) <= 1
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)
    for name in ("means", "covariances"):
        value = getattr(found.gaussians, name)
        assert in_jax(value) and value.dtype == jnp.float32
        # rounded once: eps of float32 is 1.2e-7
        np.testing.assert_allclose(value, getattr(expected.gaussians, name), rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize("pi", ["mean", "initial", lambda kld: kld.mean()])
def test_every_pi(jnp, pi):
    z, y = latents()
    expected = fit_fixed_point(z, y, LAM, tied=True, pi=pi)
    found = fit_fixed_point(jnp.asarray(z), y, LAM, tied=True, pi=pi)
    assert found.status == expected.status == "converged"
    assert found.pi == pytest.approx(expected.pi, rel=1e-6)
    whole = fit_fixed_point(jnp.asarray(z), y, LAM, tied=True, pi=lambda kld: 1.0 + kld)
    assert in_jax(whole.pi) and whole.pi.shape == (4, 4)


def test_statistics_keep_float64(jnp):
    z, y = latents()
    halves = [(jnp.asarray(z[::2]), y[::2]), (jnp.asarray(z[1::2]), y[1::2])]
    expected = ClassStatistics.from_samples(z.astype(np.float64), y)
    weights = jnp.ones(len(y))
    for found in (
        ClassStatistics.from_samples(jnp.asarray(z), y),
        ClassStatistics.from_samples(jnp.asarray(z), y, sample_weight=weights),
        ClassStatistics.from_batches(halves),
        ClassStatistics.from_samples(*halves[0]).update(*halves[1]),
    ):
        assert str(found.means.dtype) == "float64"
        np.testing.assert_allclose(found.covariances, expected.covariances, rtol=1e-12)
        assert solve_fixed_point(found, LAM, tied=True).converged


def test_densities_samples_and_divergences(jnp):
    z, y = latents()
    expected = fit_fixed_point(z, y, LAM).gaussians
    gaussians = fit_fixed_point(jnp.asarray(z), y, LAM).gaussians
    rows = jnp.asarray(z)
    for name in ("class_log_prob", "log_prob", "predict_proba"):
        found = getattr(gaussians, name)(rows)
        assert in_jax(found) and found.dtype == jnp.float32
        # eps of float32 times squared distances of some thousands
        np.testing.assert_allclose(found, getattr(expected, name)(z), rtol=1e-4, atol=1e-3)
    assert in_jax(gaussians.predict(rows))
    np.testing.assert_array_equal(gaussians.predict(rows), expected.predict(z))
    np.testing.assert_allclose(gaussians.log_prob(rows, y), expected.log_prob(z, y), rtol=1e-4)
    drawn = gaussians.sample(y, seed=0)
    assert in_jax(drawn)
    np.testing.assert_allclose(drawn, expected.sample(y, seed=0), rtol=1e-5, atol=1e-5)
    divergences = pairwise_kld(gaussians)
    assert in_jax(divergences) and divergences.dtype == jnp.float32
    np.testing.assert_allclose(divergences, pairwise_kld(expected), rtol=1e-5)


def test_conversions_files_and_warm_starts(jnp, tmp_path):
    z, y = latents()
    numpy_ones = fit_fixed_point(z, y, LAM, covariance="dense").gaussians
    gaussians = numpy_ones.to(jnp.zeros(1, dtype=jnp.float32))
    assert in_jax(gaussians.means) and in_jax(gaussians.covariances)
    back = gaussians.to(np.zeros(1))
    np.testing.assert_array_equal(back.covariances, np.asarray(gaussians.covariances))
    gaussians.save(tmp_path / "jax.npz")
    np.testing.assert_array_equal(ClassGaussians.load(tmp_path / "jax.npz").means, gaussians.means)
    for init in (gaussians, numpy_ones):
        warm = fit_fixed_point(jnp.asarray(z), y, LAM, covariance="dense", init=init)
        assert warm.converged and in_jax(warm.gaussians.means)
        assert warm.n_iter <= 3


def test_geometric_means(jnp):
    root = np.random.default_rng(0).normal(size=(4, 4))
    a = (root @ root.T + np.eye(4)).astype(np.float32)
    b = np.diag([1.0, 2.0, 3.0, 1e-3]).astype(np.float32)
    found = geometric_mean(jnp.asarray(a), jnp.asarray(b))
    assert in_jax(found) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, geometric_mean(a, b), rtol=1e-6, atol=1e-7)


def test_labels_of_64_bits_stay_what_they_are(jnp):
    z, y = latents()
    labels = 2**40 + y.astype(np.int64)
    gaussians = fit_fixed_point(jnp.asarray(z), labels, LAM).gaussians
    found = np.asarray(gaussians.predict(jnp.asarray(z)))
    assert set(found.tolist()) <= set(labels.tolist())
    assert np.mean(found == labels) > 0.5


def test_what_float64_is_follows_the_option(jnp):
    jax = pytest.importorskip("jax", reason="jax is not installed: pip install -e . --group test")
    x = jnp.zeros(2, dtype=jnp.float32)
    before = jax.config.jax_enable_x64
    for on in (True, False, True):
        jax.config.update("jax_enable_x64", on)
        assert (precise(x) is x) == on
        assert working_dtype(x) == (jnp.float64 if on else jnp.float32)
    jax.config.update("jax_enable_x64", before)
