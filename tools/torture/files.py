"""Change files a little, and see whether a reader takes too much or raises what is not ours.

Files of every format are changed: flipped bytes, cut ends, huge declared shapes, archives with
right checksums and wrong contents. A reader may refuse a file by ``InvalidInputError``, or return
numbers in the shapes that it announced; anything else is a fault, and so are a crash, a hang and a
``MemoryError``. ``python -m tools.torture.files NUMBER FOLDER`` writes the files of a trial.
"""

import argparse
import functools
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.torture._inputs import FORMATS, Files, mutated, write_seeds
from tools.torture._runner import Machine

__all__ = ["MACHINE", "files_of", "main", "read", "write"]

#: Bytes that a reader may take, and by how much a child may grow beyond them.
_LIMIT, _SLACK = 2**24, 2**29
#: Batches of latents that are read; a store that announces more rows may say the truth.
_LOOK = 100
#: Trials in a row, in one child, that are of one format: libraries keep their threads and pools.
_IN_A_ROW = 100


def read(path: Path) -> str:
    """Read a file, and say "read" or "refused"; anything else is raised."""
    from fpigauss import ClassGaussians, ClassStatistics, InvalidInputError, open_latents

    try:
        if path.stem == "gaussians":
            loaded = ClassGaussians.load(path)
            loaded.class_log_prob(loaded.means)
        elif path.stem == "statistics":
            ClassStatistics.load(path)
        else:
            _check_latents(open_latents(path, memory_limit=_LIMIT))
    except InvalidInputError:
        return "refused"
    return "read"


def _check_latents(latents: Any) -> None:
    n_rows = 0
    for i, (z, y) in enumerate(latents):
        assert z.ndim == 2, f"z has shape {z.shape}"
        assert z.shape[1] == latents.dim, f"z has shape {z.shape}, and dim is {latents.dim}"
        assert z.dtype.kind in "fiub", f"z is {z.dtype}"
        assert (y is not None) == latents.has_labels
        assert y is None or y.shape == z.shape[:1], f"y has shape {y.shape}, z {z.shape}"
        n_rows += len(z)
        if i == _LOOK:
            return
    assert latents.n_rows in {None, n_rows}, f"{n_rows} rows instead of {latents.n_rows}"


def files_of(path: Path) -> Files:
    """Return the contents of a file, or of all files of a folder, by their relative names."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    found = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in found}


_kept_files_of = functools.cache(files_of)


def write(files: Files, folder: Path) -> None:
    """Write files by their relative names."""
    for name, contents in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)


def input_of(files: Files, number: int) -> Files:
    """Make the files of a trial again."""
    return mutated(files, random.Random(number))


def _form(number: int) -> str:
    return FORMATS[number // _IN_A_ROW % len(FORMATS)]


def first_of(form: str) -> int:
    """Return the first trial of a format."""
    return _IN_A_ROW * FORMATS.index(form)


def trial(number: int, folder: Path) -> Iterator[str]:
    """Change a file of one format, and read it."""
    form = _form(number)
    files = _kept_files_of(folder / form)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        write(input_of(files, number), Path(place))
        path = Path(place, form)
        yield f"{read(path) if path.exists() else 'refused'} {form}"


MACHINE = Machine(
    what="a changed file of one of 18 formats is read",
    trial=trial,
    quick=_IN_A_ROW * len(FORMATS),
    full=1_000_800,
    imports=(
        "pyarrow.csv",
        "pyarrow.parquet",
        "safetensors.numpy",
        "torch",
        "zarr",
        "fpigauss",
    ),
    prepare=write_seeds,
    batch=_IN_A_ROW,
    seconds=0.02,
    start_up=10.0,
    memory=_LIMIT + _SLACK,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files of a trial."""
    parser = argparse.ArgumentParser(prog="tools.torture.files", description=__doc__)
    parser.add_argument("number", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as seeds:
        write_seeds(Path(seeds))
        files = files_of(Path(seeds, _form(options.number)))
    write(input_of(files, options.number), options.folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
