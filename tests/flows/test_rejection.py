"""Open sets: scores of samples that belong to no class, and thresholds."""

import math

import numpy as np
import pytest
import torch
from coupling import coupling_model
from helpers import FAMILIES, FAMILY_IDS
from scipy.stats import chi2, norm

from fpigauss import ClassGaussians, ClassStatistics, InvalidInputError, open_set_score
from fpigauss_torch import (
    ClassFlow,
    LatentGaussians,
    rejection_score,
    rejection_threshold,
    typicality_score,
)

N_CLASSES, DIM = 3, 4
SAME = (lambda x: (x, x.new_zeros(x.shape[0])), lambda z: z)


def gaussians(dim=DIM, covariance="diagonal", tied=False, seed=0):
    """Make classes that are about 6 apart, with different scales."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(60 * dim) % N_CLASSES
    z = torch.randn(60 * dim, dim, generator=generator, dtype=torch.float64)
    z = (0.5 + torch.arange(N_CLASSES))[y, None] * z + 6.0 * torch.eye(dim)[y]
    fitted = LatentGaussians(N_CLASSES, dim, covariance, tied)
    fitted.fit_(z, y, 0.0)
    return fitted


def test_the_rejection_score_is_minus_the_log_likelihood_of_the_mixture():
    model = coupling_model(N_CLASSES, DIM)
    x = torch.randn(20, DIM, generator=torch.Generator().manual_seed(0))
    score = rejection_score(model, x)
    z, logdet = model.encode(x)
    assert logdet.abs().max() > 0.1
    expected = -torch.logsumexp(model.gaussians.class_log_prob(z) + logdet[:, None], 1)
    torch.testing.assert_close(score, (expected + math.log(N_CLASSES)).detach())
    assert not score.requires_grad


@pytest.mark.parametrize("score", [rejection_score, typicality_score])
def test_scores_are_taken_in_evaluation_mode(score):
    model = coupling_model(N_CLASSES, DIM)
    model.codec.module.inner[0] = torch.nn.Sequential(
        model.codec.module.inner[0], torch.nn.Dropout(0.5)
    )
    model.train()
    x = torch.randn(20, DIM, generator=torch.Generator().manual_seed(0))
    assert torch.equal(score(model, x), score(model, x))
    assert model.training and model.codec.module.inner[0].training


@pytest.mark.parametrize("score", [rejection_score, typicality_score])
@pytest.mark.parametrize(("covariance", "tied"), [("diagonal", False), ("dense", True)])
def test_foreign_samples_are_told_from_known_ones(score, covariance, tied):
    model = ClassFlow(None, gaussians(20, covariance, tied), codec=SAME)
    known = model.gaussians.sample(1000, seed=0)
    threshold = rejection_threshold(score(model, known), 0.05)
    fresh = model.gaussians.sample(1000, seed=1)
    rejected = float((score(model, fresh) > threshold).double().mean())
    assert abs(rejected - 0.05) < 4.0 * math.sqrt(2.0 * 0.05 * 0.95 / 1000)  # both are draws
    foreign = 8.0 + torch.randn(200, 20, generator=torch.Generator().manual_seed(2))
    assert (score(model, foreign) > threshold).all()


def test_only_typicality_rejects_what_is_likelier_than_all_known_samples():
    model = ClassFlow(None, gaussians(200), codec=SAME)
    known = model.gaussians.sample(500, seed=0)
    foreign = model.gaussians.sample(50, temperature=0.3, seed=1)  # too close to the means
    likelihood, typicality = (
        score(model, foreign) > rejection_threshold(score(model, known), 0.05)
        for score in (rejection_score, typicality_score)
    )
    assert not likelihood.any()
    assert typicality.all()


@pytest.mark.parametrize(("covariance", "tied"), [("diagonal", False), ("dense", True)])
def test_the_typicality_score_is_the_chi_square_of_the_predicted_class(covariance, tied):
    prior = gaussians(24, covariance, tied)
    model = ClassFlow(None, prior, codec=SAME)
    z = prior.sample(300, temperature=1.1, seed=0, dtype=torch.float64)
    core = prior.class_gaussians()
    matrices = core.covariances if covariance == "dense" else torch.diag_embed(core.covariances)
    own = prior.predict(z)
    difference = z - prior.means[own]
    inverse = torch.linalg.inv(matrices.expand(N_CLASSES, 24, 24))[own]
    squared = torch.einsum("ni,nij,nj->n", difference, inverse, difference).numpy()
    deviates = norm.ppf(chi2.cdf(squared, 24))
    # for 24 degrees of freedom Wilson & Hilferty's approximation is within 0.04 up to there
    central = np.abs(deviates) < 3.0
    assert central.sum() > 200
    np.testing.assert_allclose(
        typicality_score(model, z).numpy()[central], np.abs(deviates)[central], atol=0.04
    )


def test_a_wide_class_does_not_make_samples_of_a_narrow_one_untypical():
    core = ClassGaussians(
        np.outer([0.0, 1.0], np.ones(100)), np.array([1.0, 9.0]), covariance="isotropic"
    )
    prior = LatentGaussians.from_class_gaussians(core)
    model = ClassFlow(None, prior, codec=SAME)
    narrow = prior.sample(torch.zeros(1000, dtype=torch.int64), seed=0)
    # half-normal with mean sqrt(2 / pi); the nearest class by distance would be the wide one
    expected = math.sqrt(2.0 / math.pi)
    assert abs(float(typicality_score(model, narrow).mean()) - expected) < 0.1


# -- thresholds ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 7, 100])
def test_just_the_rate_is_rejected(n_rows):
    scores = torch.randn(n_rows, generator=torch.Generator().manual_seed(n_rows))
    for n_rejected in range(n_rows):
        threshold = rejection_threshold(scores, n_rejected / n_rows)
        assert int((scores > threshold).sum()) == n_rejected
    assert rejection_threshold(scores, 0.0) == float(scores.max())


def test_scores_may_tie_or_be_infinite():
    assert rejection_threshold([1.0, 1.0, 1.0, 0.0], 0.5) == 1.0
    assert rejection_threshold(np.array([1.0, math.inf]), 0.5) == 1.0


@pytest.mark.parametrize(
    ("scores", "rate", "message"),
    [
        ([], 0.1, r"scores has shape \(0,\)"),
        (torch.zeros(2, 2), 0.1, r"scores has shape \(2, 2\)"),
        ([0.0, math.nan], 0.1, "scores is NaN in row 1"),
        ([0.0], 1.0, "rate is 1; pass"),
        ([0.0], -0.1, "rate is -0.1"),
        ([0.0], math.nan, "rate is NaN"),
    ],
)
def test_bad_thresholds(scores, rate, message):
    with pytest.raises(InvalidInputError, match=message):
        rejection_threshold(scores, rate)


# -- all methods, of Gaussians and of flows ------------------------------------------------

METHODS = ["likelihood", "mahalanobis", "relative_mahalanobis", "typicality", "entropy"]


def known_latents(prior):
    z = prior.sample(400, seed=5, dtype=torch.float64)
    return z, ClassStatistics.from_samples(z, prior.predict(z), covariance="dense")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_scores_of_tensors_are_those_of_the_core(method, covariance, tied):
    prior = gaussians(covariance=covariance, tied=tied)
    z, statistics = known_latents(prior)
    options = {"background": statistics} if method == "relative_mahalanobis" else {}
    core = prior.class_gaussians()
    wanted = open_set_score(core, z, method=method, **options)
    for model in (core, prior, ClassFlow(None, prior, codec=SAME)):
        score = rejection_score(model, z, method=method, **options)
        torch.testing.assert_close(score, wanted, rtol=1e-9, atol=1e-9)
        single = rejection_score(model, z.float(), method=method, **options)
        assert single.dtype == torch.float32
    if method in {"likelihood", "typicality", "entropy"}:
        wanted = open_set_score(core, z, method=method, priors="counts")
        score = rejection_score(prior, z, method=method, priors="counts")
        torch.testing.assert_close(score, wanted, rtol=1e-9, atol=1e-9)


def test_a_background_may_be_one_gaussian_of_a_prior():
    prior = gaussians()
    z, statistics = known_latents(prior)
    together = ClassStatistics.from_samples(z, np.zeros(len(z), int), covariance="dense")
    one = LatentGaussians.from_class_gaussians(
        ClassGaussians(together.means, together.covariances, covariance="dense")
    )
    scores = [
        rejection_score(prior, z, method="relative_mahalanobis", background=background)
        for background in (statistics, one, one.class_gaussians())
    ]
    for score in scores[1:]:
        torch.testing.assert_close(score, scores[0])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_rejects_what_is_nowhere(method):
    prior = gaussians()
    _, statistics = known_latents(prior)
    options = {"background": statistics} if method == "relative_mahalanobis" else {}
    rows = [[math.nan] * DIM, [math.inf, 0.0, 0.0, 0.0], [1e30] * DIM, [0.0] * DIM]
    for model in (prior, prior.class_gaussians(), ClassFlow(None, prior, codec=SAME)):
        score = rejection_score(model, torch.tensor(rows), method=method, **options)
        assert score[:3].tolist() == [math.inf] * 3
        assert math.isfinite(score[3])


def test_only_the_likelihood_has_the_log_determinant():
    prior = gaussians()
    z, _ = known_latents(prior)
    scaled = ClassFlow(None, prior, codec=(lambda x: (x, x.new_full((len(x),), 3.0)), lambda z: z))
    for method, shift in (("likelihood", 3.0), ("mahalanobis", 0.0), ("entropy", 0.0)):
        torch.testing.assert_close(
            rejection_score(scaled, z, method=method),
            rejection_score(prior, z, method=method) - shift,
        )


def test_bad_arguments_of_scores():
    prior = gaussians()
    z, _ = known_latents(prior)
    with pytest.raises(InvalidInputError, match="model is, or wraps, a Tensor; pass a ClassFlow"):
        rejection_score(z, z)
    with pytest.raises(InvalidInputError, match="background is None"):
        rejection_score(prior, z, method="relative_mahalanobis")
    with pytest.raises(InvalidInputError, match="background has 3 Gaussians"):
        rejection_score(prior, z, method="relative_mahalanobis", background=prior)
    with pytest.raises(InvalidInputError, match="method is 'x'"):
        rejection_score(prior, z, method="x")
