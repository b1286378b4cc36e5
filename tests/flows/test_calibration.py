"""Calibrated temperatures of posteriors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from fpigauss import ConvergenceWarning, InvalidInputError
from fpigauss_torch import LatentGaussians, calibrate_temperature


def nll(class_log_prob, labels, temperature):
    log_posterior = torch.log_softmax(class_log_prob.double() / temperature, 1)
    return -float(log_posterior.gather(1, labels[:, None]).mean())


def held_out(n=400, seed=0, n_classes=4, scale=1.0):
    """Make log-densities, and labels drawn from their posterior at temperature ``scale``."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(n, n_classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    return scale * logits - 3000.0, labels


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0, 1e9])
def test_it_minimizes_the_negative_log_likelihood(scale):
    log_prob, labels = held_out(scale=scale)
    log_prob = log_prob + 3000.0  # more would cost 1e-4 its digits
    temperature = calibrate_temperature(log_prob, labels)
    best = minimize_scalar(
        lambda t: nll(log_prob, labels, math.exp(t)),
        bounds=(math.log(scale) - 3.0, math.log(scale) + 3.0),
        method="bounded",
        options={"xatol": 1e-9},
    )
    # a minimum of rounded values is found to sqrt(eps)
    assert math.log(temperature) == pytest.approx(best.x, abs=1e-6)
    assert nll(log_prob, labels, temperature) <= best.fun + 1e-15
    # 400 draws: the logarithm's standard error is about 0.07
    assert abs(math.log(temperature / scale)) < 0.3


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(-1e4, 1e4))
def test_it_scales_with_the_log_densities_and_a_shift_of_a_row_does_not_matter(seed, scale, shift):
    log_prob, labels = held_out(60, seed)
    expected = calibrate_temperature(log_prob, labels)
    shifts = shift * torch.linspace(-1.0, 1.0, 60, dtype=torch.float64)[:, None]
    got = calibrate_temperature(scale * (log_prob + 3000.0) + shifts, labels)
    # adding 3000 or 1e4 costs that times eps, over differences of scale
    assert got == pytest.approx(scale * expected, rel=1e-10 + 1e-11 / scale)


def test_shapes_of_input_that_mean_the_same():
    log_prob, labels = held_out()
    temperature = calibrate_temperature(log_prob, labels)
    assert isinstance(temperature, float)
    assert calibrate_temperature(log_prob.numpy(), labels.numpy()) == temperature
    assert calibrate_temperature(log_prob.numpy(), labels.tolist()) == temperature
    more = torch.cat([log_prob, torch.full((3, 4), math.nan)])
    with_unlabeled = torch.cat([labels, torch.full((3,), -1)])
    assert calibrate_temperature(more, with_unlabeled) == temperature
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    assert calibrate_temperature(log_prob[order], labels[order]) == pytest.approx(temperature)


def test_posteriors_of_gaussians_that_are_too_narrow_get_calibrated():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3000) % 3
    # three classes in the plane, and a variance that is nine times what the Gaussians believe
    means = 1.5 * torch.tensor([[0.0, 1.0], [1.0, -0.5], [-1.0, -0.5]], dtype=torch.float64)
    z = means[labels] + torch.randn(3000, 2, generator=generator, dtype=torch.float64)
    gaussians = LatentGaussians(3, 2, "isotropic", tied=True)
    core = gaussians.class_gaussians()
    gaussians.assign_(
        type(core)(means, torch.tensor(1.0 / 9.0).double(), covariance="isotropic", tied=True)
    )
    temperature = calibrate_temperature(gaussians.class_log_prob(z), labels)
    assert temperature == pytest.approx(9.0, rel=0.15)  # a standard error is about 4%
    posterior = gaussians.predict_proba(z, temperature=temperature)
    sure, right = posterior.max(1).values, posterior.argmax(1) == labels
    # as confident as it is accurate, to 4 standard errors; without the temperature far from it
    error = math.sqrt(0.25 / 3000)
    assert abs(float(sure.mean()) - float(right.double().mean())) < 4.0 * error
    assert (
        float(gaussians.predict_proba(z).max(1).values.mean()) > float(right.double().mean()) + 0.1
    )


def test_where_there_is_no_best_temperature_a_finite_one_comes_with_a_warning():
    labels = torch.tensor([0, 1, 0])
    right = 5.0 * torch.eye(2)[labels]
    with pytest.warns(ConvergenceWarning, match="all rows are classified correctly; 1 is returned"):
        assert calibrate_temperature(right, labels) == 1.0
    with pytest.warns(ConvergenceWarning, match="chance does better"):
        temperature = calibrate_temperature(right, 1 - labels)
    posterior = torch.softmax(right / temperature, 1)
    assert (posterior - 0.5).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("class_log_prob", "labels", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "labels contain no labeled row"),
        (torch.zeros(2, 3), torch.tensor([-1, -1]), "labels contain no labeled row"),
        (torch.zeros(2, 1), torch.tensor([0, 0]), r"shape \(2, 1\).*at least two classes"),
        (torch.zeros(2), torch.tensor([0, 0]), r"shape \(2,\)"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 0]), "dtype torch.int64"),
        (torch.tensor([[0.0, 1.0], [0.0, math.nan]]), torch.tensor([0, 0]), "in labeled row 1"),
        (np.array([[0.0, -math.inf], [0.0, 1.0]]), [0, 1], "in labeled row 0"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "labels is 3 in row 1"),
        (torch.zeros(2, 3), torch.tensor([0]), "give one label per row"),
    ],
)
def test_bad_input(class_log_prob, labels, message):
    with pytest.raises(InvalidInputError, match=message):
        calibrate_temperature(class_log_prob, labels)


def test_gaussians_that_are_not_fitted_are_told():
    with pytest.raises(InvalidInputError, match="fit the Gaussians first"):
        calibrate_temperature(torch.zeros(4, 2), [0, 1, 0, 1])
