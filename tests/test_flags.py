"""Every public call gives the same numbers whatever ``np.seterr`` says, and restores what it said.

The data make densities underflow, kernels vanish and squares overflow in float32.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, blobs

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    ConvergenceWarning,
    UnboundedObjectiveWarning,
    critical_lam,
    fit_fixed_point,
    fit_separated,
    geometric_mean,
    lam_path,
    pairwise_kld,
    solve_fixed_point,
)

Z, Y = blobs(n_classes=3, dim=2, n_samples=20, spread=60.0)
TINY = Z * 1e-160  # squares are below the smallest normal number


def far(covariance="diagonal", tied=False):
    statistics = ClassStatistics.from_samples(Z, Y, covariance="dense")
    return solve_fixed_point(statistics, 0.0, covariance=covariance, tied=tied).gaussians


def assert_same(call):
    """``call`` gives under errstate "raise" what it gives without, and leaves it as it was."""
    with np.errstate(all="ignore"):
        expected = call()
    with np.errstate(all="raise"):
        found = call()
        assert set(np.geterr().values()) == {"raise"}
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
class TestFamilies:
    @pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
    def test_densities(self, covariance, tied, dtype):
        g = far(covariance, tied)
        z = np.concatenate([Z[:9], [[0.0, 0.0], [3e4, 3e4]]]).astype(dtype)
        assert_same(lambda: [g.predict(z), g.class_log_prob(z), g.predict_proba(z)])
        assert_same(lambda: [g.log_prob(z), g.log_prob(z, np.arange(11) % 3)])
        if dtype != "float16":
            z = np.finfo(dtype).max * np.array([[1.0, -1.0]], dtype)
            assert_same(lambda: [g.predict_proba(z), g.log_prob(z)])

    def test_the_rest(self, covariance, tied):
        g = far(covariance, tied)
        assert_same(lambda: [g.sample([0, 1, 2], seed=0, temperature=1e-310)])
        assert_same(lambda: [pairwise_kld(g)])
        assert_same(lambda: [g.to(np.zeros(1, np.float32)).means])

    @pytest.mark.parametrize("pi", ["forward", "mean", "initial", 1e-3])
    @pytest.mark.parametrize("lam", [0.0, 1.0, 1e3])
    def test_fits(self, covariance, tied, pi, lam):
        def call():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.simplefilter("ignore", UnboundedObjectiveWarning)
                result = fit_fixed_point(
                    Z, Y, lam, covariance=covariance, tied=tied, pi=pi, max_iter=20
                )
            return [result.gaussians.means, result.gaussians.covariances, result.objective]

        assert_same(call)


@pytest.mark.parametrize("covariance", ["diagonal", "dense"])
def test_statistics(covariance):
    def fields(statistics):
        return [statistics.counts, statistics.means, statistics.covariances]

    weight = np.full(len(Y), 5e-324)
    for z in (Z, TINY, Z.astype(np.float32) * 1e-30, Z * 1e150):
        made = ClassStatistics.from_samples(z, Y, covariance=covariance)
        for call in (
            lambda z=z: ClassStatistics.from_samples(z, Y, covariance=covariance),
            lambda z=z: ClassStatistics.from_samples(z, Y, sample_weight=weight),
            lambda z=z: ClassStatistics.from_batches([(z, Y), (z, Y)], covariance=covariance),
            lambda made=made, z=z: made.update(z, Y),
            lambda made=made: made.merge(made),
            lambda made=made: ClassStatistics(*fields(made), classes=made.classes),
        ):
            assert_same(lambda call=call: fields(call()))


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
def test_geometric_mean(scale):
    a, b = np.diag([1.0, 1e-6]), np.array([[2.0, 1.0], [1.0, 2.0]])
    for t in (0.0, 0.5, 1.0):
        assert_same(lambda t=t: [geometric_mean(scale * a, scale * b, t)])


@pytest.mark.parametrize("spread", [1.0, 60.0])
@pytest.mark.parametrize("lams", [None, [0.0, 1.0, 1e3, 1e300], [1e-320, 2.3e-308, 1e-300]])
def test_paths(lams, spread):
    z, y = blobs(n_classes=3, dim=2, n_samples=20, spread=spread)

    def found():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            path = lam_path(z, y, lams, tied=True, validation=(z, y), max_iter=50)
        return [column for name, column in path.columns().items() if name != "status"]

    assert_same(found)


@pytest.mark.parametrize("target", [{"min_kld": 1e4}, {"max_overlap": 1e-300}, {"per_dim": 10.0}])
def test_separations(target):
    z, y = blobs(n_classes=3, dim=2, n_samples=20, spread=1.0)

    def found():
        separated = fit_separated(z, y, **target)
        return [separated.lam, separated.value, separated.gaussians.means]

    assert_same(found)


def test_scalars():
    assert_same(lambda: [critical_lam(np.int64(5)), critical_lam(5, 0.01)])


def test_settings_for_all_that_follows():
    before = np.seterr(all="raise")
    try:
        g = ClassGaussians([[0.0], [60.0]], [[1.0], [1.0]])
        assert g.predict_proba([[0.0]]).tolist() == [[1.0, 0.0]]
        assert np.isfinite(g.log_prob([[0.0]])).all()
        with ThreadPoolExecutor(2) as threads:  # each with flags of its own
            assert list(threads.map(g.predict, [[[0.0]], [[60.0]]])) == [[0], [1]]
    finally:
        np.seterr(**before)


def test_a_callback_keeps_its_flags():
    seen = []

    def callback(result):
        seen.append(np.geterr())

    with np.errstate(all="raise", under="warn"):
        expected = np.geterr()
        fit_fixed_point(*blobs(spread=1.0), 2.0, tied=True, callback=callback)
    assert seen
    assert all(flags == expected for flags in seen)


@pytest.mark.parametrize("method", ["__enter__", "__exit__"])
@pytest.mark.parametrize("call", ["a fit", "a density"])
def test_an_interrupt_as_flags_are_set_leaves_them_as_they_were(method, call, monkeypatch):
    z, y = blobs()
    gaussians = fit_fixed_point(z, y, 1.0).gaussians
    of_numpy = getattr(np.errstate, method)

    def interrupted(self, *args):
        if method == "__enter__":  # after numpy has set them, or before it has put them back
            of_numpy(self, *args)
        raise KeyboardInterrupt

    before = np.geterr()
    with monkeypatch.context() as patched:
        patched.setattr(np.errstate, method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit_fixed_point(z, y, 1.0) if call == "a fit" else gaussians.predict_proba(z)
    assert np.geterr() == before
