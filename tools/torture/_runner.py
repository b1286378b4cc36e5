"""The one way in which every machine runs: trials by number, in bounded children, and a summary."""

import importlib
import json
import mmap
import os
import platform
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.torture._children import in_child

__all__ = ["CACHE", "Fault", "Machine", "Summary", "described_machine", "run", "text_of"]

#: Where summaries and logs are kept.
CACHE = Path(".torture")
#: Trials with one seed; the numbers of another begin after them.
_TRIALS = 10**8
_LOG_BYTES = 4000
_ROOT = Path(__file__).parents[2]


class Fault(AssertionError):  # noqa: N818 - the machine has no error, but has found a fault
    """What a machine found, where nothing was raised that would say it."""


@dataclass(frozen=True)
class Machine:
    """A machine: its trials, which are told apart by a number, and their bounds."""

    #: What one trial is, for the report.
    what: str
    #: Run the trial of a number, with a folder that all trials share; return what it tried.
    trial: Callable[[int, Path], Iterable[str]]
    #: Trials of a quick and of a full run.
    quick: int
    full: int
    #: Modules that are imported once, before the children; none of them may start a thread.
    imports: tuple[str, ...] = ("fpigauss",)
    #: Fill the folder, in a child.
    prepare: Callable[[Path], None] | None = None
    #: Trials per child.
    batch: int = 20
    #: Seconds of processor for one trial of a batch, and for the batch in addition.
    seconds: float = 5.0
    start_up: float = 60.0
    #: Bytes that a child may map beyond what is mapped before.
    memory: int = 2**33


@dataclass
class Summary:
    """What became of the trials of a machine."""

    machine: str
    what: str
    seed: int
    first: int
    trials: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    #: The first trial of each kind of fault.
    faults: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    on: str = ""

    def save(self, folder: Path) -> None:
        """Write a file of JSON."""
        folder.mkdir(exist_ok=True, parents=True)
        path = folder / f"{self.machine}.json"
        path.write_text(json.dumps(vars(self), indent=1, sort_keys=True), "utf-8")

    @classmethod
    def load(cls, path: Path) -> "Summary":
        """Read what ``save`` wrote."""
        values = json.loads(path.read_text("utf-8"))
        return cls(**(values | {"outcomes": Counter(values["outcomes"])}))


def text_of(error: BaseException) -> str:
    """Return an error in one line: its type, where it was raised, its message and its notes."""
    frames = traceback.extract_tb(error.__traceback__)
    paths = [(Path(f.filename), f.lineno) for f in frames if "site-packages" not in f.filename]
    ours = [f"{path.name}:{line}" for path, line in paths if path.is_relative_to(_ROOT)]
    text = " ".join(str(error).split())[:240]
    notes = " ".join(" ".join(getattr(error, "__notes__", ())).split())[:600]
    return f"{type(error).__name__} at {' '.join(ours[-2:])}: {text} {notes}".strip()


class _Batch:
    """Trials of one child; it says where it is, and what it found, in files and shared memory."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder
        self.shared = mmap.mmap(-1, 8)
        self.notes = folder / "notes.jsonl"

    def run(self, first: int, stop: int) -> int:
        """Run trials in this process, which is a child's."""
        with self.notes.open("w", encoding="utf-8") as notes:
            for number in range(first, stop):
                self.shared[:8] = struct.pack("<q", number)
                note: dict[str, Any] = {"number": number}
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        note["outcomes"] = Counter(self.machine.trial(number, self.folder))
                except BaseException as error:  # noqa: BLE001 - whatever it is, it is a fault
                    note["fault"] = text_of(error)
                print(json.dumps(note), file=notes, flush=True)
        return 0

    def collect(self, summary: Summary) -> int:
        """Add what a child noted, and return the trial that it was in last."""
        for line in self.notes.read_text("utf-8").splitlines():
            try:
                note = json.loads(line)
            except ValueError:  # the child was ended while it wrote
                break
            summary.trials += 1
            summary.outcomes.update(note.get("outcomes", {}))
            if "fault" in note:
                _add_fault(summary, note["fault"], note["number"])
        (last,) = struct.unpack("<q", self.shared[:8])
        return int(last)


def _add_fault(summary: Summary, what: str, number: int) -> None:
    summary.outcomes["fault"] += 1
    kind = what.partition(": ")[0]
    if summary.faults.setdefault(kind, number % _TRIALS) == number % _TRIALS:
        print(f"  {summary.machine}, trial {number % _TRIALS}: {what}", flush=True)


def _mapped() -> int:
    """Return the bytes that this process has mapped."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * mmap.PAGESIZE


def described_machine() -> str:
    """Return the machine and the versions that a run is of."""
    versions = []
    for name in ("numpy", "scipy", "torch"):
        module = sys.modules.get(name)
        versions += [f"{name} {module.__version__}"] if module is not None else []
    python = f"Python {platform.python_version()}"
    n_cores = len(os.sched_getaffinity(0))
    return ", ".join([f"{n_cores} cores {platform.machine()}", python, *versions])


def run(
    name: str, machine: Machine, *, seed: int = 0, first: int = 0, trials: int, seconds: float
) -> Summary:
    """Run trials until their number or the seconds on the clock are reached."""
    start = time.monotonic()
    summary = Summary(name, machine.what, seed, first)
    for module in machine.imports:
        importlib.import_module(module)
    number, end = seed * _TRIALS + first, seed * _TRIALS + first + trials
    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        folder = Path(place)
        log = folder / "log"
        if machine.prepare is not None:
            ended = in_child(
                lambda: machine.prepare(folder) or 0,  # type: ignore[misc]
                seconds=machine.start_up,
                memory=2**36,
                log=log,
            )
            if ended.status != 0:
                raise SystemExit(log.read_text("utf-8"))
        batch = _Batch(machine, folder)
        while number < end and time.monotonic() - start < seconds:
            stop = min(end, number + machine.batch)
            batch.notes.write_text("", "utf-8")
            ended = in_child(
                lambda number=number, stop=stop: batch.run(number, stop),  # type: ignore[misc]
                seconds=machine.start_up + machine.seconds * (stop - number),
                memory=_mapped() + machine.memory,
                log=log,
            )
            last = batch.collect(summary)
            number = stop
            if ended.status != 0:
                tail = " ".join(log.read_text("utf-8", "replace")[-_LOG_BYTES:].split()[-60:])
                _add_fault(summary, f"{ended.why} ({ended.status}): {tail}", last)
                summary.trials += 1
                number = last + 1
    summary.seconds = round(time.monotonic() - start, 1)
    summary.on = described_machine()
    return summary
