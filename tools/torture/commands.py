"""Run commands on changed files, into closed pipes, and end them by signals.

A command ends with one of its exit codes and within its time. An error is one line, without a
traceback; a file that was to be written is whole or not there.
"""

import contextlib
import functools
import io
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tools.torture._inputs import FORMATS, mutated, write_seeds
from tools.torture._runner import Fault, Machine
from tools.torture.files import files_of, write

__all__ = ["MACHINE"]

_ENDED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds on the clock after which a command has to have followed a signal.
_PROMPT = 8.0
_LATENTS = (
    "info {}",
    "info {} --json",
    "fit {} --separation 5 --tied --out out.npz --memory-limit 16777216",
    "fit {} --lam 0.5 --covariance dense --out out.npz --max-iter 30",
    "statistics {} --out out.npz",
    "convert {} out.parquet",
    "convert {} out.csv",
    "convert {} out.npy",
    "predict good.npz {} --out out.csv",
    "predict good.npz {} --z z",
    "score good.npz {} --out out.csv",
    "path {} --tied --out out.csv",
)
#: Good files beside the changed one.
_BESIDE = ("good.npz", "other.npz", "new.npy")
_GAUSSIANS = (
    "info {}",
    "sample {} -n 5 --out out.csv",
    "predict {} new.npy",
    "score {} new.npy --json",
    "convert {} out.safetensors",
    "plot {} --out out.png",
)
_STATISTICS = (
    "info {}",
    "fit {} --lam 0 --out out.npz",
    "merge {} other.npz --out out.npz",
    "convert {} out.safetensors",
)


def _lines(form: str) -> tuple[str, ...]:
    names = {"gaussians": _GAUSSIANS, "statistics": _STATISTICS}
    return names.get(form.partition(".")[0], _LATENTS)


def _prepare(folder: Path) -> None:
    """Write good files of each format, and larger ones."""
    from fpigauss import ClassGaussians, ClassStatistics

    write_seeds(folder)
    rng = np.random.default_rng(0)
    y = np.arange(60_000) % 60
    np.savez(folder / "large.npz", z=rng.standard_normal((60_000, 16)) + y[:, None], y=y)
    np.save(folder / "new.npy", rng.standard_normal((5, 2)))
    means = np.arange(6.0).reshape(3, 2)
    classes = np.asarray(["ant", "bee", "cat"])
    full = np.broadcast_to(np.eye(2), (3, 2, 2))
    ClassStatistics([2, 3, 4], means, full, classes).save(folder / "other.npz")
    ClassGaussians(means, np.ones((3, 2)), classes=classes).save(folder / "good.npz")


_kept_files_of = functools.cache(files_of)


def _check_files(before: set[str], code: int) -> None:
    """See that no part of a file is left, and that what is there can be read."""
    from fpigauss import ClassGaussians

    after = {path.name for path in Path().iterdir()}
    new = after - before
    if any(name.startswith(".") for name in new):
        raise Fault(f"{new} are left")
    if code == 2 and new:
        raise Fault(f"{new} are written with an exit code of 2")
    if "out.npz" in new and (code < 0 or code >= 128):
        ClassGaussians.load("out.npz")


def _fuzzed(draw: random.Random, folder: Path) -> str:
    """Run a command on a changed file, in this process."""
    from fpigauss.cli import main

    form = draw.choice(FORMATS)
    files = _kept_files_of(folder / form)
    write(mutated(files, draw) if draw.random() < 0.9 else files, Path())
    for name in _BESIDE:
        write(_kept_files_of(folder / name), Path())
    line = draw.choice(_lines(form)).replace("{}", form)
    before = {path.name for path in Path().iterdir()}
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*line.split(), "--quiet"])
    said = err.getvalue()
    faulty = code not in {0, 1, 2} or "Traceback" in said
    faulty |= code == 2 and (len(said.splitlines()) != 1 or not said.startswith("fpigauss: "))
    if faulty:
        raise Fault(f"fpigauss {line}: exit code {code}, {said[-300:]}")
    _check_files(before, code)
    return f"{line.split()[0]} of {form}: {code}"


def _started(line: str, stdout: int, stderr: int) -> int:
    """Run a command in a fork."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        import sys

        from fpigauss.cli import main

        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.closerange(3, 64)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8")
        for number in _ENDED_BY:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main(line.split())
        sys.stdout.flush()
    except KeyboardInterrupt:  # before the command was there to say so
        code = 130
    except BrokenPipeError:
        code = 71
    finally:
        os._exit(code)


def _code(pid: int, until: float) -> int:
    """Wait for a process, and return how it ended."""
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise Fault("the command goes on")
        time.sleep(0.01)


def _piped(draw: random.Random, folder: Path) -> str:
    """Close the pipe that a command writes to, after some bytes."""
    line = draw.choice(
        (
            f"predict {folder}/good.npz {folder}/large.npz --z z --quiet",
            f"sample {folder}/good.npz -n {draw.choice((3, 100_000))} --quiet",
            f"info {folder}/large.npz --json",
            "--help",
            f"score {folder}/good.npz {folder}/new.npy --quiet",
        )
    )
    reading, writing = os.pipe()
    with tempfile.TemporaryFile(dir=folder) as errors:
        pid = _started(line, writing, errors.fileno())
        os.close(writing)
        wanted = draw.choice((0, 1, 100, 10_000, 2**20))
        if wanted:
            os.read(reading, wanted)
        os.close(reading)
        code = _code(pid, time.monotonic() + 60.0)
        errors.seek(0)
        said = errors.read().decode()
    if code not in {0, 2, 141, -signal.SIGPIPE} or "Traceback" in said:
        raise Fault(f"fpigauss {line}: a closed pipe gives {code}, {said[-300:]}")
    return "a closed pipe"


def _signaled(draw: random.Random, folder: Path) -> str:
    """End a command by a signal, at any moment."""
    line = draw.choice(
        (
            f"fit {folder}/large.npz --separation 50 --tied --out out.npz",
            f"fit {folder}/large.npz --lam 100 --tied --covariance dense --out out.npz --tol 0",
            f"path {folder}/large.npz --tied --out out.csv",
            f"sample {folder}/good.npz -n 400000 --out out.parquet",
            f"convert {folder}/large.npz out.csv",
        )
    )
    before = {path.name for path in Path().iterdir()}
    number = draw.choice(_ENDED_BY)
    with tempfile.TemporaryFile(dir=folder) as errors:
        pid = _started(line, errors.fileno(), errors.fileno())
        time.sleep(draw.uniform(0.0, 1.5))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        try:
            code = _code(pid, time.monotonic() + _PROMPT)
        except Fault as fault:
            fault.add_note(f"{line}; {number!r}")
            raise
        errors.seek(0)
        said = errors.read().decode()
    if code not in {0, 1, 128 + number, -number} or "Traceback" in said:
        raise Fault(f"fpigauss {line}: {number!r} gives {code}, {said[-300:]}")
    _check_files(before, code)
    return f"{number.name}: {code}"


_WAYS = (_fuzzed,) * 18 + (_piped, _signaled)


def trial(number: int, folder: Path) -> Iterator[str]:
    """Run a command."""
    draw = random.Random(number)
    with tempfile.TemporaryDirectory(dir=folder) as place, contextlib.chdir(place):
        yield _WAYS[number % len(_WAYS)](draw, folder)


MACHINE = Machine(
    what="a command reads a changed file, writes to a closed pipe, or gets a signal",
    trial=trial,
    quick=100,
    full=6000,
    imports=(
        "pyarrow.csv",
        "pyarrow.parquet",
        "safetensors.numpy",
        "torch",
        "zarr",
        "matplotlib.figure",
        "fpigauss.cli",
    ),
    prepare=_prepare,
    batch=60,
    seconds=5.0,
)
