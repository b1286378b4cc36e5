"""Priors of the classes: equal, given or as counted; posteriors, predictions, the mixture."""

import copy
import math
import pickle

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in, blobs, in_namespace, to_numpy
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.naive_bayes import GaussianNB

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    InvalidInputError,
    fit_fixed_point,
    solve_fixed_point,
)

K = 4
every_family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
seeds = st.integers(0, 2**32 - 1)


def fitted(seed=0, covariance="diagonal", tied=False, **options):
    z, y = blobs(K, 3, 40, seed=seed, **options)
    keep = np.arange(len(y)) % (y + 1) == 0  # classes of different sizes
    z, y = z[keep], y[keep]
    return fit_fixed_point(z, y, 0.0, covariance=covariance, tied=tied).gaussians, z, y


def some_priors(seed, zeros=0):
    rng = np.random.default_rng(seed)
    priors = rng.gamma(1.0, size=K)
    priors[rng.permutation(K)[:zeros]] = 0.0
    return priors / priors.sum()


# -- properties ----------------------------------------------------------------------------


@every_family
@given(seed=seeds, zeros=st.integers(0, K - 1))
def test_posteriors_are_priors_times_densities(covariance, tied, seed, zeros):
    gaussians, z, _ = fitted(seed, covariance, tied)
    priors = some_priors(seed, zeros)
    with np.errstate(divide="ignore"):
        terms = gaussians.class_log_prob(z) + np.log(priors)
    mixture = logsumexp(terms, axis=1)
    np.testing.assert_allclose(gaussians.log_prob(z, priors=priors), mixture, rtol=1e-13)
    shares = gaussians.predict_proba(z, priors=priors)
    np.testing.assert_allclose(shares, np.exp(terms - mixture[:, None]), rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-14)
    assert (shares[:, priors == 0.0] == 0.0).all()
    np.testing.assert_array_equal(gaussians.predict(z, priors=priors), terms.argmax(axis=1))


@given(seed=seeds, shift=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3))
def test_posteriors_do_not_depend_on_the_units_of_latents(seed, shift, scale):
    gaussians, z, _ = fitted(seed)
    moved = ClassGaussians(
        shift + scale * gaussians.means, scale**2 * gaussians.covariances, counts=gaussians.counts
    )
    np.testing.assert_allclose(
        moved.predict_proba(shift + scale * z, priors="counts"),
        gaussians.predict_proba(z, priors="counts"),
        rtol=1e-7,
        atol=1e-7,
    )


@given(seed=seeds, scale=st.floats(1e-6, 1e6))
def test_only_proportions_of_counts_matter(seed, scale):
    gaussians, z, y = fitted(seed)
    counts = np.bincount(y)
    np.testing.assert_array_equal(gaussians.counts, counts)
    wanted = gaussians.predict_proba(z, priors=counts / counts.sum())
    more = ClassGaussians(gaussians.means, gaussians.covariances, counts=scale * counts)
    for same in (gaussians, more):
        np.testing.assert_allclose(
            same.predict_proba(z, priors="counts"), wanted, rtol=1e-12, atol=1e-300
        )


@every_family
def test_they_are_equal_by_default(xp, covariance, tied):
    gaussians, z, _ = fitted(1, covariance, tied)
    gaussians = gaussians.to(asarray_in(xp, z))
    z = asarray_in(xp, z)
    equal = np.full(K, 1.0 / K)
    for priors in (equal, equal.tolist(), equal.astype(np.float32), asarray_in(xp, equal)):
        for name in ("predict", "predict_proba", "log_prob"):
            method = getattr(gaussians, name)
            given_result, default = method(z, priors=priors), method(z)
            assert in_namespace(given_result, xp)
            assert given_result.dtype == default.dtype
            np.testing.assert_allclose(
                to_numpy(given_result), to_numpy(default), rtol=1e-12, atol=1e-14
            )


@every_family
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_namespaces_agree(xp, covariance, tied, dtype):
    gaussians, z, _ = fitted(2, covariance, tied)
    there = gaussians.to(asarray_in(xp, z, dtype))
    rtol = 1e-12 if dtype == "float64" else 2e-4
    for priors in ("counts", some_priors(0, zeros=1)):
        shares = there.predict_proba(asarray_in(xp, z, dtype), priors=priors)
        assert str(shares.dtype).endswith(dtype)
        np.testing.assert_allclose(
            to_numpy(shares), gaussians.predict_proba(z, priors=priors), rtol=rtol, atol=rtol
        )


# -- scikit-learn --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_posteriors_are_those_of_scikit_learn(seed):
    _, z, y = fitted(seed, spread=1.0)
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(z, y)
    qda = QuadraticDiscriminantAnalysis(store_covariance=True).fit(z, y)
    bayes = GaussianNB(var_smoothing=0.0).fit(z, y)
    counts = np.bincount(y)
    ours = {
        lda: ClassGaussians(
            lda.means_, lda.covariance_, covariance="dense", tied=True, counts=counts
        ),
        qda: ClassGaussians(
            qda.means_, np.stack(qda.covariance_), covariance="dense", counts=counts
        ),
        bayes: ClassGaussians(bayes.theta_, bayes.var_, counts=counts),
    }
    for theirs, gaussians in ours.items():
        np.testing.assert_allclose(
            gaussians.predict_proba(z, priors="counts"),
            theirs.predict_proba(z),
            rtol=1e-8,
            atol=1e-12,
        )
        np.testing.assert_array_equal(gaussians.predict(z, priors="counts"), theirs.predict(z))


def test_naive_bayes_is_a_fit_without_repulsion():
    gaussians, z, y = fitted(3, spread=1.0)
    bayes = GaussianNB(var_smoothing=0.0).fit(z, y)
    np.testing.assert_allclose(
        gaussians.predict_proba(z, priors="counts"), bayes.predict_proba(z), rtol=1e-8, atol=1e-12
    )


def test_five_percent_positives():
    # Equal priors call the rare class far too often; the counts do as linear discriminants do.
    rng = np.random.default_rng(0)
    y = (rng.random(20_000) < 0.05).astype(int)
    z = rng.normal(size=(len(y), 4)) + 0.6 * y[:, None]
    gaussians = fit_fixed_point(z, y, 0.0, covariance="dense", tied=True).gaussians
    lda = LinearDiscriminantAnalysis().fit(z, y)
    assert np.mean(gaussians.predict(z)) > 0.25
    counted = gaussians.predict(z, priors="counts")
    # the tied covariance pools classes in equal parts, theirs by counts: a few rows differ
    assert np.mean(counted != lda.predict(z)) < 1e-3
    assert np.mean(counted) == pytest.approx(np.mean(lda.predict(z)), rel=0.1)
    positive = gaussians.predict_proba(z, priors="counts")[:, 1]
    assert np.mean(positive) == pytest.approx(0.05, abs=0.005)


# -- rows without a density ----------------------------------------------------------------


@every_family
def test_far_rows_get_the_priors(xp, covariance, tied):
    gaussians, z, _ = fitted(4, covariance, tied)
    far = asarray_in(xp, np.full((2, 3), 1e30), "float32")
    gaussians = gaussians.to(asarray_in(xp, z, "float32"))
    priors = np.array([0.0, 0.25, 0.5, 0.25])
    np.testing.assert_allclose(
        to_numpy(gaussians.predict_proba(far, priors=priors)), [priors] * 2, rtol=1e-6
    )
    assert to_numpy(gaussians.predict(far, priors=priors)).tolist() == [2, 2]
    assert to_numpy(gaussians.log_prob(far, priors=priors)).tolist() == [-math.inf] * 2


@pytest.mark.parametrize("certain", range(K))
def test_a_prior_of_zero(certain):
    gaussians, z, _ = fitted(5)
    priors = np.eye(K)[certain]
    assert set(gaussians.predict(z, priors=priors)) == {certain}
    np.testing.assert_array_equal(gaussians.predict_proba(z, priors=priors), [priors] * len(z))
    np.testing.assert_allclose(
        gaussians.log_prob(z, priors=priors), gaussians.class_log_prob(z)[:, certain], rtol=1e-12
    )


def test_the_mixture_is_differentiable(torch):
    gaussians, z, _ = fitted(6)
    gaussians = gaussians.to(torch.asarray(z))
    rows = torch.asarray(z[:5]).requires_grad_()
    logits = torch.zeros(K, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda z, logits: gaussians.log_prob(z, priors=torch.softmax(logits, 0)), (rows, logits)
    )
    zero = torch.tensor([0.0, 0.5, 0.5, 0.0], dtype=torch.float64)
    (slope,) = torch.autograd.grad(gaussians.log_prob(rows, priors=zero).sum(), rows)
    assert bool(slope.isfinite().all())


# -- counts --------------------------------------------------------------------------------


def test_a_fit_knows_them(xp):
    z, y = blobs(K, 3, 40, seed=7)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=len(y))
    gaussians = fit_fixed_point(
        asarray_in(xp, z), y, 10.0, tied=True, sample_weight=weight
    ).gaussians
    assert in_namespace(gaussians.counts, xp)
    np.testing.assert_allclose(to_numpy(gaussians.counts), np.bincount(y, weight), rtol=1e-13)
    statistics = ClassStatistics.from_samples(z, y)
    solved = solve_fixed_point(statistics, 1.0, tied=True).gaussians
    np.testing.assert_array_equal(solved.counts, statistics.counts)


def test_they_are_kept(xp, tmp_path):
    gaussians, z, y = fitted(8)
    counts = np.bincount(y)
    gaussians.save(tmp_path / "g.npz")
    others = [
        ClassGaussians.load(tmp_path / "g.npz"),
        gaussians.to(asarray_in(xp, z, "float32")),
        pickle.loads(pickle.dumps(gaussians)),
        copy.deepcopy(gaussians),
    ]
    for other in others:
        np.testing.assert_array_equal(to_numpy(other.counts), counts)


def test_they_are_copied_and_exact_beside_half_precision():
    counts = np.array([70_001.0, 3.0])
    gaussians = ClassGaussians(np.zeros((2, 1), np.float16), np.ones((2, 1)), counts=counts)
    counts[:] = 0.0
    assert gaussians.counts.tolist() == [70_001.0, 3.0]


def test_older_files_and_pickles_do_not_know_them(tmp_path):
    plain = ClassGaussians([[0.0], [1.0]], [[1.0], [1.0]])
    plain.save(tmp_path / "g.npz")
    with np.load(tmp_path / "g.npz") as file:
        assert "counts" not in file
    old = copy.copy(plain)
    del old.__dict__["counts"]  # as it was pickled
    for gaussians in (plain, ClassGaussians.load(tmp_path / "g.npz"), old):
        assert gaussians.counts is None
        assert gaussians.predict([[0.1]]).tolist() == [0]
        with pytest.raises(InvalidInputError, match=r"do not know the counts .* pass one prob"):
            gaussians.predict([[0.1]], priors="counts")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1.0], r"counts has shape \(1,\), \(2,\) is needed"),
        ([[1.0], [2.0]], r"counts has shape \(2, 1\)"),
        ([1.0, -1.0], "counts is negative in class 'b'"),
        ([math.nan, 1.0], "counts contains NaN or infinity in class 'a'"),
        ([1.0, math.inf], "counts contains NaN or infinity in class 'b'"),
        ([0.0, 0.0], "counts are all zero; pass None"),
        (["x", "y"], "counts has dtype"),
        (3, r"counts has shape \(\)"),
    ],
)
def test_bad_counts(counts, message):
    with pytest.raises(InvalidInputError, match=message):
        ClassGaussians([[0.0], [1.0]], [[1.0], [1.0]], classes=["a", "b"], counts=counts)


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ([1.0], r"priors has shape \(1,\), \(2,\) is needed"),
        ([[0.5, 0.5]], r"priors has shape \(1, 2\)"),
        ([1.5, -0.5], "priors is -0.5 for class 'b'"),
        ([math.nan, 1.0], "priors is nan for class 'a'"),
        ([math.inf, 0.0], "priors sum to inf"),
        ([0.5, 0.4999], r"priors sum to 0.9999; .* priors / sum"),
        ([95, 5], "priors sum to 100"),
        ([0.0, 0.0], "priors sum to 0"),
        ("count", "priors is 'count'; pass \"counts\""),
        (["a", "b"], "priors has dtype"),
    ],
)
@pytest.mark.parametrize("name", ["predict", "predict_proba", "log_prob"])
def test_bad_priors(name, priors, message):
    gaussians = ClassGaussians([[0.0], [1.0]], [[1.0], [1.0]], classes=["a", "b"])
    with pytest.raises(InvalidInputError, match=message):
        getattr(gaussians, name)([[0.0]], priors=priors)


def test_priors_beside_labels():
    gaussians, z, y = fitted(9)
    with pytest.raises(InvalidInputError, match="priors are of no effect"):
        gaussians.log_prob(z, y, priors="counts")


def test_priors_are_as_exact_as_their_dtype():
    gaussians, z, _ = fitted(10)
    priors = np.array([0.1, 0.2, 0.3, 0.4])
    for dtype in (np.float32, np.float16):
        np.testing.assert_allclose(
            gaussians.predict_proba(z, priors=priors.astype(dtype)),
            gaussians.predict_proba(z, priors=priors),
            atol=4.0 * np.finfo(dtype).eps,
        )
