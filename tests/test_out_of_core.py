"""Data that come in batches, lie on disk, or are spread over processes; and what goes wrong there.

`slack` and `merge_slack` bound rounding, as derived in test_statistics.
"""

import copy
import logging
import os
import pickle
import signal
import sys
import tracemalloc

import numpy as np
import pytest
from helpers import asarray_in, blobs, in_namespace, to_numpy

from fpigauss import (
    ClassStatistics,
    ConvergenceWarning,
    InvalidInputError,
    NotDifferentiableError,
    NotPositiveDefiniteError,
    PooledCovarianceWarning,
    SaddlePointWarning,
    UnboundedObjectiveWarning,
    UnknownOptionError,
    UnreachableSeparationError,
    fit_fixed_point,
    lam_path,
    solve_fixed_point,
)
from fpigauss.errors import __all__ as all_errors

EPS = 2.0**-52
MIB = 2**20
BOUND = 64 * MIB  # beyond the data and O(K d)


def fields(statistics):
    return [to_numpy(x) for x in (statistics.counts, statistics.means, statistics.covariances)]


def assert_same(statistics, expected):
    """The same numbers, bit for bit."""
    assert np.array_equal(statistics.classes, expected.classes)
    for one, other in zip(fields(statistics), fields(expected), strict=True):
        assert np.array_equal(one, other)


def assert_close(statistics, expected, z, n_parts):
    """The same statistics of ``z``, summed in ``n_parts`` parts, to rounding."""
    assert np.array_equal(statistics.classes, expected.classes)
    z = np.asarray(z, dtype=np.float64)
    size, width = np.abs(z).max(), np.ptp(z, axis=0)
    slack = (len(z) + 16) * EPS * (width**2).sum()
    limits = [
        len(z) * EPS,
        (len(z) + 4 * n_parts) * EPS * size,
        (n_parts + 1) * (slack + 4 * EPS * size * width.max()),
    ]
    for one, other, limit in zip(fields(statistics), fields(expected), limits, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=limit)


# -- streams -------------------------------------------------------------------------------

N_BATCHES, N_BEFORE = 6, 3  # six good batches; a fault after three of them


def good_batches(seed=1, dtype="float64"):
    z, y = blobs(seed=seed, n_samples=30)
    parts = np.array_split(np.arange(len(y)), N_BATCHES)
    return [(z[part].astype(dtype), y[part]) for part in parts]


def changed(**replaced):
    """A batch like the others, but for ``z``, ``y`` or a ``w``."""
    z, y = good_batches()[0]
    batch = {"z": z, "y": y, **replaced}
    return tuple(batch.values())


def with_nan():
    z = good_batches()[0][0].copy()
    z[17, 1] = np.nan
    return z


FAULTS = {
    "width": (lambda: changed(z=np.ones((20, 5))), ["5", "3"]),
    "float32": (lambda: changed(z=np.ones((20, 3), np.float32)), ["float32", "float64"]),
    "integers": (lambda: changed(z=np.ones((20, 3), int)), ["int64", "float64"]),
    "complex": (lambda: changed(z=np.ones((20, 3), complex)), ["complex128"]),
    "strings": (lambda: changed(y=np.array(["a"] * 20)), ["strings", "integers"]),
    "unknown label": (lambda: changed(y=np.arange(20)), ["4"]),
    "empty": (lambda: changed(z=np.ones((0, 3)), y=[]), ["empty"]),
    "nan": (lambda: changed(z=with_nan()), ["row 17"]),
    "length": (lambda: changed(y=[0, 1]), ["20", "2"]),
    "weight": (lambda: changed(w=-np.ones(20)), ["sample_weight", "row 0"]),
    "no pair": (lambda: changed()[:1], ["(z, y)"]),
    "a number": (lambda: 3, ["(z, y)"]),
}


class TestAFaultInAStream:
    @pytest.mark.parametrize("covariance", ["diagonal", "dense"])
    @pytest.mark.parametrize("fault", FAULTS)
    def test_carries_the_statistics_so_far(self, fault, covariance):
        bad, mentions = FAULTS[fault]
        batches = good_batches()
        options = {"covariance": covariance, "classes": range(4)}
        stream = iter([*batches[:N_BEFORE], bad(), *batches[N_BEFORE:]])
        with pytest.raises(InvalidInputError) as raised:
            ClassStatistics.from_batches(stream, **options)
        for mention in [f"batch {N_BEFORE}", *mentions]:
            assert mention in str(raised.value)
        assert_same(
            raised.value.statistics, ClassStatistics.from_batches(batches[:N_BEFORE], **options)
        )
        # the stream stands after the bad batch: going on gives the whole, as if it had not been
        whole = raised.value.statistics
        for z, y in stream:
            whole = whole.update(z, y)
        assert_same(whole, ClassStatistics.from_batches(batches, **options))

    def test_another_namespace(self, xp):
        batches = good_batches()
        if xp is np:
            return
        z, y = batches[2]
        with pytest.raises(InvalidInputError, match=r"batch 2: .*numpy float64") as raised:
            ClassStatistics.from_batches([*batches[:2], (asarray_in(xp, z), y)])
        assert_same(raised.value.statistics, ClassStatistics.from_batches(batches[:2]))

    def test_resumed_from_a_file(self, tmp_path):
        batches = good_batches()
        stream = iter([*batches[:N_BEFORE], ([], []), *batches[N_BEFORE:]])
        with pytest.raises(InvalidInputError) as raised:
            ClassStatistics.from_batches(stream)
        raised.value.statistics.save(tmp_path / "so far.npz")
        rest = ClassStatistics.from_batches(stream)
        whole = ClassStatistics.load(tmp_path / "so far.npz").merge(rest)
        z = np.concatenate([z for z, _ in batches])
        assert_close(whole, ClassStatistics.from_batches(batches), z, N_BATCHES)
        assert solve_fixed_point(whole, 1.0, tied=True).converged

    def test_in_the_first_batch(self):
        with pytest.raises(InvalidInputError, match="batch 0") as raised:
            ClassStatistics.from_batches([([], [])])
        assert raised.value.statistics is None
        with pytest.raises(InvalidInputError, match="empty") as raised:
            ClassStatistics.from_batches([])
        assert raised.value.statistics is None

    def test_other_errors_carry_none(self):
        with pytest.raises(InvalidInputError) as raised:
            ClassStatistics.from_samples([], [])
        assert raised.value.statistics is None


class TakenError(Exception):
    """An exception whose attribute ``statistics`` is its own."""

    @property
    def statistics(self):
        return "theirs"


class TestAnInterruptedStream:
    @pytest.mark.parametrize("progress", [False, True])
    @pytest.mark.parametrize(
        "interrupt", [OSError("disk gone"), KeyboardInterrupt(), InvalidInputError("theirs")]
    )
    def test_carries_the_statistics_so_far(self, interrupt, progress):
        batches = good_batches()

        def stream():
            yield from batches[:N_BEFORE]
            raise copy.copy(interrupt)

        with pytest.raises(type(interrupt)) as raised:
            ClassStatistics.from_batches(stream(), progress=progress)
        assert raised.value.args == interrupt.args
        assert_same(raised.value.statistics, ClassStatistics.from_batches(batches[:N_BEFORE]))
        assert f"batches before ({N_BEFORE})" in " ".join(raised.value.__notes__)

    def test_before_the_first_batch(self):
        def stream():
            raise KeyboardInterrupt
            yield

        with pytest.raises(KeyboardInterrupt) as raised:
            ClassStatistics.from_batches(stream())
        assert raised.value.statistics is None

    def test_within_a_merge(self, monkeypatch):
        # what is half done does not count: neither the batch nor its number
        batches, merge, n_merged = good_batches(), ClassStatistics.merge, 0

        def interrupted(self, other):
            nonlocal n_merged
            n_merged += 1
            if n_merged == N_BEFORE:
                raise KeyboardInterrupt
            return merge(self, other)

        monkeypatch.setattr(ClassStatistics, "merge", interrupted)
        with pytest.raises(KeyboardInterrupt) as raised:
            ClassStatistics.from_batches(batches)
        monkeypatch.undo()
        assert_same(raised.value.statistics, ClassStatistics.from_batches(batches[:N_BEFORE]))
        assert f"batches before ({N_BEFORE})" in " ".join(raised.value.__notes__)

    def test_an_exception_that_takes_no_attribute(self):
        def stream():
            yield good_batches()[0]
            raise TakenError("disk gone")

        with pytest.raises(TakenError, match="disk gone") as raised:
            ClassStatistics.from_batches(stream())
        assert raised.value.statistics == "theirs"


class TestAStream:
    def test_lists_may_hold_integers(self):
        # a list has no dtype: [0, 1] is not another kind of latent than [0.5, 1]
        statistics = ClassStatistics.from_batches(
            [([[0.5], [1]], [0, 1]), ([[0], [1]], [0, 1]), (np.zeros((1, 1)), [0])]
        )
        assert np.array_equal(statistics.counts, [3, 2])

    def test_a_class_without_weight_in_a_batch(self):
        (z, y), *_ = good_batches()
        weights = np.where(y == 2, 0.0, 1.0)
        statistics = ClassStatistics.from_batches([(z, y, weights), (z, y)])
        assert np.array_equal(statistics.counts, np.bincount(y) + np.bincount(y, weights))
        none = ClassStatistics.from_batches([(z, y, weights)])
        with pytest.raises(InvalidInputError, match=r"\b2\b"):
            solve_fixed_point(none, 0.0)

    def test_a_class_never_seen(self):
        statistics = ClassStatistics.from_batches(good_batches(), classes=range(5))
        with pytest.raises(InvalidInputError, match=r"class 4\b"):
            solve_fixed_point(statistics, 0.0)

    def test_a_progress_bar(self, capsys):
        batches = good_batches()
        shown = ClassStatistics.from_batches(batches, progress=True)
        assert f"{N_BATCHES}/{N_BATCHES}" in capsys.readouterr().err
        assert_same(shown, ClassStatistics.from_batches(batches))
        assert capsys.readouterr().err == ""


# -- on disk -------------------------------------------------------------------------------


def pattern(n_samples, dim, dtype):
    """Rows that differ, quickly made: (N, d)."""
    block = np.random.default_rng(0).integers(0, 256, size=(1024, dim)).astype(dtype)
    for start in range(0, n_samples, len(block)):
        rows = block[: n_samples - start]
        yield slice(start, start + len(rows)), np.roll(rows, start // len(block), axis=1)


def peak_of(function):
    """What a call returns, and the most memory that it held beyond what was there, in bytes."""
    tracemalloc.start()
    try:
        result = function()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def memmap(path, n_samples, dim, dtype):
    z = np.memmap(path, dtype=dtype, mode="w+", shape=(n_samples, dim))
    for rows, values in pattern(n_samples, dim, dtype):
        z[rows] = values
    z.flush()
    return np.memmap(path, dtype=dtype, mode="r", shape=(n_samples, dim))


class TestOnDisk:
    @pytest.mark.parametrize("dtype", ["float32", "uint8"])
    @pytest.mark.parametrize("view", [False, True])
    def test_a_memmap_larger_than_the_bound(self, tmp_path, dtype, view):
        # as float64 the integers would take eight times their place; so they are read in chunks
        n_samples, dim = 40_000, 512
        z = memmap(tmp_path / "z", n_samples, dim, dtype)
        assert n_samples * dim * (4 if dtype == "float32" else 8) > BOUND
        y = np.arange(n_samples) % 7
        weights = 1.0 + np.arange(n_samples) % 3
        given = np.asarray(z) if view else z
        assert type(given) is (np.ndarray if view else np.memmap)
        statistics, peak = peak_of(
            lambda: ClassStatistics.from_samples(given, y, sample_weight=weights)
        )
        assert peak < BOUND
        assert isinstance(statistics.means, np.ndarray)
        whole = ClassStatistics.from_samples(np.array(z, np.float64), y, sample_weight=weights)
        assert_close(statistics, whole, z, 16)

    def test_integers_in_memory(self):
        z = np.concatenate([values for _, values in pattern(40_000, 512, "uint8")])
        y = np.arange(len(z)) % 7
        statistics, peak = peak_of(lambda: ClassStatistics.from_samples(z, y))
        assert peak < BOUND
        assert_close(statistics, ClassStatistics.from_samples(z.astype(float), y), z, 16)

    def test_integers_of_any_namespace(self, xp, monkeypatch):
        monkeypatch.setattr("fpigauss.statistics._rows._CHUNK_BYTES", 2000)
        z, y = blobs(seed=3)
        z = np.rint(4 * z).astype(np.int64)
        statistics = ClassStatistics.from_samples(asarray_in(xp, z), y)
        assert in_namespace(statistics.means, xp)
        assert_close(statistics, ClassStatistics.from_samples(z.astype(float), y), z, 2)

    @pytest.mark.parametrize("n_stored", [7, 40])
    def test_each_chunk_of_a_store_is_read_once(self, monkeypatch, n_stored):
        monkeypatch.setattr("fpigauss.statistics._rows._CHUNK_BYTES", 400)  # 16 rows
        z, y = blobs(seed=4)
        read = []

        class Store:
            shape, ndim, dtype, chunks = z.shape, 2, z.dtype, (n_stored, z.shape[1])

            def __getitem__(self, key):
                rows = key[0] if isinstance(key, tuple) else key
                start, stop, _ = rows.indices(len(z))
                if stop > start:  # what is empty tells the type
                    read.extend(range(start // n_stored, -(-stop // n_stored)))
                return z[key]

        statistics = ClassStatistics.from_samples(Store(), y)
        assert read == list(range(-(-len(z) // n_stored)))
        assert_close(statistics, ClassStatistics.from_samples(z, y), z, 4)

    @pytest.mark.parametrize("covariance", ["diagonal", "dense"])
    @pytest.mark.parametrize("chunks", [(7, 3), (50, 2), (1000, 3)])
    def test_zarr(self, tmp_path, monkeypatch, chunks, covariance):
        zarr = pytest.importorskip("zarr")
        monkeypatch.setattr("fpigauss.statistics._rows._CHUNK_BYTES", 2000)  # 83 rows of float64
        z, y = blobs(seed=4)
        names = np.array(["pear", "apple", "fig", "date"])[y]
        # strings of any length, where numpy has them
        text = np.dtypes.StringDType() if hasattr(np.dtypes, "StringDType") else names.dtype
        weights = np.random.default_rng(4).uniform(0.1, 2.0, size=len(y))
        group = zarr.open_group(tmp_path / "data.zarr", mode="w")
        z_stored, y_stored, names_stored, weights_stored = (
            group.create_array(name, data=values, chunks=size)
            for name, values, size in [
                ("z", z, (min(chunks[0], len(z)), chunks[1])),
                ("y", y, (50,)),
                ("names", names.astype(text), (50,)),
                ("weights", weights, (50,)),
            ]
        )
        options = {"covariance": covariance}
        for labels, labels_stored in [(y, y_stored), (names, names_stored)]:
            statistics = ClassStatistics.from_samples(z_stored, labels_stored, **options)
            assert_close(statistics, ClassStatistics.from_samples(z, labels, **options), z, 4)
        weighted = ClassStatistics.from_samples(
            z_stored, y, sample_weight=weights_stored, classes=range(4), **options
        )
        expected = ClassStatistics.from_samples(z, y, sample_weight=weights, **options)
        assert_close(weighted, expected, z, 4)
        twice = weighted.update(z_stored, y_stored, weights_stored)
        assert_close(twice, expected.merge(expected), z, 8)

    def test_a_zarr_larger_than_the_bound(self, tmp_path):
        zarr = pytest.importorskip("zarr")
        n_samples, dim = 40_000, 512
        z = zarr.create_array(
            tmp_path / "z.zarr", shape=(n_samples, dim), chunks=(1024, dim), dtype="float32"
        )
        for rows, values in pattern(n_samples, dim, "float32"):
            z[rows] = values
        y = np.arange(n_samples) % 7
        statistics, peak = peak_of(lambda: ClassStatistics.from_samples(z, y))
        assert peak < BOUND
        assert_close(statistics, ClassStatistics.from_samples(z[:], y), z[:], 16)

    def test_chunks_are_read_once(self, monkeypatch):
        monkeypatch.setattr("fpigauss.statistics._rows._CHUNK_BYTES", 2000)

        class Store:
            """What h5py, zarr and the like offer."""

            def __init__(self, values):
                self.values, self.reads = values, []
                self.shape, self.ndim, self.dtype = values.shape, values.ndim, values.dtype
                self.chunks = (25, 2)

            def __getitem__(self, key):
                self.reads.append(range(len(self.values))[key[0]])
                return self.values[key]

        z, y = blobs(seed=5)
        store = Store(z)
        statistics = ClassStatistics.from_samples(store, y)
        assert_close(statistics, ClassStatistics.from_samples(z, y), z, 4)
        reads = [rows for rows in store.reads if len(rows) > 0]
        assert [rows.start for rows in reads] == [0, 75, 150]  # 83 rows fit: three chunks of 25
        assert sum(len(rows) for rows in reads) == len(z)

    def test_a_fit(self, tmp_path):
        z, y = blobs(seed=6)
        z = z.astype(np.float32)
        np.save(tmp_path / "z.npy", z)
        mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
        result, expected = (fit_fixed_point(latents, y, 5.0, tied=True) for latents in (mapped, z))
        assert type(result.gaussians.means) is np.ndarray
        assert result.gaussians.means.dtype == np.float32
        # both stop within tol of the same fixed point, and are rounded to float32
        np.testing.assert_allclose(result.gaussians.means, expected.gaussians.means, rtol=1e-5)

    def test_faults_name_the_row_of_the_whole(self, tmp_path, monkeypatch):
        monkeypatch.setattr("fpigauss.statistics._rows._CHUNK_BYTES", 2000)
        z, y = blobs(seed=7)
        z[131, 1] = np.inf
        np.save(tmp_path / "z.npy", z)
        mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
        with pytest.raises(InvalidInputError, match="row 131"):
            ClassStatistics.from_samples(mapped, y)
        with pytest.raises(InvalidInputError, match="row 150"):
            ClassStatistics.from_samples(
                mapped, np.where(np.arange(len(y)) == 150, 9, 0), classes=[0]
            )
        with pytest.raises(InvalidInputError, match="159"):
            ClassStatistics.from_samples(mapped, y[1:])
        with pytest.raises(InvalidInputError, match=r"complex.*real"):
            ClassStatistics.from_samples(mapped.astype(complex), y)


# -- copies --------------------------------------------------------------------------------


def copies(value):
    return [pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)]


class TestCopies:
    @pytest.mark.parametrize("covariance", ["diagonal", "dense"])
    def test_statistics(self, xp, covariance):
        z, y = blobs(seed=8)
        statistics = ClassStatistics.from_samples(
            asarray_in(xp, z), y, covariance=covariance, classes=range(5)
        )
        for same in copies(statistics):
            assert_same(same, statistics)
            assert in_namespace(same.means, xp)
            assert_same(same.update(asarray_in(xp, z), y), statistics.merge(statistics))
            with pytest.raises(InvalidInputError):
                same.update(asarray_in(xp, z), y + 5)  # the classes are still the given ones
            with pytest.raises(AttributeError):
                same.means = None

    @pytest.mark.parametrize("name", all_errors)
    def test_errors(self, name):
        error = {
            "InvalidInputError": InvalidInputError("z is empty"),
            "NotPositiveDefiniteError": NotPositiveDefiniteError("elm", 3.0, "printed"),
            "UnboundedObjectiveWarning": UnboundedObjectiveWarning("lam"),
            "ConvergenceWarning": ConvergenceWarning("tol"),
            "UnknownOptionError": UnknownOptionError("lamb"),
            "PooledCovarianceWarning": PooledCovarianceWarning("frozen"),
            "UnreachableSeparationError": UnreachableSeparationError("no lam gives it"),
            "NotDifferentiableError": NotDifferentiableError("it did not converge"),
            "SaddlePointWarning": SaddlePointWarning("it curves downward"),
        }[name]
        error.add_note("in worker 3")
        error.statistics = ClassStatistics.from_samples(*blobs(seed=9))
        for same in copies(error):
            assert type(same) is type(error)
            assert str(same) == str(error)
            assert same.__notes__ == ["in worker 3"]
            assert_same(same.statistics, error.statistics)
        if name == "NotPositiveDefiniteError":
            assert all(
                (e.label, e.lam, e.equations) == ("elm", 3.0, "printed") for e in copies(error)
            )


# -- dask ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def da():
    return pytest.importorskip("dask.array", reason='pip install "fpigauss[dask]"')


class Series:
    """What a dask Series offers, without dask.dataframe."""

    def __init__(self, array):
        self.array = array

    def to_dask_array(self, lengths=None):
        assert lengths is True
        return self.array


class TestDask:
    @pytest.mark.parametrize("covariance", ["diagonal", "dense"])
    @pytest.mark.parametrize("chunks", [(160, 3), (9, 3), (9, 2), ((100, 0, 59, 1), 1)])
    def test_equals_one_pass(self, da, chunks, covariance):
        z, y = blobs(seed=20)
        names = np.array(["pear", "apple", "fig", "date"])[y]
        weights = np.random.default_rng(20).uniform(0.1, 2.0, size=len(y))
        z_dask = da.from_array(z, chunks=chunks)
        options = {"covariance": covariance}
        for labels in (y, names):
            expected = ClassStatistics.from_samples(z, labels, **options)
            given = [labels, labels.tolist(), da.from_array(labels, chunks=33)]
            found = [
                ClassStatistics.from_dask(z_dask, x, **options) for x in [*given, Series(given[-1])]
            ]
            assert_close(found[0], expected, z, 18)
            for other in found[1:]:  # the same chunks, and so the same order
                assert_same(other, found[0])
        expected = ClassStatistics.from_samples(
            z, y, classes=range(5), sample_weight=weights, **options
        )
        for w in (weights, da.from_array(weights, chunks=50)):
            weighted = ClassStatistics.from_dask(
                z_dask, y, classes=range(5), sample_weight=w, **options
            )
            assert weighted.closed
            assert_close(weighted, expected, z, 18)

    def test_nothing_is_computed_early_or_whole(self, da):
        computed = []

        def latents(block_info=None):
            (rows, _) = block_info[None]["array-location"]
            computed.append(rows)
            return np.arange(rows[0], rows[1], dtype=float)[:, None]

        z = da.map_blocks(latents, chunks=((10,) * 30, (1,)), dtype=float, meta=np.ones((0, 0)))
        statistics = ClassStatistics.from_dask(z, np.arange(300) % 2)
        assert sorted(computed) == [(i, i + 10) for i in range(0, 300, 10)]
        assert np.array_equal(statistics.means, [[149.0], [150.0]])

    def test_a_chunk_is_read_and_gathered_in_one_task(self, da):
        # a task of its own would be sent its chunk by another worker at times
        dask = pytest.importorskip("dask")
        graphs = []

        def get(graph, keys, **options):
            graphs.append(graph)
            return dask.get(graph, keys, **options)

        def latents(block_id):
            return np.arange(20.0).reshape(10, 2) + block_id[0]

        def labels(block_id):
            return np.arange(10) % 3

        z = da.map_blocks(latents, chunks=((10,) * 9, (2,)), meta=np.ones((0, 0)))
        y = da.map_blocks(labels, chunks=((10,) * 9,), meta=np.ones(0, dtype=int))
        weights = da.map_blocks(np.sqrt, y + 1.0)
        for given in ({"y": y}, {"y": y, "sample_weight": weights}, {"y": np.arange(90) % 3}):
            with dask.config.set(scheduler=get):
                ClassStatistics.from_dask(z, **given)
            names = [str(key) for key in graphs.pop()]
            of_chunks = [name for name in names if z.name in name or y.name in name]
            assert of_chunks == []

    def test_faults(self, da):
        z, y = blobs(seed=21)
        z_dask, y_dask = da.from_array(z, chunks=(40, 3)), da.from_array(y, chunks=40)
        spoiled = z.copy()
        spoiled[95, 2] = np.nan
        from_dask = ClassStatistics.from_dask
        unknown = z_dask[z_dask[:, 0] > 0]
        for call, mentions in [
            (lambda: from_dask(z, y), ["z", "ndarray", "from_samples"]),
            (lambda: from_dask(z.tolist(), y), ["z", "list"]),
            (lambda: from_dask(da.from_array(spoiled, chunks=(40, 3)), y), ["row 80", "row 15"]),
            (lambda: from_dask(z_dask, y_dask, classes=range(3)), ["row", "label 3"]),
            (lambda: from_dask(z_dask, y, classes=[0, 0, 1]), ["classes"]),
            (lambda: from_dask(z_dask, y, covariance="tied"), ["covariance"]),
            (lambda: from_dask(z_dask, y[1:]), ["160", "159"]),
            (lambda: from_dask(z_dask, y_dask[1:]), ["160", "159"]),
            (lambda: from_dask(z_dask, y, sample_weight=y_dask - 1), ["sample_weight", "-1"]),
            (lambda: from_dask(z_dask, y, sample_weight=np.ones(9)), ["sample_weight", "9"]),
            (lambda: from_dask(z_dask[:, 0], y), ["z", "(160,)"]),
            (lambda: from_dask(z_dask[:0], y[:0]), ["z", "empty"]),
            (lambda: from_dask(z_dask.astype(complex), y), ["z", "complex"]),
            (lambda: from_dask(unknown, y), ["z", "compute_chunk_sizes"]),
            (lambda: from_dask(z_dask, y_dask[z_dask[:, 0] > 0]), ["y", "compute_chunk_sizes"]),
            (lambda: ClassStatistics.from_samples(z_dask, y), ["z", "from_dask"]),
            (lambda: fit_fixed_point(z_dask, y, 1.0), ["z", "from_dask"]),
        ]:
            with pytest.raises(InvalidInputError) as raised:
                call()
            for mention in mentions:
                assert mention in str(raised.value)

    def test_without_dask(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "dask", None)
        with pytest.raises(
            ImportError, match=r'needs dask: pip install "dask\[array,distributed\]"'
        ):
            ClassStatistics.from_dask(*blobs())


class TestACluster:
    def test_a_worker_that_dies(self, da, tmp_path):
        distributed = pytest.importorskip("distributed", reason='pip install "fpigauss[dask]"')
        z, y = blobs(n_classes=5, dim=4, n_samples=200, seed=22)
        marker = str(tmp_path / "died")

        def fatal(block, block_info=None):
            """The block, but the process that first comes to the eighth of them is killed."""
            if block_info[0]["chunk-location"][0] == 7:
                try:
                    os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return block
                os.kill(os.getpid(), signal.SIGKILL)
            return block

        z_dask = da.from_array(z, chunks=(60, 4))
        deadly = da.map_blocks(fatal, z_dask, dtype=z.dtype, meta=np.ones((0, 0)))
        expected = ClassStatistics.from_dask(z_dask, y, covariance="dense")
        bad = z.copy()
        bad[130, 0] = np.inf
        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                local_directory=str(tmp_path),
                silence_logs=logging.CRITICAL,  # the death of a worker is on purpose
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            before = set(client.run(os.getpid).values())
            statistics = ClassStatistics.from_dask(deadly, y, covariance="dense")
            client.wait_for_workers(2, timeout=30)
            after = set(client.run(os.getpid).values())
            with pytest.raises(InvalidInputError, match=r"row 120 .*row 10\b"):
                ClassStatistics.from_dask(da.from_array(bad, chunks=(60, 4)), y)
        assert (tmp_path / "died").exists()
        assert len(before - after) == 1  # one process was lost
        assert_same(statistics, expected)  # in the same order, so to the bit
        assert_close(statistics, ClassStatistics.from_samples(z, y, covariance="dense"), z, 17)


@pytest.mark.parametrize("batches", [None, 3, 2.5])
def test_what_is_not_a_stream(batches):
    with pytest.raises(InvalidInputError, match=rf"batches is {batches}; pass an iterable"):
        ClassStatistics.from_batches(batches)


def test_a_program_without_a_console_has_no_bars(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    z, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    statistics = ClassStatistics.from_batches([(z, y)], progress=True)
    assert solve_fixed_point(statistics, 0.5, progress=True).converged
    assert lam_path(z, y, [0.0, 0.5], progress=True).status.tolist() == ["converged"] * 2
