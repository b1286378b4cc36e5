"""What an interrupt does while a command still imports: one line, and the exit code 130.

Imported first by the package, since ``python -m fpigauss`` imports that before anything of the
command line. A program that imports fpigauss keeps its own handler.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__: list[str] = []

_NAME = "fpigauss"


def _is_command() -> bool:
    """Return whether this process is ``fpigauss`` or ``python -m fpigauss``."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    if program == "-m":  # until the module is found
        return not {_NAME, f"-m{_NAME}"}.isdisjoint(sys.orig_argv)
    return Path(program).stem == _NAME


def _end(number: int, frame: Any) -> None:
    """End at once: nothing is written yet, and an exception could be lost in an import."""
    with suppress(OSError):
        os.write(2, b"fpigauss: interrupted\n")
    os._exit(128 + number)


if (
    _is_command()
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, _end)
