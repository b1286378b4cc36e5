"""How often a fit waits for numbers from the device: on an accelerator, each time costs."""

from collections import Counter

import numpy as np
import pytest

from fpigauss import ClassStatistics, solve_fixed_point
from fpigauss._array.namespaces import on_host
from fpigauss.fit import FixedPoint
from fpigauss.fit._start import prepare

torch = pytest.importorskip("torch")

#: What makes the host wait for a tensor; ``to_numpy`` begins by ``cpu``.
READS = ("cpu", "item", "nonzero", "tolist", "__bool__", "__float__", "__index__", "__int__")

SETTINGS = [
    {},
    {"tied": True},
    {"update": "means"},
    {"covariance": "dense"},
    {"covariance": "isotropic", "solver": "guarded"},
    {"pi": "mean"},
]


@pytest.fixture
def reads(monkeypatch):
    """Count the reads by name; those that one makes on its way do not count again."""
    counts, inside = Counter(), []

    def counting(name, original):
        def read(*args, **kwargs):
            counts[name] += not inside
            inside.append(name)
            try:
                return original(*args, **kwargs)
            finally:
                inside.pop()

        return read

    for name in READS:
        monkeypatch.setattr(torch.Tensor, name, counting(name, getattr(torch.Tensor, name)))
    monkeypatch.setattr(torch, "nonzero", counting("nonzero", torch.nonzero))
    return counts


def statistics_of(settings):
    rng = np.random.default_rng(0)
    covariances = np.ones((6, 5))
    if settings.get("covariance") == "dense":
        covariances = np.broadcast_to(np.eye(5), (6, 5, 5))
    return ClassStatistics(
        counts=torch.full((6,), 50.0, dtype=torch.float64),
        means=torch.asarray(2.0 * rng.standard_normal((6, 5))),
        covariances=torch.asarray(np.array(covariances)),
        classes=np.arange(6),
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_an_evaluation_brings_its_numbers_at_once(settings, reads):
    statistics = statistics_of(settings)
    options = FixedPoint(5.0, **settings)
    setup = prepare(statistics, options, 5.0, "statistics", statistics.means)
    reads.clear()
    options.strategies.equations.evaluate(setup.problem, setup.start.point, setup.start)
    # which entries of D to recompute has to be known before they are
    assert dict(reads) == {"cpu": 1, "nonzero": 1}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_an_iteration_waits_a_few_times(settings, reads):
    statistics = statistics_of(settings)

    def spent(max_iter):
        reads.clear()
        result = solve_fixed_point(statistics, 5.0, max_iter=max_iter, tol=0.0, **settings)
        assert result.n_iter == max_iter
        return sum(reads.values())

    # an evaluation (two), whether its covariances are admissible (two), a pair of the history, a
    # direction, whether something has run away, and slopes where differences of L are rounding
    assert (spent(8) - spent(3)) / 5 <= 8


def test_numbers_of_host_and_device_come_back_in_order(reads):
    tensors = torch.tensor(2.5), torch.tensor([3.5])
    assert on_host(1, tensors[0], np.float64(0.5), tensors[1], 7.0) == (1.0, 2.5, 0.5, 3.5, 7.0)
    assert sum(reads.values()) == 1
    assert on_host(np.float64(2.0), 3) == (2.0, 3.0)
