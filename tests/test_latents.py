"""Latents read from files: every format, memory, and files that are not as they should be."""

import io
import os
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import torch
import zarr
from safetensors.torch import save_file

from fpigauss import ClassStatistics, InvalidInputError, Latents, open_latents
from fpigauss.latents._csv_labels import MISSING

N, D = 500, 6
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(4, size=N)
NAMES = np.array(["ant", "bee", "cat", "dog"])[Y]


def lists(z, dtype=None):
    return pa.array(list(z), type=pa.list_(dtype or pa.from_numpy_dtype(z.dtype)))


def fixed(z):
    return pa.FixedSizeListArray.from_arrays(pa.array(z.ravel()), z.shape[1])


def columns(z):
    return {f"x{i}": z[:, i] for i in range(z.shape[1])}


def write_text(path, table):
    pc.write_csv(pa.table(table), path)
    return path


def save_npy(folder, z, y):
    np.save(folder / "latents.npy", z)
    np.save(folder / "labels.npy", y)
    return folder / "latents.npy", folder / "labels.npy"


def save_npz(folder, z, y):
    np.savez(folder / "a.npz", z=z, y=y)
    return (folder / "a.npz",)


def save_deflated(folder, z, y):
    np.savez_compressed(folder / "a.npz", z=z, y=y)
    return (folder / "a.npz",)


def save_parquet(folder, z, y):
    pq.write_table(
        pa.table({"label": y, "embedding": lists(z)}), folder / "a.parquet", row_group_size=200
    )
    return (folder / "a.parquet",)


def save_fixed(folder, z, y):
    pq.write_table(pa.table({"label": y, "embedding": fixed(z)}), folder / "a.parquet")
    return (folder / "a.parquet",)


def save_large_lists(folder, z, y):
    large = lists(z).cast(pa.large_list(pa.from_numpy_dtype(z.dtype)))
    pq.write_table(pa.table({"label": y, "embedding": large}), folder / "a.parquet")
    return (folder / "a.parquet",)


def save_tensors_in_parquet(folder, z, y):
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(z.dtype), (z.shape[1],))
    column = pa.ExtensionArray.from_storage(kind, fixed(z))
    pq.write_table(pa.table({"embedding": column, "label": y}), folder / "a.parquet")
    return (folder / "a.parquet",)


def save_columns(folder, z, y):
    texts = ["some text"] * len(z)
    table = pa.table(columns(z) | {"label": pa.array(y).dictionary_encode(), "file": texts})
    pq.write_table(table, folder / "a.parquet")
    return (folder / "a.parquet",)


def save_safetensors(folder, z, y):
    save_file({"z": torch.tensor(z), "y": torch.tensor(y)}, folder / "a.safetensors")
    return (folder / "a.safetensors",)


def save_torch(folder, z, y):
    y = y.tolist() if y.dtype.kind == "U" else torch.tensor(y)
    torch.save({"z": torch.tensor(z), "y": y, "epoch": 3}, folder / "a.pt")
    return (folder / "a.pt",)


def save_zarr(folder, z, y, version=3):
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=version)
    group.create_array("z", shape=z.shape, chunks=(70, 4), dtype=z.dtype)[:] = z
    dtype = "str" if y.dtype.kind == "U" else y.dtype
    group.create_array("y", shape=y.shape, chunks=(90,), dtype=dtype)[:] = y
    return (folder / "a.zarr",)


def save_zarr_2(folder, z, y):
    return save_zarr(folder, z, y, version=2)


def save_csv(folder, z, y):
    return (write_text(folder / "a.csv", columns(z.astype("f8")) | {"label": y}),)


FORMATS = [
    save_npy,
    save_npz,
    save_deflated,
    save_parquet,
    save_fixed,
    save_large_lists,
    save_tensors_in_parquet,
    save_columns,
    save_safetensors,
    save_torch,
    save_zarr,
    save_zarr_2,
    save_csv,
]
STRINGS = [save for save in FORMATS if save is not save_safetensors]


def joined(latents):
    batches = list(latents)
    assert all(len(z) == len(y) > 0 for z, y in batches)
    return np.concatenate([z for z, _ in batches]), np.concatenate([y for _, y in batches])


def refused(*paths, match, **options):
    """Check that opening or reading is refused, with a message that names the file."""
    with pytest.raises(InvalidInputError, match=match) as caught:
        list(open_latents(*paths, **options))
    assert any(Path(path).name in str(caught.value) for path in paths)
    return str(caught.value)


# -- every format --------------------------------------------------------------------------


@pytest.mark.parametrize("save", FORMATS)
@pytest.mark.parametrize("batch_size", [None, 128, 1])
def test_what_was_saved_comes_back(tmp_path, save, batch_size):
    latents = open_latents(*save(tmp_path, Z, Y), batch_size=batch_size)
    assert isinstance(latents, Latents)
    assert latents.n_rows in (N, None)
    assert (latents.dim, latents.has_labels) == (D, True)
    for _ in range(2):  # an iteration starts anew
        z, y = joined(latents)
        np.testing.assert_array_equal(z, Z)
        np.testing.assert_array_equal(y, Y)
    assert max(len(z) for z, _ in latents) <= (batch_size or N)


@pytest.mark.parametrize("save", FORMATS)
def test_statistics_are_those_of_the_arrays(tmp_path, save):
    expected = ClassStatistics.from_samples(Z, Y, covariance="dense")
    latents = open_latents(*save(tmp_path, Z, Y), batch_size=150)
    found = ClassStatistics.from_batches(latents, covariance="dense")
    np.testing.assert_array_equal(found.counts, expected.counts)
    # sums in another order, in float64
    np.testing.assert_allclose(found.means, expected.means, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.covariances, expected.covariances, rtol=0, atol=1e-14)


@pytest.mark.parametrize("save", STRINGS)
def test_strings_are_labels(tmp_path, save):
    _, y = joined(open_latents(*save(tmp_path, Z, NAMES), batch_size=128))
    assert y.dtype.kind == "U"
    np.testing.assert_array_equal(y, NAMES)


@pytest.mark.parametrize("save", [save_npz, save_parquet, save_safetensors, save_torch, save_zarr])
def test_booleans_are_labels(tmp_path, save):
    latents = open_latents(*save(tmp_path, Z, Y > 1))
    np.testing.assert_array_equal(joined(latents)[1], Y > 1)
    assert ClassStatistics.from_batches(latents).n_classes == 2


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i8", "u2", ">f4"])
@pytest.mark.parametrize("save", [save_npy, save_npz, save_deflated])
def test_types_of_numbers(tmp_path, save, dtype):
    z = (10 * Z).astype(dtype) if dtype[0] != "u" else np.abs(10 * Z).astype(dtype)
    latents = open_latents(*save(tmp_path, z, Y), batch_size=128)
    found, _ = joined(latents)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(found, z)
    assert ClassStatistics.from_batches(latents).n_classes == 4


@pytest.mark.parametrize("save", [save_parquet, save_safetensors, save_torch, save_zarr])
@pytest.mark.parametrize("dtype", ["f2", "f8", "i4"])
def test_types_of_numbers_elsewhere(tmp_path, save, dtype):
    z = (10 * Z).astype(dtype)
    found, _ = joined(open_latents(*save(tmp_path, z, Y), batch_size=128))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, z)


@pytest.mark.parametrize("save", [save_safetensors, save_torch])
def test_bfloat16_becomes_float32(tmp_path, save):
    z = torch.tensor(Z).bfloat16()
    path = tmp_path / ("a.pt" if save is save_torch else "a.safetensors")
    if save is save_torch:
        torch.save({"z": z}, path)
    else:
        save_file({"z": z}, path)
    for found, y in open_latents(path):
        assert found.dtype == np.float32
        assert y is None
        np.testing.assert_array_equal(found, z.float().numpy())


@pytest.mark.parametrize("save", [save_npy, save_npz, save_deflated])
def test_arrays_by_columns(tmp_path, save):
    found, _ = joined(open_latents(*save(tmp_path, np.asfortranarray(Z), Y), batch_size=128))
    np.testing.assert_array_equal(found, Z)


def test_names_are_options(tmp_path):
    np.savez(tmp_path / "a.npz", features=Z, targets=Y, other=np.array([{}], dtype=object))
    _, y = joined(open_latents(tmp_path / "a.npz", z="features", y="targets"))
    np.testing.assert_array_equal(y, Y)
    table = pa.table({"vector": lists(Z), "age": Y, "kind": NAMES})
    pq.write_table(table, tmp_path / "a.parquet")
    latents = open_latents(tmp_path / "a.parquet", z="vector", y="kind")
    assert latents.names == ("vector", "age", "kind")
    np.testing.assert_array_equal(joined(latents)[1], NAMES)


@pytest.mark.parametrize("save", [save_columns, save_csv])
def test_some_of_the_columns(tmp_path, save):
    (path,) = save(tmp_path, Z, Y)
    z, y = joined(open_latents(path, z=["x4", "x1"]))
    np.testing.assert_array_equal(z, Z[:, [4, 1]])
    np.testing.assert_array_equal(y, Y)
    refused(path, z=["x4", "x9"], match="has no column 'x9'")


def test_names_that_are_none(tmp_path):
    (path,) = save_npz(tmp_path, Z, Y)
    refused(path, z=["z", "y"], match="z names 2 columns, and .* contains arrays")
    for name in (3, [], [3]):
        with pytest.raises(InvalidInputError, match=r"z is .*; pass the name of an array"):
            open_latents(path, z=name)
    with pytest.raises(InvalidInputError, match=r"y is 3; pass the name of an array"):
        open_latents(path, y=3)


def test_labels_may_be_missing(tmp_path):
    np.savez(tmp_path / "a.npz", z=Z)
    latents = open_latents(tmp_path / "a.npz")
    assert not latents.has_labels
    assert all(y is None for _, y in latents)
    with pytest.raises(InvalidInputError, match="y is None; pass the labels"):
        ClassStatistics.from_batches(latents)


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "parquet", "folder"])
def test_labels_in_a_file_of_their_own(tmp_path, ending):
    np.savez(tmp_path / "z.npz", z=Z, y=np.zeros(N))  # the file of labels counts
    labels = tmp_path / f"labels.{ending}"
    if ending == "npy":
        np.save(labels, NAMES)
    elif ending == "npz":
        np.savez(labels, anything=NAMES)
    elif ending == "csv":
        write_text(labels, {"label": NAMES, "row": np.arange(N)})
    elif ending == "parquet":
        pq.write_table(pa.table({"species": NAMES}), labels)
    else:
        labels.mkdir()
        np.save(labels / "part_2.npy", NAMES[:123])
        np.save(labels / "part_10.npy", NAMES[123:])
    latents = open_latents(tmp_path / "z.npz", labels, batch_size=64)
    np.testing.assert_array_equal(joined(latents)[1], NAMES)


def test_a_tensor_alone_and_a_store_alone(tmp_path):
    torch.save(torch.tensor(Z), tmp_path / "z.pth")
    zarr.create_array(tmp_path / "z.zarr", data=Z)
    for name in ("z.pth", "z.zarr"):
        (found, y), *rest = open_latents(tmp_path / name)
        assert y is None
        assert not rest
        np.testing.assert_array_equal(found, Z)


def test_csv_of_pandas(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(columns(Z.astype("f8")) | {"label": NAMES, "file": "some text, quoted"})
    for name, options in {
        "a.csv": {},  # with row names
        "b.csv": {"index": False},
        "c.csv.gz": {"index": False},
        "c.CSV.GZ": {"index": False, "compression": "gzip"},
        "d.tsv": {"sep": "\t"},
        "d.TSV.GZ": {"sep": "\t", "compression": "gzip"},
        "from.tsv.csv": {"index": False},
    }.items():
        frame.to_csv(tmp_path / name, **options)
        latents = open_latents(tmp_path / name)
        assert latents.dim == D
        z, y = joined(latents)
        np.testing.assert_array_equal(z, Z)
        np.testing.assert_array_equal(y, NAMES)
    frame.set_index("file").to_parquet(tmp_path / "a.parquet")
    frame.set_index(np.arange(N) * 2).to_parquet(tmp_path / "b.parquet")
    frame.set_index(pd.RangeIndex(3, 2 * N + 3, 2, name="id")).to_parquet(tmp_path / "c.parquet")
    numbers = pd.Index(np.arange(N) * 7, name="number of the row")
    frame.set_index(numbers).to_parquet(tmp_path / "d.parquet")
    two = pd.MultiIndex.from_arrays([np.arange(N), NAMES], names=["id", None])
    frame.set_index(two).to_parquet(tmp_path / "e.parquet")
    frame.set_index("label").to_parquet(tmp_path / "f.parquet")
    for name in "abcdef":
        latents = open_latents(tmp_path / f"{name}.parquet")
        z, y = joined(latents)
        np.testing.assert_array_equal(z, Z)
        np.testing.assert_array_equal(y, NAMES)
    # a column that is asked for is data, whatever wrote it
    assert open_latents(tmp_path / "d.parquet", z=["number of the row"]).dim == 1


@pytest.mark.parametrize("metadata", [b"", b"{", b"[]", b'{"index_columns": 3}', b"\xff"])
def test_metadata_of_pandas_that_are_not_what_pandas_writes(tmp_path, metadata):
    table = pa.table(columns(Z) | {"label": NAMES}).replace_schema_metadata({"pandas": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    assert open_latents(tmp_path / "a.parquet").dim == D


@pytest.mark.parametrize("text", [str, lambda row: str(np.array(row))])
def test_lists_in_csv(tmp_path, text):
    z = np.round(Z.astype("f8"), 4)
    table = {"embedding": [text(row.tolist()) for row in z], "label": Y}
    z_found, y = joined(open_latents(write_text(tmp_path / "a.csv", table), batch_size=90))
    np.testing.assert_array_equal(z_found, z)
    np.testing.assert_array_equal(y, Y)


def test_csv_types_do_not_hang_on_the_first_rows(tmp_path):
    lines = ["1,2,a"] * 200_000 + ["0.5,1e3,b"]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["x,y,label", *lines]))
    z, y = joined(open_latents(path))
    assert z.dtype == np.float64
    assert z[-1].tolist() == [0.5, 1000.0]
    assert y[-1] == "b"


def test_folder_of_parts_by_name(tmp_path):
    cuts = [0, 50, 60, 300, N]
    for i, part in zip([1, 2, 10, 11], range(4), strict=True):
        rows = slice(cuts[part], cuts[part + 1])
        save_parquet(tmp_path, Z[rows], NAMES[rows])[0].rename(tmp_path / f"part_{i}.parquet")
    empty = pa.table({"embedding": lists(Z[:0], pa.float32()), "label": NAMES[:0]})
    pq.write_table(empty, tmp_path / "part_3.parquet")  # as Spark leaves them
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".part_1.parquet.crc").touch()
    latents = open_latents(tmp_path, batch_size=100)
    assert latents.n_rows == N
    z, y = joined(latents)
    np.testing.assert_array_equal(z, Z)
    np.testing.assert_array_equal(y, NAMES)


def test_folder_of_a_pair(tmp_path):
    np.save(tmp_path / "z.npy", Z)
    np.save(tmp_path / "y.npy", Y)
    np.testing.assert_array_equal(joined(open_latents(tmp_path))[1], Y)
    assert not open_latents(tmp_path / "z.npy").has_labels


@pytest.mark.parametrize("save", FORMATS)
def test_latents_may_be_sent_to_another_process(tmp_path, save):
    latents = pickle.loads(pickle.dumps(open_latents(*save(tmp_path, Z, Y), batch_size=200)))
    np.testing.assert_array_equal(joined(latents)[0], Z)


def test_frozen(tmp_path):
    latents = open_latents(*save_npz(tmp_path, Z, Y))
    with pytest.raises(AttributeError):
        latents.dim = 3
    assert "dim=6" in repr(latents)


# -- memory --------------------------------------------------------------------------------


# pages of parquet take 2 MiB per column, however few the rows
PAGED = (save_fixed, save_large_lists, save_columns)


@pytest.mark.parametrize("save", [save for save in FORMATS if "parquet" not in save.__name__])
def test_no_batch_exceeds_the_limit(tmp_path, save):
    n, limit = (800_000, 2**24) if save in PAGED else (20_000, 2**19)
    z, y = np.repeat(Z, n // N, axis=0), np.repeat(Y, n // N)
    latents = open_latents(*save(tmp_path, z, y), memory_limit=limit, batch_size=n)
    sizes = [z.nbytes + y.nbytes for z, y in latents]
    assert sum(sizes) > limit  # so that one batch would have been too much
    assert max(sizes) <= limit
    assert min(sizes[:-1], default=0) > limit / 200  # and is not read row by row


@pytest.mark.parametrize("save", [save_npz, save_deflated, save_safetensors, save_csv])
def test_reading_stays_within_the_limit(tmp_path, save):
    n, limit = 40_000, 2**20
    latents = open_latents(
        *save(tmp_path, np.repeat(Z, n // N, axis=0), np.repeat(Y, n // N)), memory_limit=limit
    )
    list(zip(latents, range(1), strict=False))  # what is imported is held
    before = pa.total_allocated_bytes()
    pool = pa.default_memory_pool()
    tracemalloc.start()
    try:
        for _ in latents:
            assert pool.bytes_allocated() - before <= limit
        assert tracemalloc.get_traced_memory()[1] <= limit + 2**17  # of zipfile's own
    finally:
        tracemalloc.stop()


def test_row_groups_are_not_read_whole(tmp_path):
    z = RNG.normal(size=(20_000, 128)).astype(np.float32)  # 10 MB
    table = pa.table({"embedding": fixed(z), "label": np.arange(20_000) % 3})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2**20)
    del table
    before = pa.total_allocated_bytes()
    most = 0
    for _ in open_latents(tmp_path / "a.parquet", memory_limit=2**23):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most <= 2**23 < z.nbytes


def test_too_little_memory(tmp_path):
    refused(*save_npz(tmp_path, Z, Y), memory_limit=10, match=r"memory_limit is 10 .* at least 32")
    path = save_deflated(tmp_path, np.asfortranarray(np.repeat(Z, 9, 0)), np.repeat(Y, 9))[0]
    refused(path, memory_limit=2**16, match="raise memory_limit, or write the file by rows")
    for name in ("memory_limit", "batch_size"):
        with pytest.raises(InvalidInputError, match=f"{name} is 0"):
            open_latents(path, **{name: 0})


# -- files that are not as they should be --------------------------------------------------


def test_no_such_file(tmp_path):
    np.save(tmp_path / "latents.npy", Z)
    refused(tmp_path / "latent.npy", match=r"path '.*latent.npy' does not .* 'latents.npy'")
    refused(tmp_path / "latents.npy", tmp_path / "y.npy", match=r"labels '.*y.npy' does not exist")
    refused(tmp_path / "no" / "z.npy", match="does not exist; pass the path")
    refused("s3://bucket/z.parquet", match="only local files")
    with pytest.raises(InvalidInputError, match="does not exist"):
        open_latents("a\0b")
    for path in (None, 3, io.BytesIO(), Z):
        with pytest.raises(InvalidInputError, match=r"path is a .*; pass a string or a pathlib"):
            open_latents(path)


@pytest.mark.parametrize("save", [save_npz, save_parquet, save_csv, save_safetensors])
def test_another_part_is_not_a_file_of_labels(tmp_path, save):
    paths = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        paths += save(tmp_path / name, Z, Y)
    refused(*paths, match=r"labels '.*second.*' contains latents too, .* merge them")
    refused(*[path.parent for path in paths], match=r"labels '.*second' contains latents too")


def test_several_files_are_told_to_be_a_folder(tmp_path):
    np.save(tmp_path / "latents.npy", Z)
    pattern = f"does not exist; for several files pass their folder, {str(tmp_path)!r}"
    refused(tmp_path / "*.npy", match=re.escape(pattern))
    with pytest.raises(InvalidInputError, match=r"path is a list; .* of several files that of"):
        open_latents([tmp_path / "latents.npy"])


@pytest.mark.parametrize("save", [save_npz, save_safetensors, save_torch, save_zarr])
def test_wrong_names_of_arrays(tmp_path, save):
    (path,) = save(tmp_path, Z, Y)
    refused(path, z="emb", match=r"has no array 'emb'; it contains .*'y'.*: pass one as z=")
    refused(path, y="label", match=r"has no array 'label'; it contains .*'z'.*: pass one as y=")
    refused(path, z="y", match=r"array 'y' has shape \(500,\); latents have one row")
    refused(path, y="z", match=r"array 'z' has shape \(500, 6\); labels are one per sample")


@pytest.mark.parametrize("save", [save_parquet, save_csv])
def test_wrong_names_of_columns(tmp_path, save):
    (path,) = save(tmp_path, Z, NAMES)
    refused(path, z="z", match=r"has no column 'z'; it contains .*'label'.*: pass one as z=")
    refused(path, y="y", match=r"has no column 'y'; it contains .*'label'.*: pass one as y=")
    refused(path, z="label", match=r"column 'label' is of type string; latents are a column of")


def test_nothing_within(tmp_path):
    np.savez(tmp_path / "a.npz")
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    for name in ("a.npz", "a.zarr"):
        refused(tmp_path / name, match="has no array 'z'; it contains nothing")
        with pytest.raises(InvalidInputError, match="has no array 'y'; it contains nothing"):
            open_latents(save_safetensors(tmp_path, Z, Y)[0], tmp_path / name)


def test_columns_of_one_name(tmp_path):
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["x", "x"])
    pq.write_table(table, tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", match="several columns of one name")


def test_tables_without_numbers(tmp_path):
    table = {"label": Y, "file": NAMES}
    match = r"has no column 'embedding'; it contains 'label', 'file'"
    refused(write_text(tmp_path / "a.csv", table), match=match)
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", match=match)


class Payload:
    """Fails the test if it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_nothing_is_unpickled(tmp_path):
    objects = np.array([Payload(), Payload()], dtype=object)
    np.save(tmp_path / "a.npy", objects)
    np.savez(tmp_path / "a.npz", z=objects, y=Y)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Payload()))
    torch.save({"z": Payload()}, tmp_path / "a.pt")
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Payload()))
    refused(tmp_path / "a.npy", match="Python objects, which would have to be unpickled")
    refused(tmp_path / "a.npz", match="array 'z' contains Python objects")
    refused(tmp_path / "b.npy", match="is a pickle, which can run any code and is never loaded")
    refused(tmp_path / "a.pt", match="more than tensors, and unpickling it could run any code")
    refused(tmp_path / "a.pth", match="save a dict of tensors")


def test_pickled_zarr(tmp_path):
    folder = save_zarr_2(tmp_path, Z, NAMES)[0]
    described = folder / "y" / ".zarray"
    text = described.read_text()
    found = re.search(r'"filters": \[', text)
    filters = text[found.end() :].lstrip()
    described.write_text(text[: found.end()] + filters.replace("]", ', {"id": "pickle"}]', 1))
    refused(folder, match="array 'y' is pickled, which can run any code")


@pytest.mark.parametrize(
    "save", [save_npy, save_npz, save_deflated, save_parquet, save_safetensors, save_torch]
)
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_files_that_are_cut_short(tmp_path, save, part):
    path, *labels = save(tmp_path, Z, Y)
    contents = path.read_bytes()
    path.write_bytes(contents[: int(len(contents) * part)])
    refused(path, *labels, match="cut short|damaged")


def test_npz_of_another_shape(tmp_path):
    np.savez(tmp_path / "a.npz", z=Z)
    contents = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(contents.replace(b"(500, 6)", b"(800, 6)"))
    refused(tmp_path / "a.npz", match="damaged")


def python(code, *arguments):
    """Run code in a process that may end badly."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_no_damage_of_parquet_ends_the_process(tmp_path):
    # pyarrow checks the metadata of a column where nothing can catch what it raises
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"embedding": lists(Z[:20]), "label": Y[:20]}), path)
    code = """
        import sys
        from pathlib import Path
        from fpigauss import InvalidInputError, open_latents

        path = Path(sys.argv[1])
        good = path.read_bytes()
        length = int.from_bytes(good[-8:-4], "little")
        schema = good.rindex(b"ARROW:schema")  # what pandas and pyarrow say to themselves
        refused = 0
        for i in range(len(good) - 8 - length, schema):
            path.write_bytes(good[:i] + bytes([good[i] ^ 2]) + good[i + 1 :])
            try:
                assert sum(len(z) for z, y in open_latents(path)) == 20
            except InvalidInputError:
                refused += 1
        print(refused)
        """
    (refused_ones,) = python(code, path)
    assert int(refused_ones) > 50


@pytest.mark.parametrize("wrong", [-5, 0, 19, 21])
@pytest.mark.parametrize("beside", [False, True])
def test_parquet_of_another_length_than_it_says(tmp_path, wrong, beside):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"embedding": lists(Z[:20]), "label": Y[:20]}), path)
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    start = good.index(b"\x16\x28\x19", footer)  # 20 rows, and then a list of row groups
    number = bytes([2 * wrong if wrong >= 0 else -2 * wrong - 1])  # zigzag, of the third field
    path.write_bytes(good[: start + 1] + number + good[start + 2 :])
    assert pq.read_metadata(path).num_rows == wrong
    np.save(tmp_path / "z.npy", Z[: max(wrong, 0)])
    with pytest.raises(InvalidInputError, match=r"20 are there|-5 rows|0 rows|more than 19"):
        list(open_latents(tmp_path / "z.npy", path) if beside else open_latents(path))


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is bounded there")
def test_a_chunk_that_asks_for_all_memory(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("z", data=Z, chunks=(100, D))
    chunk = tmp_path / "a.zarr/z/2.0"
    good = chunk.read_bytes()
    chunk.write_bytes(good[:4] + b"\xef\xff\xff\x7f" + good[8:])  # 2 GiB, says its header
    code = """
        import re, resource, sys
        from pathlib import Path
        from fpigauss import InvalidInputError, open_latents

        latents = open_latents(sys.argv[1])
        next(iter(open_latents(sys.argv[1], batch_size=100)))
        mapped = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        resource.setrlimit(resource.RLIMIT_AS, (mapped * 2**10 + 2**29,) * 2)
        try:
            list(latents)
        except InvalidInputError as error:
            assert "'z', in rows 0 to 499, asks for more memory" in str(error), error
        """
    python(code, tmp_path / "a.zarr")


@pytest.mark.parametrize("header", [b"-" * 9000 + b"1", b"(" * 9000, b"[" * 150 + b"]" * 150])
def test_a_header_of_npy_that_python_cannot_parse(tmp_path, header):
    # numpy hands it to Python's parser, which may say that memory is out
    path = tmp_path / "z.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused(path, match="z.npy'.* damaged")


def test_a_page_that_asks_for_all_memory(tmp_path, monkeypatch):
    def without_memory(self, **options):
        raise pa.ArrowMemoryError("malloc of size 2147483584 failed")  # as a page header may say

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": Z[:, 0], "label": Y}), path)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", without_memory)
    refused(path, match="a.parquet' asks for more memory than there is: it is damaged, or other")


@pytest.mark.parametrize("save", [save_npz, save_deflated, save_zarr])
def test_damage_within(tmp_path, save):
    path = save(tmp_path, Z, Y)[0]
    file = path if path.is_file() else max(path.rglob("z/c/*/*"), key=os.path.getsize)
    contents = bytearray(file.read_bytes())
    place = 1000 if path.is_file() else 0
    contents[place : place + 8] = bytes(255 - byte for byte in contents[place : place + 8])
    file.write_bytes(contents)
    refused(path, match="damaged")


@pytest.mark.parametrize("ending", ["npy", "npz", "parquet", "safetensors", "pt", "csv"])
def test_a_name_that_says_another_format(tmp_path, ending):
    target = tmp_path / f"a.{ending}"
    target.write_bytes(b"\xff\xfe some other format \x00 with , commas" * 9)
    refused(target, match="damaged|0 rows|column")


def test_formats_nobody_knows(tmp_path):
    for name in ("a.mat", "a", "latents.h5"):
        (tmp_path / name).write_bytes(b"contents")
        refused(tmp_path / name, match=r"not of a format that is read: .*\.parquet.*; convert it")


@pytest.mark.parametrize(
    ("file", "at_opening"), [("y.npy", True), ("y.parquet", True), ("y.csv", False)]
)
@pytest.mark.parametrize("n", [N - 1, N + 1, 1])
def test_labels_of_another_length(tmp_path, file, at_opening, n):
    np.save(tmp_path / "z.npy", Z)
    y = np.arange(n) % 3
    if file == "y.npy":
        np.save(tmp_path / file, y)
    elif file == "y.csv":
        write_text(tmp_path / file, {"label": y})
    else:
        pq.write_table(pa.table({"label": y}), tmp_path / file)
    paths = (tmp_path / "z.npy", tmp_path / file)
    count = f"more than {N}" if n > N and not at_opening else n
    message = refused(*paths, match=rf"labels '.*{file}' has {count} rows and path '.*z.npy'")
    assert "one per row and in their order" in message
    if at_opening:
        with pytest.raises(InvalidInputError):
            open_latents(*paths)


def test_labels_of_another_length_in_one_file(tmp_path):
    np.savez(tmp_path / "a.npz", z=Z, y=Y[:-1])
    refused(tmp_path / "a.npz", match="has 499 rows and path .* 500")


def test_latents_of_a_csv_and_labels_of_another_length(tmp_path):
    (path,) = save_csv(tmp_path, Z, Y)
    for n in (3, N - 1, N + 1):
        np.save(tmp_path / "y.npy", np.arange(n))
        refused(path, tmp_path / "y.npy", match=f"has {n} rows|has more than {N} rows")


def test_parts_that_differ(tmp_path):
    for name, other in {
        "dimensions": (Z[:, :3], Y),
        "dtype": (Z.astype("f8"), Y),
        "labels": (Z, None),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        np.savez(folder / "a.npz", z=Z, y=Y)
        arrays = {"z": other[0]} | ({} if other[1] is None else {"y": other[1]})
        np.savez(folder / "b.npz", **arrays)
        message = refused(folder, match=f"the parts differ in their {name}")
        assert "'b.npz'" in message
        assert "'a.npz'" in message


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_of_parts_are_matched_by_name(tmp_path, ending):
    def save(name, table):
        write = pc.write_csv if ending == "csv" else pq.write_table
        write(table, tmp_path / f"{name}.{ending}")

    table = pa.table(columns(Z.astype("f8")) | {"label": Y})
    save("part_0", table.slice(0, 200))
    save("part_1", table.select([*reversed(table.column_names)]).slice(200))
    z, y = joined(open_latents(tmp_path))
    np.testing.assert_array_equal(z, Z.astype("f8"))
    np.testing.assert_array_equal(y, Y)
    save("part_1", table.rename_columns(["other", *table.column_names[1:]]).slice(200))
    message = refused(tmp_path, match="differ in their columns: 'x0' is among the latents")
    assert f"of 'part_0.{ending}', but not of 'part_1.{ending}'" in message
    save("part_1", table.append_column("more", [Y]).slice(200))
    refused(tmp_path, match=f"'more' is among the latents of 'part_1.{ending}'")
    z, _ = joined(open_latents(tmp_path, z=["x0", "x1"]))
    np.testing.assert_array_equal(z, Z[:, :2].astype("f8"))


def test_parts_in_folders_of_a_folder_are_not_left_out(tmp_path):
    save_parquet(tmp_path, Z, Y)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.md").touch()
    assert open_latents(tmp_path).n_rows == N
    save_parquet(tmp_path / "notes", Z, Y)
    refused(tmp_path, match="more of them in the folder 'notes', which is not searched")


def test_labels_of_the_same_table_are_not_latents(tmp_path):
    path = write_text(tmp_path / "a.csv", columns(Z) | {"species": Y})
    pq.write_table(pa.table(columns(Z) | {"species": Y}), tmp_path / "a.parquet")
    for file in (path, tmp_path / "a.parquet"):
        latents = open_latents(file, file.parent / "." / file.name, y="species")
        assert latents.dim == D
        np.testing.assert_array_equal(joined(latents)[1], Y)

    for file in (path, tmp_path / "a.parquet"):
        says = "column 'species' contains the labels, and z names it among the latents"
        refused(file, z=["x0", "species"], y="species", match=says)


def test_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", Z)  # a folder with this file is data
    with pytest.raises(InvalidInputError, match="path is empty; pass the path of a file"):
        open_latents("")
    with pytest.raises(InvalidInputError, match="labels is empty"):
        open_latents("z.npy", "")


def test_a_column_twice(tmp_path):
    path = write_text(tmp_path / "a.csv", columns(Z))
    with pytest.raises(InvalidInputError, match="z names a column twice, 'x0', 'x0'; name each"):
        open_latents(path, z=["x0", "x0"])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["1", "01", "001"], ["001", "01", "1"]),
        (["007", "010", "011"], ["007", "010", "011"]),
        (["16", "0x10", "7"], ["0x10", "16", "7"]),
        (["1", "1.0", "2"], ["1", "1.0", "2"]),
        (["true", "True", "false"], ["True", "false", "true"]),
        (["0", "-1", " 12"], [-1, 0, 12]),
        (["1.000e+00", "0.000e+00", "2.000e+00"], [0, 1, 2]),
        (["9007199254740993", "9007199254740992", "1"], [1, 2**53, 2**53 + 1]),
        (["True", "False", "True"], [False, True]),
    ],
)
def test_labels_in_csv_are_what_is_written(tmp_path, written, expected):
    path = tmp_path / "a.csv"
    path.write_text("x,label\n" + "".join(f"{i},{written[i % 3]}\n" for i in range(30)))
    statistics = ClassStatistics.from_batches(open_latents(path))
    assert statistics.classes.tolist() == expected
    assert statistics.counts.sum() == 30


@pytest.mark.parametrize(
    ("first", "last"), [("1", "01"), ("1.0", "1"), ("true", "TRUE"), ("1", "0x1"), ("1", "one")]
)
def test_labels_in_csv_that_are_written_otherwise_later(tmp_path, first, last):
    path = tmp_path / "a.csv"
    n = 150_000  # far beyond the rows that are looked at
    with path.open("w") as file:
        file.write("x,label\n")
        file.writelines(f"{i}.25,{first}\n" for i in range(n))
        file.write(f"0.5,{last}\n")
    refused(path, match=f"column 'label' has '{last}' in row {n} \\(line {n + 2}\\)")


def test_csv_with_other_marks_and_without_names(tmp_path):
    path = tmp_path / "a.csv"
    for text, says in {
        "x0;x1;label\n1;2;a\n": "has ';' between the names in its first line",
        "x0\tx1\n1\t2\n": r"has '\\t' between the names",
        "5,0,0\n4,0,1\n": "has numbers in its first line, '5', '0', '0'",
        "3,1,2\n4,0,1\n": "has numbers in its first line, '3', '1', '2'",
    }.items():
        path.write_text(text)
        refused(path, match=says)
    path.write_text("0,1,2\n4,0,1\n")  # columns without names of their own, as of pandas
    assert open_latents(path).dim == 3
    (tmp_path / "a.tsv").write_text("x0,x1\n1,2\n")
    refused(tmp_path / "a.tsv", match="has ',' between the names in its first line")


def test_tensors_that_numpy_does_not_have(tmp_path):
    z = torch.from_numpy(Z)
    for kind, tensor in {
        "float8_e4m3fn": z.to(torch.float8_e4m3fn),
        "on 'meta'": z.to("meta"),
    }.items():
        torch.save({"z": tensor, "y": torch.from_numpy(Y)}, tmp_path / "a.pt")
        refused(tmp_path / "a.pt", match=f"tensor 'z' has .*{kind}.*; save it as float32")


def test_folders_without_data(tmp_path):
    refused(tmp_path, match="contains no file that is read, but nothing; pass a folder")
    (tmp_path / "readme.md").touch()
    refused(tmp_path, match="contains no file that is read, but 'readme.md'")
    np.save(tmp_path / "a.npy", Z[:0])
    refused(tmp_path, match="all parts have 0 rows")
    save_parquet(tmp_path, Z, Y)
    refused(tmp_path, match=r"several formats, \.npy, \.parquet")


@pytest.mark.parametrize("save", FORMATS)
def test_no_rows(tmp_path, save):
    paths = save(tmp_path, Z, Y)
    if save is save_csv:
        paths[0].write_text("x,y,label\n")
    elif save in (save_zarr, save_zarr_2):
        group = zarr.open_group(paths[0])
        group.create_array("z", shape=(0, D), dtype="f4", overwrite=True)
        group.create_array("y", shape=(0,), dtype="i8", overwrite=True)
    else:
        empty = [p.with_name(f"empty_{p.name}") for p in paths]
        others = save(tmp_path, Z[:0], Y[:0])
        for path, target in zip(others, empty, strict=True):
            path.rename(target)
        paths = empty
    refused(*paths, match="has 0 rows")


def test_no_dimensions(tmp_path):
    refused(*save_npy(tmp_path, Z[:, :0], Y), match="has 0 dimensions")
    table = pa.table({"embedding": pa.array([[]] * 3, pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", match="column 'embedding' has an empty list in row 0")


@pytest.mark.parametrize("row", [0, 3, 400])
def test_missing_entries(tmp_path, row):
    def without(values):
        values = list(values)
        values[row] = None
        return values

    hole = [list(x) for x in Z.astype("f8")]
    hole[row] = [*hole[row][:-1], None]
    path = tmp_path / "a.parquet"
    for table, column in [
        ({"embedding": without(hole), "label": Y}, "embedding"),
        ({"embedding": hole, "label": Y}, "embedding"),
        ({"embedding": pa.array(hole, pa.list_(pa.float32(), D)), "label": Y}, "embedding"),
        ({"embedding": lists(Z), "label": pa.array(without(Y.tolist()))}, "label"),
        ({"embedding": lists(Z), "label": pa.array(without(NAMES)).dictionary_encode()}, "label"),
        (columns(Z) | {"x3": pa.array(without(Z[:, 3].tolist())), "label": Y}, "x3"),
    ]:
        pq.write_table(pa.table(table), path)
        match = f"column '{column}' has a missing entry in row {row}; drop such rows"
        refused(path, match=match, batch_size=300)


@pytest.mark.parametrize("row", [0, 3, 400])
def test_ragged_lists(tmp_path, row):
    table = pa.table({"embedding": [list(z) + [0.0] * (i == row) for i, z in enumerate(Z)]})
    pq.write_table(table, tmp_path / "a.parquet")
    faulty = row or 1  # the first row tells the length
    refused(
        tmp_path / "a.parquet",
        match=rf"column 'embedding' has \d numbers in row {faulty}, and \d in the rows before",
        batch_size=300,
    )


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.date32(), pa.binary()])
def test_columns_of_no_numbers(tmp_path, kind):
    table = pa.table({"embedding": pa.array([None], kind), "label": pa.array([None], kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", match="column 'embedding' is of type .*; latents are a column")
    pq.write_table(table.set_column(0, "embedding", lists(Z[:1])), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", match="column 'label'")


@pytest.mark.parametrize("dtype", ["c8", "M8[s]", "U3"])
def test_arrays_of_no_numbers(tmp_path, dtype):
    np.savez(tmp_path / "a.npz", z=np.zeros((3, 2), dtype))
    refused(tmp_path / "a.npz", match="array 'z' has dtype .*; latents are numbers")
    np.savez(tmp_path / "a.npz", z=np.zeros(3, [("x", "f4"), ("y", "f4")]))
    refused(tmp_path / "a.npz", match="save plain arrays")


def test_arrays_of_no_labels(tmp_path):
    for y, match in [
        (np.zeros((N, 1)), "ravel a column"),
        (np.zeros(N, "M8[s]"), "store labels as integers"),
        (np.array([b"a"] * N), "store labels as integers"),
    ]:
        np.savez(tmp_path / "a.npz", z=Z, y=y)
        refused(tmp_path / "a.npz", match=match)


# -- text ----------------------------------------------------------------------------------


def text_file(folder, *lines):
    path = folder / "a.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("row", [0, 7, 90_000])
def test_text_among_numbers(tmp_path, row):
    lines = [f"{i},{i}.5,a" for i in range(100_000)]
    lines[row] = f"{row},abc,a"
    path = text_file(tmp_path, "x,y,label", *lines)
    match = rf"column 'y' has 'abc' in row {row} \(line {row + 2}\), which is not of the type"
    refused(path, match=match)


@pytest.mark.parametrize("row", [0, 7, 90_000])
def test_gaps_among_numbers(tmp_path, row):
    lines = [f"{i},{i}.5,a" for i in range(100_000)]
    lines[row] = f"{row},,a"
    path = text_file(tmp_path, "x,y,label", *lines)
    refused(path, match=f"column 'y' has a missing entry in row {row}")


def test_labels_in_quotes_are_labels(tmp_path):
    names = ["NA", "null", "nan", "cat", "N/A", "NaN"]
    path = text_file(tmp_path, "x,label", *[f'{i}.5,"{name}"' for i, name in enumerate(names)])
    z, y = joined(open_latents(path))
    assert z[:, 0].tolist() == [i + 0.5 for i in range(len(names))]
    assert y.tolist() == names
    path = text_file(tmp_path, "x,label", '0.5,"1"', '0.5,"2"')  # all of a file may be in quotes
    assert joined(open_latents(path))[1].tolist() == [1, 2]
    path = text_file(tmp_path, "x,label", *["0.5,1"] * 300_000, '0.5,"NA"')
    refused(path, match=r"column 'label' has 'NA' in row 300000 \(line 300002\)")
    path = text_file(tmp_path, "x,label", '"0.5",1', '"NA",2', '"1.5",3')
    refused(path, match="column 'x' has a missing entry in row 1")


def test_quotes_do_not_make_text_of_a_column_of_gaps(tmp_path):
    """They would leave it out, as columns of text are that are not labels."""
    for gap in ('"NA"', '""'):
        for rows in ([f"1,{gap},a", "3,4,b"], [f"1,{gap},a", f"3,{gap},b"]):
            path = text_file(tmp_path, "x,y,label", *rows)
            refused(path, match="column 'y' has a missing entry in row 0")


def test_nan_in_quotes_is_text_among_labels(tmp_path):
    path = text_file(tmp_path, "x,label", "0.5,1.0", '0.5,"nan"', "0.5,2.5")
    assert joined(open_latents(path))[1].tolist() == ["1.0", "nan", "2.5"]
    path = text_file(tmp_path, "x,label", *["0.5,1.5"] * 300_000, '0.5,"nan"')
    refused(path, match=r"column 'label' has 'nan' in row 300000 \(line 300002\)")


def test_what_is_missing_is_what_pyarrow_takes_for_it():
    assert set(pc.ConvertOptions().null_values) == MISSING


def test_gaps_among_labels(tmp_path):
    for gap in ("", "NA", "nan", '""'):
        path = text_file(tmp_path, "x,label", "0.5,cat", f"0.5,{gap}", "0.5,dog")
        refused(path, match="column 'label' has a missing entry in row 1")


def test_text_among_labels(tmp_path):
    path = text_file(tmp_path, "x,label", *["0.5,1"] * 300_000, "0.5,cat")
    refused(path, match=r"column 'label' has 'cat' in row 300000 \(line 300002\)")


def test_text_without_names(tmp_path):
    refused(text_file(tmp_path, "0.1,0.2", "0.3,0.4"), match="has numbers in its first line")
    refused(text_file(tmp_path, "x,x,label", "1,2,3"), match="names two columns 'x'")
    refused(text_file(tmp_path, "x, label", "1,2"), match="names a column ' label' in its first")


def test_text_as_it_comes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfx,file,label\r\n1,"two\r\nlines, one",a\r\n\r\n2,b,c\r\n')
    z, y = joined(open_latents(path))
    assert z.tolist() == [[1.0], [2.0]]
    assert y.tolist() == ["a", "c"]
    for encoding in ("utf-16", "latin-1"):
        path.write_bytes("x,label\n1,é\n".encode(encoding))
        refused(path, match="write it again in UTF-8|column 'label'|UTF8")


def test_text_of_uneven_lines(tmp_path):
    path = text_file(tmp_path, "x,y,label", "1,2,3", "1,2", "1,2,3")
    refused(path, match="Expected 3 columns, got 2")
    (tmp_path / "a.csv").write_text("")
    refused(tmp_path / "a.csv", match="is empty")


def test_lists_of_text(tmp_path):
    for entry, match in [
        ("[0.1 ... 0.2]", r"column 'embedding' has '\[0.1 ... 0.2\]' in row 2 \(line 4\)"),
        ("[0.1, 0.2, 0.3]", "has 3 numbers in row 2, and 2 in the rows before"),
        ("", "missing entry in row 2|has '' in row 2"),
    ]:
        rows = ["[0.1, 0.2]", "[0.1, 0.2]", entry, "[0.1, 0.2]"]
        refused(write_text(tmp_path / "a.csv", {"embedding": rows}), match=match)


# -- what is missing on this machine -------------------------------------------------------


@pytest.mark.parametrize(
    ("save", "package", "extra"),
    [
        (save_parquet, "pyarrow", "cli"),
        (save_csv, "pyarrow", "cli"),
        (save_safetensors, "safetensors", "cli"),
        (save_zarr, "zarr", "cli"),
        (save_torch, "torch", "torch"),
    ],
)
def test_packages_that_are_not_installed(tmp_path, monkeypatch, save, package, extra):
    (path,) = save(tmp_path, Z, Y)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'needs {package}: pip install "fpigauss\[{extra}\]"'):
        open_latents(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
def test_files_that_may_not_be_read(tmp_path):
    (path,) = save_npz(tmp_path, Z, Y)
    path.chmod(0)
    refused(path, match="Permission denied")


@pytest.mark.parametrize("version", [2, 3])
def test_other_files_in_a_zarr_group_are_nobodys_business(tmp_path, version):
    z, y = np.ones((4, 2)), np.arange(4)
    (path,) = save_zarr(tmp_path, z, y, version)
    (path / "notes.txt").write_text("of mine")
    (path / "pictures").mkdir()
    latents = open_latents(path)  # warnings are errors
    assert latents.n_rows == 4
    shutil.rmtree(path / "z")
    with pytest.raises(InvalidInputError, match="has no array 'z'; it contains 'y'"):
        open_latents(path)


@pytest.mark.parametrize("said", ["{", "[]", '{"zarr_format": 2}', '{"zarr_format": 3}'])
@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_array_that_does_not_say_what_it_is(tmp_path, version, said):
    (path,) = save_zarr(tmp_path, np.ones((4, 2)), np.arange(4), version)
    metadata = path / "z" / (".zarray" if version == 2 else "zarr.json")
    metadata.write_text(said)
    with pytest.raises(InvalidInputError, match=r"a\.zarr' (cannot be read|has no array 'z')"):
        open_latents(path)
