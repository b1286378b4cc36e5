"""The likelihood of samples from their class statistics."""

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in
from problems import gaussian_classes
from test_custom_family import UnevenGroups

from fpigauss import ClassGaussians, ClassStatistics, fit_fixed_point, solve_fixed_point
from fpigauss.interface import balanced_nll

N_CLASSES, DIM = 3, 4


def by_samples(gaussians, z, y):
    losses = -np.asarray(gaussians.log_prob(z, y))
    return np.mean([losses[y == label].mean() for label in range(N_CLASSES)])


def data():
    z, y = gaussian_classes(0, N_CLASSES, DIM, 20)
    kept = np.arange(len(y)) % 5 < 2 + y  # classes of different sizes
    return z[kept], y[kept]


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_it_is_that_of_the_samples(covariance, tied):
    z, y = data()
    gaussians = fit_fixed_point(z, y, 1.0, covariance=covariance, tied=tied).gaussians
    moved = ClassGaussians(
        gaussians.means + 0.5, 2.0 * gaussians.covariances, covariance=covariance, tied=tied
    )
    statistics = ClassStatistics.from_samples(z, y, covariance="dense")
    for each in (gaussians, moved):
        assert balanced_nll(each, statistics) == pytest.approx(by_samples(each, z, y), rel=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_it_takes_families_of_ones_own(tied):
    z, y = data()
    gaussians = fit_fixed_point(z, y, 1.0, covariance=UnevenGroups(tied)).gaussians
    statistics = ClassStatistics.from_samples(z, y)
    expected = by_samples(gaussians, z, y)
    assert balanced_nll(gaussians, statistics) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_objective_without_repulsion_is_its_sum(library):
    z, y = data()
    xp = pytest.importorskip(library, reason=f"{library} is not installed")
    statistics = ClassStatistics.from_samples(asarray_in(xp, z), y)
    result = solve_fixed_point(statistics, 0.0)
    expected = result.objective / N_CLASSES
    assert balanced_nll(result.gaussians, statistics) == pytest.approx(expected, rel=1e-12)
