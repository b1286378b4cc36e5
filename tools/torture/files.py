"""Change files a little, and see whether a reader takes too much or raises what is not ours.

``python -m tools.torture.files --inputs 100000`` changes files of every format: flipped bytes, cut
ends, huge declared shapes, archives with right checksums and wrong contents. Children read them,
with bounds on memory and time. A reader may refuse a file by ``InvalidInputError``, or return
numbers in the shapes that it announced; anything else is a fault, and so are a crash, a hang and a
``MemoryError``. Faults are printed once each, with the seed that makes them again.
"""

import argparse
import mmap
import random
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.torture._children import in_child
from tools.torture._inputs import FORMATS, Files, mutated, write_seeds

__all__ = ["main", "read"]

#: Bytes that a reader may take, and by how much a child may grow beyond them.
_LIMIT, _SLACK = 2**24, 2**29
#: Seconds of processor for one input, of which none takes a tenth of one.
_SECONDS = 10.0
#: Inputs that one child reads.
_BATCH = 250
#: Batches of latents that are read; a store that announces more rows may say the truth.
_LOOK = 100


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


# -- children ----------------------------------------------------------------------------------


@dataclass
class Found:
    """What became of the inputs of one format."""

    outcomes: Counter[str] = field(default_factory=Counter)
    #: The first input of each kind of fault.
    faults: dict[str, int] = field(default_factory=dict)

    def add_fault(self, what: str, i: int) -> None:
        """Count a fault."""
        self.outcomes["fault"] += 1
        self.faults.setdefault(what, i)


def _files_of(path: Path) -> Files:
    """Return the contents of a file, or of all files of a folder, by their relative names."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    found = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in found}


def _write(files: Files, folder: Path) -> None:
    for name, contents in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)


def input_of(files: Files, form: str, seed: int, i: int) -> Files:
    """Make an input again."""
    return mutated(files, random.Random(f"{seed} {form} {i}"))


def _mapped() -> int:
    """Return the bytes that this process has mapped."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * mmap.PAGESIZE


class _Batch:
    """Inputs that one child reads; it says where it is, and what it found, in shared memory."""

    def __init__(self, files: Files, form: str, seed: int, folder: Path) -> None:
        self.files, self.form, self.seed, self.folder = files, form, seed, folder
        self.shared = mmap.mmap(-1, 24)
        self.notes = folder / "notes"

    def run(self, first: int, stop: int) -> int:
        """Read inputs in this process, which is a child's."""
        warnings.simplefilter("ignore")
        with self.notes.open("w", encoding="utf-8") as notes:
            for i in range(first, stop):
                self.shared[:8] = struct.pack("<q", i)
                with tempfile.TemporaryDirectory(dir=self.folder) as place:
                    _write(input_of(self.files, self.form, self.seed, i), Path(place))
                    said = _said(Path(place, self.form))
                print(i, said, file=notes, flush=True)
        return 0

    def collect(self, found: Found) -> int:
        """Count what a child noted, and return the input that it was reading last."""
        for line in self.notes.read_text("utf-8").splitlines():
            i, _, said = line.partition(" ")
            if said in {"read", "refused"}:
                found.outcomes[said] += 1
            else:
                found.add_fault(said, int(i))
        (last,) = struct.unpack("<q", self.shared[:8])
        return int(last)


def _said(path: Path) -> str:
    """Return what reading a file comes to, in one line."""
    try:
        return read(path) if path.exists() else "refused"
    except BaseException as error:  # noqa: BLE001 - all that is not ours is a fault
        frames = traceback.extract_tb(sys.exc_info()[2])
        ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "fpigauss" in f.filename]
        text = " ".join(str(error).split())[:120]
        return f"{type(error).__name__} at {' '.join(ours[-2:])}: {text}"


def _tortured(form: str, files: Files, folder: Path, options: argparse.Namespace) -> Found:
    found = Found()
    i, end = options.first, options.first + options.inputs
    until = time.monotonic() + options.seconds
    while i < end and time.monotonic() < until:
        batch = _Batch(files, form, options.seed, folder)
        first, stop = i, min(end, i + _BATCH)
        ended = in_child(
            lambda batch=batch, first=first, stop=stop: batch.run(first, stop),  # type: ignore[misc]
            seconds=_SECONDS + 0.02 * _BATCH,
            memory=_mapped() + _LIMIT + _SLACK,
            log=folder / "log",
        )
        last = batch.collect(found)
        if ended.status == 0:
            i = stop
        else:
            found.add_fault(f"{ended.why} ({ended.status})", last)
            i = last + 1
    return found


# -- the command -------------------------------------------------------------------------------


def _ready() -> None:
    """Import what readers need, once; nothing that starts a thread is called before the forks."""
    for name in ("pyarrow.csv", "pyarrow.parquet", "safetensors.numpy", "torch", "zarr"):
        __import__(name)
    import fpigauss  # noqa: F401


def main(arguments: Sequence[str] | None = None) -> int:
    """Change files, read them, and print faults."""
    parser = argparse.ArgumentParser(prog="tools.torture.files", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="inputs of each format")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600.0, help="at most, for each format")
    parser.add_argument("--format", choices=FORMATS, help="this format only")
    parser.add_argument("--keep", type=Path, help="write the input --first there, and end")
    options = parser.parse_args(arguments)
    _ready()
    n_faults = n_inputs = 0
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder, "seeds")
        seeds.mkdir()
        log = Path(folder, "log")
        made = in_child(lambda: write_seeds(seeds) or 0, seconds=60, memory=2**34, log=log)  # type: ignore[func-returns-value]
        if made.status != 0:
            raise SystemExit(log.read_text("utf-8"))
        for form in [options.format] if options.format else FORMATS:
            files = _files_of(seeds / form)
            if options.keep is not None:
                _write(input_of(files, form, options.seed, options.first), options.keep)
                continue
            found = _tortured(form, files, Path(folder), options)
            counts = ", ".join(f"{what} {n}" for what, n in sorted(found.outcomes.items()))
            print(f"{form}: {counts}", flush=True)
            for what, i in found.faults.items():
                print(f"  input {i}: {what}", flush=True)
            n_faults += len(found.faults)
            n_inputs += found.outcomes.total()
    print(f"{n_inputs} inputs, seed {options.seed}: {n_faults} kinds of fault")
    return int(n_faults > 0)


if __name__ == "__main__":
    raise SystemExit(main())
