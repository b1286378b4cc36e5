"""Statistics by several processes, as examples/distributed/ gathers them, and how they grow."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._measure import Row, Table, duration, paired
from fpigauss import ClassStatistics

EXAMPLES = Path(__file__).parents[1] / "examples" / "distributed"

NOTE = """
The functions are those of the examples, on float32 latents in eight files that the machine has read
before. Every process has one core to itself, as a machine of its own would be, and so does the one
process that passes over all files for comparison. Starting processes is not counted (it is in the
column of fpigauss): it is paid once. The value is how many times as fast as that one process, and
for more workers how many times as fast as one worker. Beside it is what the machine had to give
meanwhile: how many times as fast as one process as many are that run a loop and share nothing.
"""

Everything = Callable[[], Any]


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    sys.path.insert(0, str(EXAMPLES))  # that of the processes started from here, too
    import _parts

    cores = own_cores()
    pin(cores[0])
    n_rows = 4_000_000 if full else 1_000_000
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        _parts.write_parts(Path(folder), n_rows)
        for name, way in {"files": by_hand, "dask": by_dask, "torch": by_torch}.items():
            try:
                rows += measured(name, way, Path(folder), n_rows, cores)
            except ImportError as error:
                reason = f"not measured: {error.name} is not installed"
                rows.append(Row(f"{name}: statistics by processes", reason, "-", float("nan"), ""))
    return Table("Statistics of parts, by processes", __doc__ + NOTE, rows)


def measured(
    name: str,
    way: Callable[[Path, list[int]], AbstractContextManager[Everything]],
    folder: Path,
    n_rows: int,
    cores: list[int],
) -> list[Row]:
    """Time one way with one worker, with more, and one process without any."""
    import _parts

    places = range(_parts.n_parts(folder))
    calls: dict[str, Everything] = {
        "alone": lambda: ClassStatistics.from_batches(_parts.part(folder, i) for i in places)
    }
    numbers = [n for n in (1, 2, 4, 8) if n <= len(cores)]
    started = {}
    with ExitStack() as stack:
        for n in numbers:
            pool = stack.enter_context(pinned_pool(cores[:n]))
            calls[f"loop {n}"] = partial(_loops, pool, n)
            begun = time.perf_counter()
            calls[str(n)] = stack.enter_context(way(folder, cores[:n]))
            calls[str(n)]()
            started[n] = time.perf_counter() - begun
        times = paired(calls, rounds=9, seconds=30.0)
    alone = n_rows / times.median("alone")
    rows = []
    for n in numbers:
        speed = f"{n_rows / times.median(str(n)):.3g} rows/s, started in {duration(started[n])}"
        if n == 1:
            other, value = f"one process: {alone:.3g} rows/s", times.ratio("alone", "1")
        else:
            loops = n * times.ratio("loop 1", f"loop {n}")
            alone_too = f"1 worker: {n_rows / times.median('1'):.3g} rows/s"
            other = f"{alone_too}; loops: {loops:.2f}x"
            value = times.ratio("1", str(n))
        workers = "1 worker" if n == 1 else f"{n} workers"
        rows.append(Row(f"{name}, {workers}, N={n_rows:,}, d=64", speed, other, value))
    return rows


# -- the ways: each gives a call that gathers everything -----------------------------------


@contextmanager
def by_hand(folder: Path, cores: list[int]) -> Iterator[Everything]:
    """Save the statistics of the parts, and merge the files."""
    from by_hand import everything

    with pinned_pool(cores) as pool:
        yield lambda: everything(folder, pool)


@contextmanager
def by_dask(folder: Path, cores: list[int]) -> Iterator[Everything]:
    """Gather by the workers of a LocalCluster."""
    from with_dask import cluster, everything

    with cluster(len(cores)) as client:
        for core, address in zip(cores, client.nthreads(), strict=True):
            client.run(pin, core, workers=[address])

        def on_these() -> None:
            with client.as_current():
                everything(folder)

        yield on_these


@contextmanager
def by_torch(folder: Path, cores: list[int]) -> Iterator[Everything]:
    """Gather by the processes of a group of torch.distributed."""
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in cores]
    with TemporaryDirectory() as passing:
        meeting = f"file://{passing}/meeting"
        processes = [
            context.Process(target=_member, args=(pipes[rank][1], rank, cores, meeting, folder))
            for rank in range(len(cores))
        ]
        for process in processes:
            process.start()

        def everything() -> None:
            for ours, _ in pipes:
                ours.send(True)
            for ours, _ in pipes:
                ours.recv()

        try:
            yield everything
        finally:
            for ours, _ in pipes:
                ours.send(False)
            for process in processes:
                process.join()


def _member(pipe: Any, rank: int, cores: list[int], meeting: str, folder: Path) -> None:
    """Be one process of the group, until told to end."""
    import torch.distributed as dist
    from with_torch import everything

    pin(cores[rank])
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=len(cores))
    try:
        while pipe.recv():
            everything(folder)
            pipe.send(None)
    finally:
        dist.destroy_process_group()


# -- one core per process ------------------------------------------------------------------


def own_cores() -> list[int]:
    """List the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(core: int) -> None:
    """Keep this process, with all of its threads, on one core; where the system lets us."""
    if hasattr(os, "sched_setaffinity"):
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def pinned_pool(cores: list[int]) -> ProcessPoolExecutor:
    """Start one process per core."""
    context = get_context("spawn")
    queue = context.SimpleQueue()
    for core in cores:
        queue.put(core)
    return ProcessPoolExecutor(len(cores), context, _pin_to_next, (queue,))


def _loops(pool: ProcessPoolExecutor, n: int) -> None:
    list(pool.map(_loop, range(n)))


def _loop(_: int) -> int:
    return sum(range(5_000_000))


def _pin_to_next(cores: Any) -> None:
    pin(cores.get())
