"""Refits that repel classes which a flow already keeps apart."""

import math
import warnings

import pytest
import torch
from coupling import Coupling
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from fpigauss import ClassStatistics, FixedPoint
from fpigauss_torch import (
    ClassFlow,
    FixedPointSchedule,
    LatentGaussians,
    RepeatedRepulsionWarning,
    add_class,
    refit_,
)

N_CLASSES, DIM = 3, 4
STRONG = 100.0
Y = torch.arange(150) % N_CLASSES
X = torch.randn(150, DIM, generator=torch.Generator().manual_seed(0)) + 2.0 * Y[:, None]
LOADER = [(X, Y)]


def made():
    flow = Coupling(DIM, n_layers=4)
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance="isotropic", tied=True)
    return ClassFlow(flow, gaussians, codec=(flow.forward, flow.inverse))


def trained(schedule, epochs, loader=LOADER, **options):
    """Return a model after epochs of training, each of twenty steps."""
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for epoch in range(epochs):
        schedule.step(model, loader, epoch, **options)
        for x, y in loader * 20:
            optimizer.zero_grad()
            model(x, y).mean().backward()
            optimizer.step()
    return model


def nll(model):
    """The balanced negative log-likelihood of the latents, whose classes have equal sizes."""
    with torch.no_grad():
        return -float(model.gaussians.log_prob(model.encode(X)[0].double(), Y).mean())


def figures(warning):
    words = str(warning.message).split()
    return float(words[words.index("from") + 1]), float(words[words.index("to") + 1])


def test_the_schedule_as_it_is_recommended_does_not_warn():
    trained(FixedPointSchedule(), 3)


def test_the_first_fit_may_be_as_strong_as_it_likes():
    assert refit_(made(), LOADER, 1e4).converged


@pytest.mark.parametrize("n_copies", [0, 2])
def test_another_refit_of_a_trained_flow_is_warned_about_once(n_copies):
    model = trained(FixedPointSchedule(), 6)
    copies = [AveragedModel(model) for _ in range(n_copies)]
    before = nll(model)
    with pytest.warns(RepeatedRepulsionWarning, match=r"refit at lam=900 .*epochs=\(0, 1\)") as one:
        refit_(model, LOADER, 900.0, alpha=10.0, copies=copies)
    assert [warning.filename for warning in one] == [__file__]
    # five digits are shown, of densities in float32
    assert figures(one[0]) == pytest.approx((before, nll(model)), rel=1e-3)
    assert nll(model) > before + 0.05 * DIM


@pytest.mark.parametrize("use_buffers", [False, True])
def test_an_averaged_model_keeps_the_gaussians_of_the_flow(use_buffers):
    model = made()
    refit_(model, LOADER, STRONG)
    averaged = AveragedModel(model, avg_fn=get_ema_avg_fn(0.5), use_buffers=use_buffers)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)  # as if it had been trained
    for _ in range(3):
        averaged.update_parameters(model)
    kept, ours = averaged.module.gaussians, model.gaussians
    torch.testing.assert_close(kept.means, ours.means, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(kept.covariances, ours.covariances, rtol=1e-14, atol=0.0)
    averaged.module.predict(X)


def test_a_copy_that_gets_worse_is_enough():
    model = made()
    for lam in (0.0, 0.0, 900.0):
        worse = AveragedModel(model)
        with warnings.catch_warnings(action="ignore", category=RepeatedRepulsionWarning):
            refit_(model, LOADER, lam)
    refit_(model, LOADER, 900.0)
    with pytest.warns(RepeatedRepulsionWarning) as caught:
        refit_(model, LOADER, 900.0, copies=[worse])
    assert len(caught) == 1


def test_periodic_refits_warn():
    schedule = FixedPointSchedule(9 * STRONG, range(0, 9, 4), fit=FixedPoint(alpha=10.0))
    with pytest.warns(RepeatedRepulsionWarning) as caught:
        trained(schedule, 9)
    assert len(caught) == 2


def test_periodic_refits_to_a_separation_do_not_warn():
    trained(FixedPointSchedule(separation=20.0, epochs=range(0, 9, 4)), 9)


def test_a_larger_separation_than_before_is_asked_on_purpose():
    model = made()
    for _ in range(2):
        refit_(model, LOADER, separation=10.0)
    before = nll(model)
    assert refit_(model, LOADER, separation=200.0).converged
    assert nll(model) > before + DIM


def test_a_separation_that_the_gaussians_had_has_remedies_of_its_own():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for n_steps in (0, 80, 40):
        refit_(model, LOADER, separation=200.0)
        for _ in range(n_steps):
            optimizer.zero_grad()
            model(X, Y).mean().backward()
            optimizer.step()
    with pytest.warns(RepeatedRepulsionWarning, match="or pass a smaller separation") as caught:
        refit_(model, LOADER, separation=200.0)
    assert "separation=, which" not in str(caught[0].message)


@pytest.mark.parametrize("later", [0.0, 1.0])
def test_later_refits_with_little_repulsion_do_not_warn(later):
    def lam(epoch):
        return STRONG if epoch < 2 else later

    trained(FixedPointSchedule(lam, epochs=range(0, 9, 4)), 9)


def test_a_second_refit_that_costs_very_much_is_warned_about():
    model = made()
    refit_(model, LOADER, 1.0)
    with pytest.warns(RepeatedRepulsionWarning):
        refit_(model, LOADER, 1e6)


def test_a_new_class_that_costs_the_old_ones_is_warned_about():
    z = X.double()
    old = ClassStatistics.from_samples(z[Y < 2], Y[Y < 2])
    gaussians = LatentGaussians(2, DIM, "isotropic", tied=True)
    gaussians.solve_(old, 1.0)
    mild = add_class(gaussians, old, z[Y == 2], 1.0).gaussians
    assert mild.n_swaps == 2  # it goes on from the old ones
    with pytest.warns(
        RepeatedRepulsionWarning, match=r"^add_class at lam=1e\+06 .* smaller"
    ) as one:
        strong = add_class(gaussians, old, z[Y == 2], 1e6).gaussians
    assert [warning.filename for warning in one] == [__file__]

    def balanced(fitted):
        losses = -fitted.class_log_prob(z)
        return math.fsum(float(losses[k == Y, k].mean()) for k in range(2)) / 2

    assert figures(one[0]) == pytest.approx((balanced(gaussians), balanced(strong)), rel=1e-3)
