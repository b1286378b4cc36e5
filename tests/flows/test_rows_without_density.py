"""Latents that are NaN, infinite or very far: rejected, with equal shares, and told of once."""

import math
import warnings

import pytest
import torch
from helpers import FAMILIES, FAMILY_IDS

from fpigauss import InvalidInputError
from fpigauss_torch import (
    ClassFlow,
    LatentGaussians,
    calibrate_temperature,
    rejection_score,
    rejection_threshold,
    typicality_score,
)

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
FOREIGN = [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, math.inf], [1e20, 0.0], [-1e30, 1e30]]
SAME = (lambda x: (x, torch.zeros(len(x))), lambda z: z)


def fitted(covariance, tied):
    y = torch.arange(90) % 3
    noise = torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
    gaussians = LatentGaussians(3, 2, covariance, tied)
    gaussians.fit_(noise + 3.0 * y[:, None], y, 1.0)
    return gaussians


@family
def test_they_are_rejected_with_equal_shares_and_one_warning(covariance, tied):
    gaussians = fitted(covariance, tied)
    model = ClassFlow(None, gaussians, codec=SAME)
    x = torch.cat([gaussians.means.float(), torch.tensor(FOREIGN)])
    for score in (rejection_score(model, x), typicality_score(model, x)):
        assert bool(score[:3].isfinite().all())
        assert score[3:].tolist() == [math.inf] * len(FOREIGN)
    for shares in (model.predict_proba(x), gaussians.predict_proba(x, temperature=2.0)):
        torch.testing.assert_close(shares[3:], torch.full((len(FOREIGN), 3), 1.0 / 3.0))
        torch.testing.assert_close(shares.sum(1), torch.ones(len(x)))
    for predict in (model.predict, gaussians.predict):
        with pytest.warns(RuntimeWarning, match=r"not finite in row 3 \(5 such") as caught:
            assert predict(x)[:3].tolist() == [0, 1, 2]
        assert len(caught) == 1
        assert caught[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="too far from all classes in row 0"):
        gaussians.predict(torch.tensor([[1e20, 0.0]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gaussians.predict(x[:3])


def test_a_log_determinant_that_is_not_finite_is_rejected():
    logdets = torch.tensor([0.0, math.inf, -math.inf, math.nan])
    model = ClassFlow(
        None,
        LatentGaussians(3, 2, covariance="diagonal", tied=False),
        codec=(lambda x: (x, logdets), lambda z: z),
    )
    assert rejection_score(model, torch.zeros(4, 2))[1:].tolist() == [math.inf] * 3


def test_a_threshold_that_accepts_infinite_scores_is_refused():
    scores = [0.0, 1.0, 2.0, math.inf]
    assert rejection_threshold(scores, rate=0.25) == 2.0
    with pytest.raises(InvalidInputError, match=r"infinite in 1 of 4 rows \(row 3 first\)"):
        rejection_threshold(scores, rate=0.1)


def test_calibration_names_the_row():
    gaussians = fitted("diagonal", True)
    values = gaussians.class_log_prob(torch.tensor([[0.0, 0.0], [1e20, 0.0]]))
    with pytest.raises(InvalidInputError, match="not finite in labeled row 1"):
        calibrate_temperature(values, [0, 1])


def test_gradients_that_overflow_stay_visible():
    gaussians = fitted("diagonal", True)
    z = torch.tensor([[math.inf, 0.0]], requires_grad=True)
    loss = -gaussians.log_prob(z).mean()
    loss.backward()
    assert not bool(loss.isfinite())
    assert not bool(z.grad.isfinite().all())


def of_log_determinants(logdets):
    gaussians = fitted("diagonal", True)
    model = ClassFlow(None, gaussians, codec=(lambda x: (x, logdets.to(x)), lambda z: z))
    return model, gaussians.means.float()


def test_predictions_without_a_finite_log_determinant_are_told_of_once():
    model, x = of_log_determinants(torch.tensor([0.0, math.nan, -math.inf]))
    for predict in (model.predict, model.predict_proba):
        with pytest.warns(RuntimeWarning, match=r"is nan in row 1 \(2 such rows: 1, 2\)") as caught:
            found = predict(x)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        # all classes share the determinant
        assert torch.equal(found, predict_quietly(model.gaussians, predict.__name__, x))
    x[1] = math.nan  # such latents have no density anyway, of which the Gaussians tell
    for logdets in ([0.0, math.nan, 0.0], [0.0, math.nan, math.inf]):
        model, _ = of_log_determinants(torch.tensor(logdets))
        with pytest.warns(RuntimeWarning) as caught:
            model.predict(x)
        assert len(caught) == 1 + (logdets[2] == math.inf)


def predict_quietly(model, name, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return getattr(model, name)(x)


def test_log_determinants_are_no_matter_where_they_are_finite_or_compiled():
    model, x = of_log_determinants(torch.full((3,), 3e38))  # whose sum overflows
    predict_quietly(model, "predict", x)
    predict_quietly(model, "predict_proba", x)
    model, x = of_log_determinants(torch.full((3,), math.nan))
    expected = model.gaussians.predict(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = torch.compile(lambda x: model.predict(x), backend="eager")
        assert torch.equal(compiled(x), expected)
