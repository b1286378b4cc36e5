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

__all__ = ["BAD_INPUT", "INTERRUPTED", "NOT_MET", "UNREAD", "nobody_reads", "outcome", "say"]

NOT_MET = 1
BAD_INPUT = 2
#: Shells add the number of the signal that ended a command.
_SIGNALED = 128
INTERRUPTED = _SIGNALED + signal.SIGINT
UNREAD = 141
#: What ends a command beside an interrupt, of a scheduler or a terminal that closes.
_ENDINGS = ("SIGTERM", "SIGHUP")

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
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        say("interrupted" if number == signal.SIGINT else "terminated")
        return int(_SIGNALED + number)
    except (UnreachableSeparationError, NotPositiveDefiniteError) as error:
        return _failed(error, NOT_MET, session, debug=debug)
    except _EXPECTED as error:
        if nobody_reads(error):
            return UNREAD
        return _failed(error, BAD_INPUT, session, debug=debug)


@contextmanager
def _interrupts_seen(session: Session) -> Iterator[None]:
    """Note an interrupt in the session, beside raising it; what else ends a command does the same.

    So files that are half written are removed.
    """

    def interrupt(number: int, frame: Any) -> None:
        session.interrupted.set()
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():  # signals are not for others
        yield
        return
    endings = [getattr(signal, name) for name in _ENDINGS if hasattr(signal, name)]
    seen = [number for number in endings if signal.getsignal(number) == signal.SIG_DFL]
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, *seen)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failed(error: BaseException, code: int, session: Session, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    say(one_line(error, session.given))
    return code


def say(text: str) -> None:
    """Write a line on stderr, if there is one."""
    with suppress(OSError, ValueError):  # it may be closed
        sys.stderr.write(f"fpigauss: {text}\n")
        sys.stderr.flush()


def nobody_reads(error: BaseException) -> bool:
    """Return whether the reader of stdout has gone; nothing more is written to it then."""
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
