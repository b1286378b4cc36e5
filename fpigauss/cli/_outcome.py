"""How a command ends: its exit code, and one line for what went wrong."""

import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fpigauss.cli._session import Session
from fpigauss.cli._words import in_our_words, one_line
from fpigauss.errors import NotPositiveDefiniteError, UnreachableSeparationError

__all__ = ["BAD_INPUT", "INTERRUPTED", "NOT_MET", "outcome", "say"]

NOT_MET = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 and the number of the signal, as shells have it
_UNREAD = 141

#: What input, files and missing packages make the libraries raise. Anything else is a fault of
#: ours, and shows where.
_EXPECTED = (ValueError, OSError, ImportError, ArithmeticError, MemoryError)


def outcome(body: Callable[[], int | None], session: Session, *, debug: bool) -> int:
    """Run a command, and return its exit code."""
    try:
        with _interrupts_seen(session), _warnings_in_lines(session), session.bars:
            code = body() or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except (UnreachableSeparationError, NotPositiveDefiniteError) as error:
        return _failed(error, NOT_MET, debug=debug)
    except _EXPECTED as error:
        if _nobody_reads(error):
            return _UNREAD
        return _failed(error, BAD_INPUT, debug=debug)


@contextmanager
def _interrupts_seen(session: Session) -> Iterator[None]:
    """Note an interrupt in the session, beside raising it."""

    def interrupt(number: int, frame: Any) -> None:
        session.interrupted.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are not for others
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _failed(error: BaseException, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    say(one_line(error))
    return code


def say(text: str) -> None:
    """Write a line on stderr, if there is one."""
    with suppress(OSError, ValueError):  # it may be closed
        sys.stderr.write(f"fpigauss: {text}\n")
        sys.stderr.flush()


def _nobody_reads(error: BaseException) -> bool:
    """Whether the reader of stdout has gone; nothing more is written to it then."""
    if not isinstance(error, OSError) or error.errno != errno.EPIPE:
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())  # or Python would try again at its end
    return True


@contextmanager
def _warnings_in_lines(session: Session) -> Iterator[None]:
    """Show each warning as a line, without the source that raised it."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        session.warn(" ".join(in_our_words(str(message)).split()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield
