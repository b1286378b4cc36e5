"""Warnings of fits point to the line that called, not to one of the packages."""

import pytest
import torch
from coupling import coupling_model

from fpigauss import ClassStatistics, ConvergenceWarning, FixedPoint, UnboundedObjectiveWarning
from fpigauss_torch import (
    FixedPointSchedule,
    LatentGaussians,
    add_class,
    calibrate_temperature,
    fixed_point_layer,
    fixed_point_layer_of,
    refit_,
)
from fpigauss_torch.priors import DataGaussians

N_CLASSES, DIM = 3, 4
Y = torch.arange(60) % N_CLASSES
Z = torch.randn(60, DIM, generator=torch.Generator().manual_seed(0)) + 2.0 * Y[:, None]
STATISTICS = ClassStatistics.from_samples(Z.double(), Y)
FIT = FixedPoint(1e3, max_iter=1)  # past lam*, and too few evaluations
KINDS = {ConvergenceWarning, UnboundedObjectiveWarning}


def fitted():
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
    gaussians.solve_(STATISTICS, 0.0)
    return gaussians


CALLS = {
    "fit_": lambda: LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False).fit_(
        Z, Y, fit=FIT
    ),
    "solve_": lambda: LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False).solve_(
        STATISTICS, fit=FIT
    ),
    "refit_": lambda: refit_(coupling_model(N_CLASSES, DIM), [(Z, Y)], fit=FIT),
    "step": lambda: FixedPointSchedule(fit=FIT).step(coupling_model(N_CLASSES, DIM), [(Z, Y)], 0),
    "force": lambda: FixedPointSchedule(fit=FIT).force(coupling_model(N_CLASSES, DIM), [(Z, Y)], 9),
    "fixed_point_layer": lambda: fixed_point_layer(
        Z.double(), Y, 1e3, covariance="diagonal", tied=False, max_iter=1
    ),
    "fixed_point_layer_of": lambda: fixed_point_layer_of(
        STATISTICS.counts,
        STATISTICS.means,
        STATISTICS.covariances,
        1e3,
        covariance="diagonal",
        tied=False,
        max_iter=1,
    ),
    "add_class": lambda: add_class(fitted(), STATISTICS, Z[:9] + 9.0, fit=FIT),
}


@pytest.mark.parametrize("call", CALLS)
def test_warnings_of_a_fit_point_to_the_line_that_asked(call):
    with pytest.warns() as caught:
        CALLS[call]()
    assert {warning.category for warning in caught} == KINDS
    assert {warning.filename for warning in caught} == {__file__}


def test_a_posterior_without_a_temperature_points_there_too():
    separated = torch.tensor([[0.0, -8.0], [-8.0, 0.0]])
    with pytest.warns(ConvergenceWarning, match="no best temperature") as caught:
        calibrate_temperature(separated, torch.tensor([0, 1]))
    assert [warning.filename for warning in caught] == [__file__]


def test_the_line_of_what_overrides_a_fit_is_one_of_its_own():
    class Own(DataGaussians):
        def solve_(self, statistics, lam, **options):
            return LatentGaussians.solve_(self, statistics, lam, **options)

    with pytest.warns() as caught:
        Own(N_CLASSES, DIM).fit_(Z, Y, fit=FIT)
    assert {warning.filename for warning in caught} == {__file__}
