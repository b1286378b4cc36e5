"""Processes that may crash, hang or take all memory, and are bounded in both."""

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "in_child"]

#: Seconds between looks at a child.
_LOOK = 0.01
#: A child that waits, for a lock say, uses no processor: it may take so many times the bound.
_WALL = 10
#: Exit statuses that tell what ended a child.
_OUT_OF_MEMORY, _RAISED = 101, 102


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status, or why it had to be ended."""

    status: int | None
    why: str


def in_child(task: Callable[[], int], *, seconds: float, memory: int, log: Path) -> Ended:
    """Run a task in a fork, with bounds on the seconds of processor and on the bytes it maps.

    What it prints goes to ``log``.
    """
    pid = os.fork()
    if pid == 0:
        _become(task, seconds, memory, log)
    start = time.monotonic()
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return _told(status)
        if time.monotonic() - start > _WALL * seconds:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Ended(None, "hang")
        time.sleep(_LOOK)


def _told(status: int) -> Ended:
    code = os.waitstatus_to_exitcode(status)
    if code in {-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGALRM}:
        return Ended(None, "hang")
    if code < 0:
        return Ended(None, f"signal {-code}")
    return Ended(code, {_OUT_OF_MEMORY: "memory", _RAISED: "raised"}.get(code, "exit"))


def _become(task: Callable[[], int], seconds: float, memory: int, log: Path) -> None:
    """Run the task and end this process, whatever happens."""
    status = _RAISED
    try:
        os.setpgid(0, 0)
        with log.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        bound = int(used + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (bound, bound + 1))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        status = task()
    except MemoryError:
        status = _OUT_OF_MEMORY
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        os._exit(status)
