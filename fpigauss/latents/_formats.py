"""Which reader reads what: by the ending of a file's name, or by what a folder contains."""

from collections.abc import Callable
from pathlib import Path

from fpigauss.errors import InvalidInputError
from fpigauss.latents._arrays import Arrays, column_of_arrays, source_of_arrays
from fpigauss.latents._csv import csv_table
from fpigauss.latents._faults import listed_names
from fpigauss.latents._folder import PartsColumn, PartsSource, by_name, in_one_order
from fpigauss.latents._npy import npy_arrays
from fpigauss.latents._npz import npz_arrays
from fpigauss.latents._parquet import parquet_table
from fpigauss.latents._safetensors import safetensors_arrays
from fpigauss.latents._source import Column, Paired, Source, Wanted
from fpigauss.latents._tables import Table, column_of_table, source_of_table
from fpigauss.latents._torch import torch_arrays
from fpigauss.latents._zarr import is_zarr, zarr_arrays

__all__ = ["ENDINGS", "column_of", "source_of"]

_ARRAYS: dict[str, Callable[[Path], Arrays]] = {
    ".npz": npz_arrays,
    ".safetensors": safetensors_arrays,
    ".pt": torch_arrays,
    ".pth": torch_arrays,
}
_TABLES: dict[str, Callable[[Path], Table]] = {
    ".parquet": parquet_table,
    ".csv": csv_table,
    ".csv.gz": csv_table,
    ".tsv": csv_table,
    ".tsv.gz": csv_table,
}
#: The endings of the names of files that are read.
ENDINGS = (".npy", *_ARRAYS, *_TABLES)


def source_of(path: Path, z: Wanted, y: str | None, *, alone: bool = False) -> Source:
    """Open latents and the labels beside them; ``alone`` if labels are not looked for."""
    if path.is_dir() and not is_zarr(path):
        return _source_of_folder(path, z, y, alone=alone)
    arrays = _arrays_of(path)
    if arrays is not None:
        return source_of_arrays(path, arrays, z, y, alone=alone)
    return source_of_table(_TABLES[_ending_of(path)](path), z, y, alone=alone)


def column_of(path: Path, y: str | None) -> Column:
    """Open labels."""
    if path.is_dir() and not is_zarr(path):
        parts = _parts_of(path)
        return PartsColumn(path, tuple(column_of(part, y) for part in parts))
    arrays = _arrays_of(path)
    if arrays is not None:
        return column_of_arrays(path, arrays, y)
    return column_of_table(_TABLES[_ending_of(path)](path), y)


def _arrays_of(path: Path) -> Arrays | None:
    """Open a file or a store of named arrays; None if it is a table."""
    if path.is_dir():
        return zarr_arrays(path)
    ending = _ending_of(path)
    if not ending:
        raise InvalidInputError(
            f"{str(path)!r} is not of a format that is read: by the ending of their names, "
            f"{', '.join(ENDINGS)} are, and zarr stores; convert it to one of these"
        )
    if ending == ".npy":
        return npy_arrays(path)
    return _ARRAYS[ending](path) if ending in _ARRAYS else None


def _ending_of(path: Path) -> str:
    """Return the ending by which a file is read, empty if there is none."""
    name = path.name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def _source_of_folder(path: Path, z: Wanted, y: str | None, *, alone: bool) -> Source:
    pair = [path / f"{name}.npy" for name in (z or "z", y or "y")]
    if (z is None or isinstance(z, str)) and pair[0].is_file():
        latents = source_of(pair[0], None, None, alone=True)
        if alone or not pair[1].is_file():
            return latents
        return Paired(latents, column_of(pair[1], None))
    found = (source_of(part, z, y, alone=alone) for part in _parts_of(path))
    parts = tuple(part for part in found if part.n_rows != 0)  # writers leave empty parts
    if not parts:
        raise InvalidInputError(f"{str(path)!r}: all parts have 0 rows; pass a folder with data")
    return PartsSource(path, in_one_order(path, parts))


def _parts_of(path: Path) -> list[Path]:
    """Return the parts in a folder, in order; all are of one format."""
    entries = [e for e in path.iterdir() if e.name[0] not in "._"]
    parts = sorted((e for e in entries if e.is_file() and _ending_of(e)), key=by_name)
    if not parts:
        there = listed_names(sorted(e.name for e in entries))
        raise InvalidInputError(
            f"{str(path)!r} contains no file that is read, but {there or 'nothing'}; pass a folder "
            f"of files that end in one of {', '.join(ENDINGS)}"
        )
    for folder in filter(Path.is_dir, entries):
        if is_zarr(folder) or any(_ending_of(e) for e in folder.iterdir() if e.is_file()):
            raise InvalidInputError(
                f"{str(path)!r} contains files, and more of them in the folder {folder.name!r}, "
                "which is not searched; put all parts in one folder"
            )
    endings = sorted({_ending_of(part) for part in parts})
    if len(endings) > 1:
        raise InvalidInputError(
            f"{str(path)!r} contains files of several formats, {', '.join(endings)}; pass a folder "
            "of one, and labels that lie elsewhere as labels="
        )
    return parts
