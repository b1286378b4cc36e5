"""Save where saving fails or is cut off, and see that nothing is lost.

A process is killed at any moment of a save, the disk is full, the folder is read-only, the path is
a link, or several processes write one file at once. Afterwards the file has to be one that was
saved whole, old or new, and the next save has to leave no other file behind.
"""

import os
import random
import resource
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tools.torture._runner import Fault, Machine

__all__ = ["MACHINE"]

_WRITERS = 8


def _saved(value: float, size: int) -> Any:
    """Return what is saved: Gaussians or statistics, all of whose numbers are one."""
    from fpigauss import ClassGaussians, ClassStatistics

    means = np.full((2, size), value)
    if size % 2:
        return ClassGaussians(means, np.full((2, size), abs(value) + 1.0))
    return ClassStatistics([1, 2], means, np.full((2, size), abs(value) + 1.0), np.arange(2))


def _check(path: Path, size: int, allowed: set[float]) -> float:
    """Load a file, and return the number it consists of."""
    means = type(_saved(0.0, size)).load(path).means
    found = set(means.ravel().tolist())
    if means.shape != (2, size) or len(found) != 1 or not found <= allowed:
        raise Fault(f"{path.name} has {means.shape} of {sorted(found)[:3]}, not of {allowed}")
    return float(found.pop())


def _child(task: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setpgid(0, os.getpgid(os.getppid()))
            task()
            status = 0
        except OSError:
            status = 2
        finally:
            os._exit(status)
    return pid


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _killed(path: Path, size: int, draw: random.Random) -> str:
    """Kill a process that saves again and again."""

    def save_for_ever() -> None:
        value = 1.0
        while True:
            _saved(value, size).save(path)
            value = 3.0 - value

    pid = _child(save_for_ever)
    time.sleep(draw.uniform(0.0, 0.03))
    os.kill(pid, signal.SIGKILL)
    _ended(pid)
    _check(path, size, {0.0, 1.0, 2.0})
    return "kill -9"


def _full(path: Path, size: int, draw: random.Random) -> str:
    """Save to a disk that is full, as far as a bound on the sizes of files says so."""

    def save() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        n_bytes = draw.randrange(1, 2 * 8 * 2 * size)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
        _saved(1.0, size).save(path)

    status = _ended(_child(save))
    if status != 2:
        raise Fault(f"a full disk gives the exit status {status}, not an OSError")
    _check(path, size, {0.0})
    return "full disk"


def _read_only(path: Path, size: int, draw: random.Random) -> str:
    """Save to a folder or over a file that is read-only; the folder stays as it is."""
    if draw.random() < 0.5:
        path.chmod(0o444)
        _saved(1.0, size).save(path)
        if stat.S_IMODE(path.stat().st_mode) != 0o444:
            raise Fault(f"the mode has become {path.stat().st_mode:o}")
        _check(path, size, {1.0})
        return "read-only file"

    def save() -> None:
        os.setuid(65534)
        _saved(1.0, size).save(path)

    path.parent.chmod(0o555)
    status = _ended(_child(save))
    path.parent.chmod(0o755)
    if status != 2:
        raise Fault(f"a read-only folder gives the exit status {status}, not an OSError")
    _check(path, size, {0.0})
    return "read-only folder"


def _link(path: Path, size: int, draw: random.Random) -> str:
    """Save through links, some of which hang or lead in a circle."""
    kind = draw.choice(("link", "chain", "hanging", "circle"))
    link, second = path.with_name("link" + path.suffix), path.with_name("second" + path.suffix)
    target = path if kind in {"link", "chain"} else path.with_name("new" + path.suffix)
    if kind == "circle":
        link.symlink_to(second)
        second.symlink_to(link)
        try:
            _saved(1.0, size).save(link)
        except OSError:
            return "link in a circle"
        raise Fault("a circle of links was written to")
    second.symlink_to(target.name)
    link.symlink_to(second if kind == "chain" else target)
    _saved(1.0, size).save(link)
    if not link.is_symlink() or not second.is_symlink():
        raise Fault("a link was replaced")
    _check(target, size, {1.0})
    return f"{kind} link"


def _at_once(path: Path, size: int, draw: random.Random) -> str:
    """Have several processes write one file, some of which are killed."""
    pids = [
        _child(lambda i=i: [_saved(float(i), size).save(path) for _ in range(5)])  # type: ignore[misc]
        for i in range(_WRITERS)
    ]
    for pid in draw.sample(pids, draw.choice((0, 0, 2))):
        time.sleep(draw.uniform(0.0, 0.01))
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        _check(path, size, {float(i) for i in range(_WRITERS)})
    statuses = {_ended(pid) for pid in pids}
    if not statuses <= {0, -signal.SIGKILL}:
        raise Fault(f"writers ended with {statuses}")
    return f"{_WRITERS} writers at once"


_WAYS = (_killed, _killed, _full, _read_only, _link, _at_once)


def trial(number: int, folder: Path) -> Iterator[str]:
    """Save in one of the ways in which it may fail."""
    draw = random.Random(number)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        Path(place).chmod(0o755)
        path = Path(place, "file" + draw.choice((".npz", ".safetensors", "")))
        size = draw.choice((1, 2, 100, 101, 20_000, 20_001))
        _saved(0.0, size).save(path)
        yield draw.choice(_WAYS)(path, size, draw)
        _saved(7.0, size).save(path)
        _check(path, size, {7.0})
        left = {p.name for p in Path(place).iterdir()} - {path.name}
        if any(name.startswith(".") for name in left):
            raise Fault(f"{left} are left")


def _let_in(folder: Path) -> None:
    """Let processes without rights into the folder."""
    folder.chmod(0o755)


MACHINE = Machine(
    what="a save is killed, or the disk is full, or several write at once",
    trial=trial,
    quick=60,
    full=3000,
    imports=("safetensors.numpy", "fpigauss"),
    prepare=_let_in,
    batch=50,
    seconds=2.0,
)
