"""Statistics from files: rows a second and memory of every format that `open_latents` reads."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import MIB, Bar, Row, Table, in_new_process, paired, peak_resident
from fpigauss import ClassStatistics, open_latents

NOTE = """
Each file has float32 latents and integer labels of 100 classes, and goes through
`ClassStatistics.from_batches(open_latents(path))`. It is compared with reading alone: of parquet by
`ParquetFile.iter_batches` without conversion, with the settings that are fastest (by default it
buffers whole row groups, and takes several times as long here), of csv by `pyarrow.csv.open_csv`,
of a zarr array by slices of 8,192 rows, of a compressed npz by reading the member, of the others by
reading the bytes. The files are in the system's cache. The value is the rate of ours to that of
reading alone; that of parquet should be half of it or better.

Memory is the most that a process of its own held: Python, numpy, pyarrow and all they import (about
80 MiB; torch takes 170 more) are included. It may be 1 GiB, whatever the size of the file. One
parquet file has one row group, as pyarrow writes it: by default it is read into memory whole.
"""

_DIM, _CLASSES = 512, 100
_STEP = 10_000

Chunk = tuple[np.ndarray, np.ndarray]


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rows = []
    for name, n_rows in sizes(full):
        with tempfile.TemporaryDirectory() as folder:
            path = in_new_process(write, name, Path(folder), n_rows)
            case = f"{name}, N={n_rows:,}, d={_DIM}"
            seconds, alone, ratio = in_new_process(speed, name, path)
            rate = f"{n_rows / seconds:,.0f} rows/s"
            bar = Bar(0.5, at_least=True) if name.startswith("parquet") else None
            other = f"reading alone: {n_rows / alone:,.0f} rows/s"
            rows.append(Row(f"{case}: rate to that of reading", rate, other, ratio, bar=bar))
            peak = in_new_process(memory, path) / MIB
            size = f"the file: {size_of(path) / MIB:,.0f} MiB"
            rows.append(Row(f"{case}: memory", f"{peak:.0f} MiB", size, peak, " MiB", Bar(1024.0)))
    return Table("Statistics from files", __doc__ + NOTE, rows)


def sizes(full: bool) -> list[tuple[str, int]]:
    """List what is measured: text is shorter, since it is slower."""
    large, small = (1_000_000, 100_000) if full else (100_000, 10_000)
    others = ["npy", "npz", "npz, compressed", "safetensors", "zarr", "pt"]
    return [
        ("parquet, one row group", large),
        ("parquet, row groups of 50,000", large),
        *((name, 100_000) for name in others),
        ("csv", small),
    ]


def format_of(name: str) -> str:
    return name.partition(",")[0]


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


# -- in processes of their own -------------------------------------------------------------


def speed(name: str, path: Path) -> tuple[float, float, float]:
    """Return seconds of ours, of reading alone, and how many times faster ours is."""
    alone = ALONE[format_of(name)]
    times = paired(
        {"ours": lambda: statistics_of(path), "alone": lambda: alone(path)},
        rounds=5,
        seconds=30.0,
    )
    return times.median("ours"), times.median("alone"), times.ratio("alone", "ours")


def memory(path: Path) -> int:
    statistics_of(path)
    return peak_resident()


def statistics_of(path: Path) -> ClassStatistics:
    return ClassStatistics.from_batches(open_latents(path))


# -- files ---------------------------------------------------------------------------------


def write(name: str, folder: Path, n_rows: int) -> Path:
    """Write a file of ``n_rows``, from a generator that is the same for all formats."""
    return WRITERS[format_of(name)](folder, name, n_rows)


def chunks(n_rows: int) -> Iterator[Chunk]:
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, _STEP):
        n = min(_STEP, n_rows - start)
        yield rng.standard_normal((n, _DIM), dtype=np.float32), rng.integers(_CLASSES, size=n)


def whole(n_rows: int) -> Chunk:
    z, y = zip(*chunks(n_rows), strict=True)
    return np.concatenate(z), np.concatenate(y)


def write_parquet(folder: Path, name: str, n_rows: int) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [
        pa.table(
            {
                "embedding": pa.FixedSizeListArray.from_arrays(z.ravel(), _DIM).cast(
                    pa.list_(pa.float32())
                ),
                "label": y,
            }
        )
        for z, y in chunks(n_rows)
    ]
    group = 50_000 if name.endswith("50,000") else 2**20
    pq.write_table(pa.concat_tables(tables), folder / "a.parquet", row_group_size=group)
    return folder / "a.parquet"


def write_npy(folder: Path, name: str, n_rows: int) -> Path:
    z, y = whole(n_rows)
    np.save(folder / "z.npy", z)
    np.save(folder / "y.npy", y)
    return folder


def write_npz(folder: Path, name: str, n_rows: int) -> Path:
    z, y = whole(n_rows)
    save = np.savez_compressed if name.endswith("compressed") else np.savez
    save(folder / "a.npz", z=z, y=y)
    return folder / "a.npz"


def write_safetensors(folder: Path, name: str, n_rows: int) -> Path:
    from safetensors.numpy import save_file

    z, y = whole(n_rows)
    save_file({"z": z, "y": y}, folder / "a.safetensors")
    return folder / "a.safetensors"


def write_zarr(folder: Path, name: str, n_rows: int) -> Path:
    import zarr

    z, y = whole(n_rows)
    group = zarr.open_group(folder / "a.zarr", mode="w")
    group.create_array("z", shape=z.shape, chunks=(4096, _DIM), dtype=z.dtype)[:] = z
    group.create_array("y", data=y)
    return folder / "a.zarr"


def write_pt(folder: Path, name: str, n_rows: int) -> Path:
    import torch

    z, y = whole(n_rows)
    torch.save({"z": torch.from_numpy(z), "y": torch.from_numpy(y)}, folder / "a.pt")
    return folder / "a.pt"


def write_csv(folder: Path, name: str, n_rows: int) -> Path:
    import pyarrow as pa
    import pyarrow.csv as pc

    z, y = whole(n_rows)
    columns = {f"x{i}": z[:, i] for i in range(_DIM)}
    pc.write_csv(pa.table(columns | {"label": y}), folder / "a.csv")
    return folder / "a.csv"


WRITERS: dict[str, Callable[[Path, str, int], Path]] = {
    "parquet": write_parquet,
    "npy": write_npy,
    "npz": write_npz,
    "safetensors": write_safetensors,
    "zarr": write_zarr,
    "pt": write_pt,
    "csv": write_csv,
}


# -- reading alone -------------------------------------------------------------------------


def read_parquet(path: Path) -> None:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False)
    for _ in file.iter_batches(batch_size=8192, use_threads=False):
        pass


def read_bytes(path: Path) -> None:
    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open("rb") as stream:
            exhaust(stream)


def read_members(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as stream:
                exhaust(stream)


def exhaust(stream: Any) -> None:
    while stream.read(2**24):
        pass


def read_zarr(path: Path) -> None:
    import zarr

    array = zarr.open(path, mode="r")["z"]
    for start in range(0, array.shape[0], 8192):
        array[start : start + 8192]


def read_csv(path: Path) -> None:
    import pyarrow.csv as pc

    for _ in pc.open_csv(path):
        pass


ALONE: dict[str, Callable[[Path], None]] = {
    "parquet": read_parquet,
    "npy": read_bytes,
    "npz": read_members,
    "safetensors": read_bytes,
    "zarr": read_zarr,
    "pt": read_bytes,
    "csv": read_csv,
}
