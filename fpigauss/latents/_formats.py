"""Which reader reads what: by the ending of a file's name, or what a folder contains."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fpigauss.errors import InvalidInputError
from fpigauss.latents._arrays import Arrays, column_of_arrays, source_of_arrays
from fpigauss.latents._npy import npy_array
from fpigauss.latents._npz import npz_arrays
from fpigauss.latents._parquet import parquet_table
from fpigauss.latents._source import Column, Source
from fpigauss.latents._tables import Table, column_of_table, source_of_table

__all__ = ["ENDINGS", "column_of", "ending_of", "source_of"]


def _npy_arrays(name: str, path: Path) -> Arrays:
    """Return the array of an npy file under the name that is asked for."""
    return Arrays((name,), lambda _: npy_array(path))


_ARRAYS: dict[str, Callable[[Path], Arrays]] = {
    ".npz": npz_arrays,
}
_TABLES: dict[str, Callable[[Path], Table]] = {
    ".parquet": parquet_table,
    ".pq": parquet_table,
}
#: The endings of files that are read.
ENDINGS = (".npy", *_ARRAYS, *_TABLES)


def ending_of(path: Path) -> str:
    """Return the ending by which a file is read, empty if there is none."""
    name = path.name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def source_of(path: Path, z: str | None, y: str | None, *, labels: bool) -> Source:
    """Open the latents of a file, and its labels unless ``labels`` says these lie elsewhere."""
    ending = _checked_ending(path)
    source: Source
    if ending == ".npy":
        source = source_of_arrays(path, _npy_arrays("z", path), None, None)
    elif ending in _ARRAYS:
        source = source_of_arrays(path, _ARRAYS[ending](path), z, y)
    else:
        source = source_of_table(_TABLES[ending](path), z, y)
    return source


def column_of(path: Path, y: str | None) -> Column:
    """Open the labels of a file."""
    ending = _checked_ending(path)
    if ending == ".npy":
        return column_of_arrays(path, _npy_arrays("y", path), None)
    if ending in _ARRAYS:
        return column_of_arrays(path, _ARRAYS[ending](path), y)
    return column_of_table(_TABLES[ending](path), y)


def _checked_ending(path: Path) -> str:
    ending = ending_of(path)
    if not ending:
        raise InvalidInputError(
            f"{str(path)!r} is of no format that is read; the name of a file ends in one of "
            f"{', '.join(ENDINGS)}"
        )
    return ending
