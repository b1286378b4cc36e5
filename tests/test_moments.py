"""Sums of the classes: in place or not, in one piece or strided, alone or side by side."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import asarray_in, blobs, in_namespace, to_numpy

import fpigauss.statistics._gather as gather
import fpigauss.statistics._moments as moments
from fpigauss import ClassStatistics, InvalidInputError
from fpigauss._array.flags import unflagged

SHAPES = ["diagonal", "dense"]


def arrays_of(statistics):
    return [to_numpy(x) for x in (statistics.counts, statistics.means, statistics.covariances)]


def assert_same(found, expected):
    for a, b in zip(arrays_of(found), arrays_of(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("covariance", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_where_numpy_cannot_look(xp, covariance, weighted, monkeypatch):
    """Arrays of other devices are summed by their own namespace, to the same numbers."""
    z, y = blobs(seed=1)
    weights = np.random.default_rng(1).uniform(0.1, 2.0, size=len(y)) if weighted else None
    expected = ClassStatistics.from_samples(z, y, covariance=covariance, sample_weight=weights)
    monkeypatch.setattr(gather, "seen_by_numpy", lambda rows: rows)
    found = ClassStatistics.from_samples(
        asarray_in(xp, z), y, covariance=covariance, sample_weight=weights
    )
    assert in_namespace(found.means, xp)
    for a, b in zip(arrays_of(found), arrays_of(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("covariance", SHAPES)
def test_a_class_does_not_feel_the_others(covariance):
    """A class has the same moments, to the bit, alone and among others of any size."""
    rng = np.random.default_rng(2)
    sizes = [1, 2, 3, 5, 40, 700, 3000]
    y = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    z = rng.normal(size=(len(y), 60)) + 10.0 * rng.normal(size=(len(sizes), 60))[y]
    whole = ClassStatistics.from_samples(z, y, covariance=covariance)
    for label in range(len(sizes)):
        alone = ClassStatistics.from_samples(z[y == label], y[y == label], covariance=covariance)
        for a, b in zip(arrays_of(whole), arrays_of(alone), strict=True):
            np.testing.assert_array_equal(a[label], b[0])


@pytest.mark.parametrize("covariance", SHAPES)
@pytest.mark.parametrize("faulty", [1e200, np.inf, np.nan])
def test_overflow_stays_in_its_class(covariance, faulty):
    """Zero times infinity of one class gets into no other."""
    z, y = blobs(n_classes=4, seed=3)
    spoiled = z.copy()
    spoiled[np.flatnonzero(y == 1)[1:3]] = faulty
    dense = covariance == "dense"
    found = unflagged(moments.class_moments)(spoiled, y, None, 4, dense=dense)
    fine = moments.class_moments(z, y, None, 4, dense=dense)
    assert not np.isfinite(found.covariance[1]).all()
    for a, b in zip(found, fine, strict=True):
        np.testing.assert_array_equal(np.delete(a, 1, axis=0), np.delete(b, 1, axis=0))
    with pytest.raises(InvalidInputError, match="z "):
        ClassStatistics.from_samples(spoiled, y, covariance=covariance)


def test_constants_however_large_have_no_variance(xp):
    z, y = blobs(n_classes=3, seed=4)
    z[y == 1] = 1e200
    z[y == 2, 0] = 1.1
    found = ClassStatistics.from_samples(asarray_in(xp, z), y)
    assert (to_numpy(found.covariances)[1] == 0.0).all()
    assert to_numpy(found.covariances)[2, 0] == 0.0
    assert (to_numpy(found.means)[1] == 1e200).all()


def test_outliers_in_the_first_row_cost_no_digits(xp):
    """Sums about the outlier would leave 1e12 eps = 2e-4 of the variance."""
    rng = np.random.default_rng(5)
    y = np.arange(60_000) % 3
    z = rng.normal(size=(len(y), 2))
    z[[0, 1]] = 1e6
    found = to_numpy(ClassStatistics.from_samples(asarray_in(xp, z), y).covariances)
    for label in range(3):
        own = z[y == label]
        np.testing.assert_allclose(found[label], own.var(axis=0), rtol=1e-12)


@pytest.mark.parametrize("n_classes", [1, 3, 300])
@pytest.mark.parametrize("weighted", [False, True])
def test_threads_give_the_same_numbers(n_classes, weighted, monkeypatch):
    rng = np.random.default_rng(6)
    y = rng.integers(n_classes, size=4000)
    z = rng.normal(size=(len(y), 8)).astype(np.float32)
    weights = rng.uniform(0.1, 2.0, size=len(y)) if weighted else None
    one = ClassStatistics.from_samples(z, y, sample_weight=weights)
    monkeypatch.setattr(moments, "_THREADED_SIZE", 1)
    monkeypatch.setattr(moments, "_n_cores", lambda: 4)
    monkeypatch.setattr(
        moments, "_lie_around_origin", lambda z: False
    )  # small arrays are not asked
    assert_same(ClassStatistics.from_samples(z, y, sample_weight=weights), one)


def test_threads_are_no_more_than_the_cores_that_a_process_was_given(monkeypatch):
    # of a node of 128 cores, a job may have four, and each of its processes one
    pools = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, n_threads):
            pools.append(n_threads)
            super().__init__(n_threads)

    monkeypatch.setattr(moments, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(moments, "_THREADED_SIZE", 1)
    monkeypatch.setattr(moments.os, "cpu_count", lambda: 128)
    for cores, expected in [({0}, []), ({3, 7}, [2])]:
        monkeypatch.setattr(
            moments.os, "sched_getaffinity", lambda _, cores=cores: cores, raising=False
        )
        ClassStatistics.from_samples(np.arange(40.0).reshape(20, 2), np.arange(20) % 5)
        assert pools == expected


def strided(z):
    """The same numbers, but not one row after the other."""
    wide = np.zeros((len(z), 3 * z.shape[1]))
    wide[:, ::3] = z
    return {
        "columns first": np.asfortranarray(z),
        "every third column": wide[:, ::3],
        "backwards": np.ascontiguousarray(z[::-1, ::-1])[::-1, ::-1],
    }


@pytest.mark.parametrize("covariance", SHAPES)
@pytest.mark.parametrize("how", list(strided(np.zeros((2, 2)))))
def test_rows_that_are_not_in_one_piece(how, covariance, monkeypatch):
    z, y = blobs(seed=7)
    expected = ClassStatistics.from_samples(z, y, covariance=covariance)
    assert_same(ClassStatistics.from_samples(strided(z)[how], y, covariance=covariance), expected)
    monkeypatch.setattr("fpigauss.statistics._rows._CHUNK_BYTES", 200)  # several chunks
    found = ClassStatistics.from_samples(strided(z)[how], y, covariance=covariance)
    for a, b in zip(arrays_of(found), arrays_of(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("how", ["columns first", "every third column"])
def test_strided_rows_are_never_copied_whole(how, monkeypatch):
    """Taking rows of such an array by numpy.take would copy all of it, for every piece."""
    monkeypatch.setattr("fpigauss.statistics._rows._CHUNK_BYTES", 2**20)
    z = strided(np.random.default_rng(8).normal(size=(40_000, 64)))[how]  # 20 MiB
    tracemalloc.start()
    try:
        ClassStatistics.from_samples(z, np.arange(len(z)) % 10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * 2**20  # labels and their order take 1 MiB, a chunk and its pieces 3


def test_tensors_of_the_host_are_read_where_they_are():
    """No copy of z is made, neither by torch nor for numpy."""
    torch = pytest.importorskip("torch")
    z = torch.ones(20_000, 64)
    seen = gather.seen_by_numpy(z)
    assert isinstance(seen, np.ndarray) and np.shares_memory(seen, z.numpy())
    half = z.to(torch.bfloat16)  # numpy has no such type
    assert gather.seen_by_numpy(half) is half


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
@pytest.mark.parametrize("far", [0.0, 1e6])
def test_sums_about_the_origin_lose_no_digits(offset, far, xp, monkeypatch):
    """Large arrays around the origin are summed about it, but not a class that is far from it."""
    monkeypatch.setattr(moments, "_THREADED_SIZE", 1000)
    rng = np.random.default_rng(9)
    y = rng.integers(5, size=2000)
    z = rng.normal(size=(2000, 8)) + offset
    z[y == 3] += far
    z[:, 6], z[:, 7] = 0.0, 1.0  # features that are constant within each class
    found = ClassStatistics.from_samples(asarray_in(xp, z), y)
    for label in range(5):
        rows = z[y == label]
        exact = rows.var(axis=0)  # two passes
        np.testing.assert_allclose(to_numpy(found.covariances)[label], exact, rtol=1e-11, atol=0.0)
        # a sum of n numbers is off by n roundings of its largest partial sum at most
        noise = 2e-16 * len(rows) * np.abs(rows).max(axis=0)
        assert (np.abs(to_numpy(found.means)[label] - rows.mean(axis=0)) <= noise).all()


def test_where_samples_lie():
    rng = np.random.default_rng(10)
    z = rng.normal(size=(500, 4))
    assert moments._lie_around_origin(z)
    assert moments._lie_around_origin(z * [1.0, 1.0, 0.0, 1e-200])
    assert not moments._lie_around_origin(z + np.array([0.0, 0.0, 100.0, 0.0]))
    assert not moments._lie_around_origin(0.0 * z + 1.0)
    assert not moments._lie_around_origin(z + 1e200)  # whose square overflows


def negated_lazily(torch, shape):
    """Make positive numbers whose memory has the other sign: an imaginary part of a conjugate."""
    x = torch.asarray(np.random.default_rng(0).uniform(1.0, 2.0, size=shape))
    lazy = torch.complex(x, -x).conj().imag
    assert lazy.is_neg()
    return lazy


def zeros_without_memory(torch, shape):
    return torch._efficientzerotensor(shape, dtype=torch.float64)


@pytest.mark.parametrize("lazy", [negated_lazily, zeros_without_memory])
def test_latents_that_torch_has_not_written_out_yet(lazy):
    torch = pytest.importorskip("torch")
    z, y = lazy(torch, (20, 3)), np.repeat([0, 1], 10)
    ours, theirs = (ClassStatistics.from_samples(x, y) for x in (z, z.clone().resolve_neg()))
    for a, b in zip(arrays_of(ours), arrays_of(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_weights_that_torch_has_not_written_out_yet():
    torch = pytest.importorskip("torch")
    z, y, weights = np.arange(20.0)[:, None], np.repeat([0, 1], 10), negated_lazily(torch, (20,))
    ours, theirs = (
        ClassStatistics.from_samples(z, y, sample_weight=w) for w in (weights, weights.tolist())
    )
    assert_same(ours, theirs)


@pytest.mark.parametrize(("count", "n_cores"), [(None, 1), (3, 3)])
def test_cores_where_the_system_does_not_say_which(count, n_cores, monkeypatch):
    monkeypatch.delattr(moments.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(moments.os, "cpu_count", lambda: count)
    assert moments._n_cores() == n_cores
