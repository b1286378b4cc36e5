"""Open sets without a flow: scores of unknown rows, their background, thresholds."""

import math
import re

import numpy as np
import pytest
from helpers import (
    FAMILIES,
    FAMILY_IDS,
    asarray_in,
    blobs,
    dtype_name,
    in_namespace,
    to_numpy,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, xlogy
from scipy.stats import chi2, entropy, norm

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    InvalidInputError,
    fit_fixed_point,
    l2_normalize,
    open_set_score,
    open_set_threshold,
    smallest_kld,
)

K, D = 4, 3
METHODS = ["likelihood", "mahalanobis", "relative_mahalanobis", "typicality", "entropy"]
WITH_PRIORS = ["likelihood", "typicality", "entropy"]
every_family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
every_method = pytest.mark.parametrize("method", METHODS)
seeds = st.integers(0, 2**32 - 1)


def fitted(seed=0, covariance="diagonal", tied=False, **options):
    z, y = blobs(K, D, 40, seed=seed, **options)
    keep = np.arange(len(y)) % (y + 1) == 0
    z, y = z[keep], y[keep]
    return fit_fixed_point(z, y, 0.0, covariance=covariance, tied=tied).gaussians, z, y


def options_of(method, z, y):
    kind = {"background": ClassStatistics.from_samples(z, y, covariance="dense")}
    return {"method": method} | (kind if method == "relative_mahalanobis" else {})


def expected(method, gaussians, z, everything=None, priors=None):
    """The scores by their formulas, from class log-densities and distances."""
    weights = np.full(K, 1.0 / K) if priors is None else priors
    squared = gaussians.mahalanobis(z)
    with np.errstate(divide="ignore"):
        terms = gaussians.class_log_prob(z) + np.log(weights)
    mixture = logsumexp(terms, axis=1)
    if method == "likelihood":
        return -mixture
    if method == "mahalanobis":
        return squared.min(axis=1)
    if method == "relative_mahalanobis":
        covariance = np.linalg.inv(np.cov(everything.T, ddof=0))
        mean = everything.mean(axis=0, keepdims=True)
        return squared.min(axis=1) - cdist(z, mean, "mahalanobis", VI=covariance)[:, 0] ** 2
    if method == "typicality":
        own = np.take_along_axis(squared, terms.argmax(axis=1)[:, None], axis=1)[:, 0]
        return np.abs((own / D) ** (1 / 3) - 1 + 2 / (9 * D)) / math.sqrt(2 / (9 * D))
    shares = np.exp(terms - mixture[:, None])
    return -xlogy(shares, shares).sum(axis=1)


# -- what they are -------------------------------------------------------------------------


@every_method
@every_family
@given(seed=seeds)
def test_scores_are_their_formulas(method, covariance, tied, seed):
    gaussians, z, y = fitted(seed, covariance, tied, spread=1.0)
    score = open_set_score(gaussians, z, **options_of(method, z, y))
    np.testing.assert_allclose(score, expected(method, gaussians, z, z), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", WITH_PRIORS)
@given(seed=seeds)
def test_priors_weigh_the_classes(method, seed):
    gaussians, z, y = fitted(seed, spread=1.0)
    counts = np.bincount(y)
    for given_priors, numbers in [
        ("counts", counts / counts.sum()),
        (np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.5, 0.5, 0.0, 0.0])),
    ]:
        score = open_set_score(gaussians, z, method=method, priors=given_priors)
        np.testing.assert_allclose(
            score, expected(method, gaussians, z, priors=numbers), rtol=1e-9, atol=1e-9
        )


@every_method
@given(seed=seeds, shift=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3))
def test_the_units_of_latents_do_not_matter(method, seed, shift, scale):
    gaussians, z, y = fitted(seed)
    moved = ClassGaussians(shift + scale * gaussians.means, scale**2 * gaussians.covariances)
    rows = shift + scale * z
    volume = D * math.log(scale) if method == "likelihood" else 0.0
    np.testing.assert_allclose(
        open_set_score(moved, rows, **options_of(method, rows, y)) - volume,
        open_set_score(gaussians, z, **options_of(method, z, y)),
        rtol=1e-6,
        atol=1e-6,
    )


@every_method
@given(seed=seeds)
def test_rotations_do_not_matter(method, seed):
    gaussians, z, y = fitted(seed, "dense", True)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))[0]
    covariance = turn @ gaussians.covariances @ turn.T
    turned = ClassGaussians(
        gaussians.means @ turn.T,
        (covariance + covariance.T) / 2.0,
        covariance="dense",
        tied=True,
    )
    rows = z @ turn.T
    np.testing.assert_allclose(
        open_set_score(turned, rows, **options_of(method, rows, y)),
        open_set_score(gaussians, z, **options_of(method, z, y)),
        rtol=1e-8,
        atol=1e-8,
    )


@every_method
@every_family
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_namespaces_and_dtypes(xp, method, covariance, tied, dtype):
    if dtype == "float16" and not hasattr(xp, dtype):
        return  # the standard has no half precision
    gaussians, z, y = fitted(1, covariance, tied)
    rounded = z.astype(dtype)
    options = options_of(method, z, y)
    wanted = open_set_score(gaussians, rounded.astype(np.float64), **options)
    like = asarray_in(xp, rounded)
    score = open_set_score(gaussians.to(asarray_in(xp, z)), like, **options)
    assert in_namespace(score, xp)
    assert dtype_name(score) == ("float64" if dtype == "float64" else "float32")
    rtol = 1e-9 if dtype == "float64" else 1e-6  # computed in float64, rounded once
    np.testing.assert_allclose(to_numpy(score), wanted, rtol=rtol, atol=rtol)


@every_method
def test_unknown_rows_score_higher(method):
    rng = np.random.default_rng(0)
    y = np.arange(3000) % K
    means = 6.0 * np.eye(K)
    z = means[y] + rng.standard_normal((3000, K))
    gaussians = fit_fixed_point(z[:1000], y[:1000], 0.0, tied=True).gaussians
    options = options_of(method, z[:1000], y[:1000])
    unknown = means.mean(axis=0) + 0.3 * rng.standard_normal((500, K))  # between the classes
    threshold = open_set_threshold(open_set_score(gaussians, z[1000:2000], **options), rate=0.05)
    rejected = open_set_score(gaussians, z[2000:], **options) > threshold
    assert rejected.mean() == pytest.approx(0.05, abs=4.0 * math.sqrt(2.0 * 0.05 * 0.95 / 1000))
    assert (open_set_score(gaussians, unknown, **options) > threshold).mean() > 0.9


def test_typicality_is_a_normal_deviate_of_the_chi_square():
    rng = np.random.default_rng(0)
    gaussians = ClassGaussians(9.0 * np.eye(2, 24), np.ones((2, 24)))
    z = gaussians.sample(rng.integers(2, size=300), temperature=1.1, seed=0)
    deviates = norm.ppf(chi2.cdf(gaussians.mahalanobis(z).min(axis=1), 24))
    central = np.abs(deviates) < 3.0
    score = open_set_score(gaussians, z, method="typicality")
    np.testing.assert_allclose(score[central], np.abs(deviates)[central], atol=0.04)
    assert open_set_score(gaussians, gaussians.means, method="typicality").min() > 5.0


def test_entropy_lies_between_none_and_that_of_the_priors():
    gaussians = ClassGaussians([[-1.0], [1.0]], [[1.0], [1.0]], counts=[9, 1])
    score = open_set_score(gaussians, [[0.0], [50.0]], method="entropy")
    np.testing.assert_allclose(score, [math.log(2.0), 0.0], atol=1e-15)
    middle = open_set_score(gaussians, [[0.0]], method="entropy", priors="counts")
    np.testing.assert_allclose(middle, [entropy([0.9, 0.1])])


# -- rows that are nowhere -----------------------------------------------------------------


@every_method
@every_family
def test_rows_that_are_not_finite_or_infinitely_far(xp, method, covariance, tied):
    gaussians, z, y = fitted(2, covariance, tied)
    nan, inf = math.nan, math.inf
    foreign = np.array(
        [[nan, 0, 0], [inf, 0, 0], [-inf, inf, nan], [1e30, 0, 0], [-1e30, 1e30, 1e30]]
    )
    rows = np.concatenate([z[:3], foreign]).astype(np.float32)
    score = open_set_score(
        gaussians.to(asarray_in(xp, z)), asarray_in(xp, rows), **options_of(method, z, y)
    )
    assert np.isfinite(to_numpy(score)[:3]).all()
    assert to_numpy(score)[3:].tolist() == [inf] * len(foreign)
    far = np.full((2, D), 1e200) * [[1.0], [-1.0]]
    assert open_set_score(gaussians, far, **options_of(method, z, y)).tolist() == [inf] * 2


@pytest.mark.parametrize("method", WITH_PRIORS)
def test_rows_that_only_an_impossible_class_is_near(method):
    gaussians = ClassGaussians([[0.0], [1e25]], [[1.0], [1.0]])
    rows = np.float32([[1e25], [0.5]])  # in whose dtype the first is infinitely far from zero
    score = open_set_score(gaussians, rows, method=method, priors=[1.0, 0.0])
    assert score[0] == math.inf
    assert np.isfinite(score[1])


@every_method
def test_no_rows(method):
    gaussians, z, y = fitted(3)
    assert open_set_score(gaussians, z[:0], **options_of(method, z, y)).shape == (0,)


def test_distances_that_cancel():
    # Products about one center leave nothing of a distance of 1e-3 among classes 1e8 apart.
    means = 1e8 * np.arange(5.0)[:, None]
    gaussians = ClassGaussians(means, np.ones(()), covariance="isotropic", tied=True)
    score = open_set_score(gaussians, means + 2.0**-10, method="mahalanobis")
    np.testing.assert_allclose(score, 2.0**-20, rtol=1e-12)


# -- the background ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["diagonal", "dense"])
def test_a_background_is_all_samples_together(xp, kind):
    gaussians, z, y = fitted(4, offset=100.0)
    statistics = ClassStatistics.from_samples(z, y, covariance=kind)
    together = ClassStatistics.from_samples(z, np.zeros(len(z), int), covariance=kind)
    one = ClassGaussians(together.means, together.covariances, covariance=kind)
    there = asarray_in(xp, z)
    backgrounds = [statistics, together, one, one.to(there)]
    scores = [
        open_set_score(gaussians.to(there), there, method="relative_mahalanobis", background=b)
        for b in backgrounds
    ]
    for score in scores[1:]:
        np.testing.assert_allclose(to_numpy(score), to_numpy(scores[0]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("background", "message"),
    [
        (None, 'background is None, but method="relative_mahalanobis" needs it'),
        (np.ones(3), "background is a ndarray; pass the ClassStatistics"),
        (ClassGaussians(np.ones((2, D)), np.ones((2, D))), "background has 2 Gaussians; pass one"),
        (ClassGaussians(np.ones((1, 2)), np.ones((1, 2))), "background has 2 dimensions, the Gau"),
        (
            ClassStatistics.from_samples(np.full((5, D), 0.1), [0] * 5),
            "the samples of background are all the same; pass statistics of samples that differ",
        ),
        (
            ClassStatistics.from_samples(np.ones((1, D)), [0]),
            "background has one sample; pass statistics of more samples",
        ),
        (
            ClassStatistics.from_samples(np.outer(np.arange(5), np.arange(D)), [0] * 5),
            "no variance in dimension 0; drop columns that are constant",
        ),
        (
            ClassStatistics.from_samples(np.arange(6.0).reshape(2, 3), [0, 1], covariance="dense"),
            r'2 samples in 3 .*; pass .*more samples, or diagonal ones \(covariance="diagonal"\)',
        ),
        (
            ClassStatistics(np.zeros(1), np.zeros((1, D)), np.zeros((1, D)), [0]),
            "background has no samples",
        ),
    ],
)
def test_bad_backgrounds(background, message):
    gaussians, z, _ = fitted(5)
    with pytest.raises(InvalidInputError, match=message):
        open_set_score(gaussians, z, method="relative_mahalanobis", background=background)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, 1e12])
def test_a_singular_background_is_refused_far_from_the_origin_too(offset):
    gaussians, _, _ = fitted(8)
    rng, y = np.random.default_rng(0), np.arange(60) % 3
    for _ in range(10):
        z = rng.normal(size=(60, D)) + rng.normal(size=(3, D))[y]
        few = ClassStatistics.from_samples(offset + z[:D], y[:D], covariance="dense")
        z[:, -1] = z[:, 0] + z[:, 1]
        dependent = ClassStatistics.from_samples(offset + z, y, covariance="dense")
        for background in (few, dependent):
            with pytest.raises(InvalidInputError, match="no variance in some direction"):
                open_set_score(gaussians, z, method="relative_mahalanobis", background=background)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "energy"}, 'method is \'energy\'; pass one of "likelihood", "mahalanobis"'),
        ({"method": "mahalanobis", "priors": "counts"}, "priors are of no use to method"),
        ({"method": "entropy", "background": "x"}, "background is of no use to method"),
        ({"priors": [1.0]}, r"priors has shape \(1,\)"),
    ],
)
def test_bad_options(options, message):
    gaussians, z, _ = fitted(6)
    with pytest.raises(InvalidInputError, match=message):
        open_set_score(gaussians, z, **options)


def test_bad_arguments(torch):
    gaussians, z, _ = fitted(7)
    with pytest.raises(InvalidInputError, match="gaussians is a ndarray; pass a ClassGaussians"):
        open_set_score(z, z)
    with pytest.raises(InvalidInputError, match=r"\(N, 3\) is needed"):
        open_set_score(gaussians, z[:, :2])
    with pytest.raises(InvalidInputError, match=r"gaussians.to\(z\)"):
        open_set_score(gaussians, torch.asarray(z))


# -- directions ----------------------------------------------------------------------------


@given(seed=seeds, exponent=st.integers(-300, 300))
def test_rows_get_the_length_one(seed, exponent):
    z = np.random.default_rng(seed).standard_normal((5, D)) * 10.0**exponent
    unit = l2_normalize(z)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(l2_normalize(3.0 * z), unit, rtol=1e-14)
    assert (np.sign(unit) == np.sign(z)).all()


def test_normalized_rows_of_any_namespace(xp, torch):
    z = np.array([[3.0, 4.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
    unit = l2_normalize(asarray_in(xp, z, "float32"))
    assert in_namespace(unit, xp)
    assert dtype_name(unit) == "float32"
    np.testing.assert_allclose(to_numpy(unit)[:2], [[0.6, 0.8], [0.0, 0.0]], rtol=1e-7)
    assert np.isnan(to_numpy(unit)[2:]).any(axis=1).all()
    rows = torch.tensor([[3.0, 4.0], [1e-9, 2.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(l2_normalize, (rows,))
    with pytest.raises(InvalidInputError, match=r"\(N, d\) is needed"):
        l2_normalize([1.0, 2.0])
    with pytest.raises(InvalidInputError, match=r"^z has shape \(3, 0\)"):
        l2_normalize(np.zeros((3, 0)))
    lost = l2_normalize([[1.0, np.nan], [np.inf, 1.0], [0.0, 2.0]])
    assert np.isnan(lost[:2]).all()
    np.testing.assert_array_equal(lost[2], [0.0, 1.0])


@every_method
def test_scores_of_normalized_rows_do_not_depend_on_their_lengths(method):
    rng = np.random.default_rng(0)
    y = np.arange(400) % K
    z = (4.0 * np.eye(K)[y] + rng.standard_normal((400, K))) * rng.uniform(1, 9, (400, 1))
    unit = l2_normalize(z)
    gaussians = fit_fixed_point(unit, y, 0.0, tied=True).gaussians
    options = options_of(method, unit, y)
    np.testing.assert_allclose(
        open_set_score(gaussians, l2_normalize(7.0 * z), **options),
        open_set_score(gaussians, unit, **options),
        rtol=1e-9,
        atol=1e-9,
    )


# -- thresholds ----------------------------------------------------------------------------


@given(n_rows=st.integers(1, 60), rate=st.floats(0.01, 0.99), seed=seeds)
def test_one_more_row_is_rejected_at_no_more_than_the_rate(n_rows, rate, seed):
    scores = np.random.default_rng(seed).standard_normal(n_rows + 1)
    if n_rows < 1.0 / rate - 1.0 - 1e-6:
        with pytest.raises(InvalidInputError, match=f"scores has {n_rows} rows, too few"):
            open_set_threshold(scores[1:], rate=rate)
        return
    # each of the rows may be the new one: exchangeable
    rejected = [
        scores[i] > open_set_threshold(np.delete(scores, i), rate=rate) for i in range(n_rows + 1)
    ]
    assert rate - 1.0 / (n_rows + 1) - 1e-9 < np.mean(rejected) <= rate + 1e-9


def test_the_fewest_rows_are_named():
    for rate, needed in [(0.3, 3), (0.29, 3), (0.05, 19), (0.01, 99), (1 / 3, 2), (0.4, 2)]:
        with pytest.raises(InvalidInputError, match=f"pass {needed} held-out rows or more"):
            open_set_threshold(np.zeros(needed - 1), rate=rate)
        assert open_set_threshold(np.arange(needed), rate=rate) == needed - 1.0


def test_ties_are_rejected_less():
    assert open_set_threshold([1.0, 1.0, 1.0, 0.0], rate=0.5) == 1.0


def test_scores_of_any_namespace(xp):
    scores = asarray_in(xp, [3.0, 1.0, 2.0, 10.0], "float32")
    threshold = open_set_threshold(scores, rate=0.4)
    assert isinstance(threshold, float)
    assert threshold == 3.0
    assert to_numpy(scores > threshold).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("scores", "rate", "message"),
    [
        ([], 0.5, r"scores has shape \(0,\)"),
        ([[1.0]], 0.5, r"scores has shape \(1, 1\)"),
        ([0.0, math.nan], 0.5, "scores is NaN in row 1"),
        ([0.0, math.inf, math.inf], 0.3, r"infinite in 2 of 3 rows \(row 1 first\)"),
        ([0.0] * 9, 0.0, "rate is 0; pass"),
        ([0.0] * 9, 1.0, "rate is 1; pass"),
        ([0.0] * 9, math.nan, "rate is NaN"),
        ([0.0] * 9, "x", "rate is 'x', not a number"),
    ],
)
def test_bad_thresholds(scores, rate, message):
    with pytest.raises(InvalidInputError, match=message):
        open_set_threshold(scores, rate=rate)


def test_infinite_scores_below_the_rate_do_no_harm():
    assert open_set_threshold([0.0, 1.0, math.inf], rate=0.5) == 1.0


def test_what_has_gaussians_is_told_where_they_are():
    z, y = blobs(3, 2, seed=0)
    result = fit_fixed_point(z, y, 0.0)
    with pytest.raises(InvalidInputError, match=r"FixedPointResult; pass its \.gaussians,"):
        open_set_score(result, z)
    with pytest.raises(InvalidInputError, match=r"FixedPointResult; pass its \.gaussians,"):
        smallest_kld(result)
    sklearn = pytest.importorskip("fpigauss.sklearn", reason="scikit-learn is not installed")
    for classifier in (
        sklearn.FixedPointGaussianClassifier(),
        sklearn.FixedPointGaussianClassifier().fit(z, y),
    ):
        with pytest.raises(InvalidInputError, match=r"Classifier; pass its \.gaussians_,"):
            open_set_score(classifier, z)
    with pytest.raises(InvalidInputError, match="is a float; pass a ClassGaussians"):
        open_set_score(1.0, z)


def test_pipelines_and_searches_are_told_where_their_gaussians_are():
    sklearn = pytest.importorskip("fpigauss.sklearn", reason="scikit-learn is not installed")
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    z, y = blobs(3, 2, seed=0)
    classifier = sklearn.FixedPointGaussianClassifier()
    pipeline = make_pipeline(StandardScaler(), classifier)
    grid = {"var_smoothing": [1e-9]}
    in_pipeline = {"fixedpointgaussianclassifier__var_smoothing": [1e-9]}
    rows = " of rows that its %s[:-1].transform makes"
    for estimator, words in (
        (pipeline, f"its [-1].gaussians_, a ClassGaussians{rows % ''}"),
        (pipeline.fit(z, y), f"its [-1].gaussians_, a ClassGaussians{rows % ''}"),
        (
            GridSearchCV(pipeline, in_pipeline).fit(z, y),
            f"its .best_estimator_[-1].gaussians_, a ClassGaussians{rows % '.best_estimator_'}",
        ),
        (
            GridSearchCV(classifier, grid).fit(z, y),
            "its .best_estimator_.gaussians_, a ClassGaussians",
        ),
        (make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()), "a ClassGaussians"),
    ):
        with pytest.raises(InvalidInputError, match=re.escape(f"; pass {words}") + "$"):
            open_set_score(estimator, z)
