"""Perform tasks in this process, or in a few others, some of which may die."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Self, TypeAlias

from nfpi.measure import Task, perform

__all__ = ["in_others", "in_this_process"]

#: Gives the next task that can start; None if there is none now.
NextTask: TypeAlias = Callable[[], Task | None]
#: Called when a task ends: with the name of its run, and with why it left no record, or None.
Finish: TypeAlias = Callable[[str, str | None], None]


def in_this_process(next_task: NextTask, finish: Finish) -> None:
    """Perform tasks one after another, until there is none.

    Parameters
    ----------
    next_task, finish : callable
        As in ``in_others``.
    """
    while (task := next_task()) is not None:
        finish(task.run.name, _attempt(task, 0))


def in_others(next_task: NextTask, finish: Finish, n_workers: int) -> None:
    """Hand tasks to processes; one that dies only loses its own run, and is replaced.

    Parameters
    ----------
    next_task : callable
        Returns the next task that can start; None if there is none, at least until another ends.
    finish : callable
        Called when a task ends, with the name of its run, and None or why it left no record.
    n_workers : int
        Processes with one thread each.
    """
    busy: dict[Connection, tuple[_Worker, Task]] = {}
    idle: list[_Worker] = []
    free = list(range(n_workers))
    with _single_threaded_children():
        try:
            while True:
                while (free or idle) and (task := next_task()) is not None:
                    worker = idle.pop() if idle else _Worker.started(free.pop())
                    worker.send(task)
                    busy[worker.connection] = (worker, task)
                if not busy:
                    return
                speaking = wait(list(busy))
                for ready in [connection for connection in busy if connection in speaking]:
                    worker, task = busy.pop(ready)
                    trouble = worker.receive()
                    if trouble is None:
                        idle.append(worker)
                    else:  # the failure may have left the process, or its GPU, unusable
                        worker.end()
                        free.append(worker.place)
                    finish(task.run.name, trouble)
        finally:
            for worker, _ in busy.values():
                worker.kill()
            for worker in idle:
                worker.end()


@dataclass
class _Worker:
    """A process that performs one task after another, sent over its connection.

    Parameters
    ----------
    process : multiprocessing.Process
    connection : Connection
        Takes tasks; gives None, or why a task left no record, when one has ended.
    place : int
        Its number among the workers, which picks its GPU.
    """

    process: SpawnProcess
    connection: Connection
    place: int

    @classmethod
    def started(cls, place: int) -> Self:
        """Start a worker."""
        context = multiprocessing.get_context("spawn")
        connection, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, place), daemon=True)
        process.start()
        theirs.close()
        return cls(process, connection, place)

    def send(self, task: Task) -> None:
        """Give it a task."""
        with suppress(OSError):  # it died while idle: its end of file is found by ``receive``
            self.connection.send(task)

    def receive(self) -> str | None:
        """Return None if its task left a record, otherwise why it did not."""
        try:
            trouble: str | None = self.connection.recv()
        except (EOFError, OSError):  # the latter if it died before reading its task
            self.process.join()
            trouble = f"its process ended with exit code {self.process.exitcode}"
        return trouble

    def end(self) -> None:
        """Let an idle or broken worker end by itself."""
        self.connection.close()
        self.process.join()

    def kill(self) -> None:
        """End a busy worker, and its task."""
        self.process.terminate()
        self.process.join()


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Set OMP_NUM_THREADS, which a child reads when it loads its libraries; restore it after."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _work(connection: Connection, place: int) -> None:
    """Perform one task after another in a child, until the parent is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its children
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None  # only children run this

    def leave_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(_attempt(task, place))


def _attempt(task: Task, place: int) -> str | None:
    """Perform a task, and return the error if there is no record of it."""
    import torch

    n_gpus = torch.cuda.device_count()
    try:
        perform(task, f"cuda:{place % n_gpus}" if n_gpus else None)
    except Exception as error:  # noqa: BLE001  (a worker reports any failure and goes on)
        return f"{type(error).__name__}: {error}"
    return None
