"""End scripts with an exit status, and errors on a single line."""

import os
import sys
from collections.abc import Callable

from fpigauss import InvalidInputError

from nfpi.measure import FAILURES

__all__ = ["exit_status"]


def exit_status(name: str, body: Callable[[], int], refused: int = 1) -> int:
    """Run a script, and report errors that a user can fix in one line.

    Parameters
    ----------
    name : str
        Name of the script, which starts that line.
    body : callable
        The script; returns the status of a completed call.
    refused : int
        The status for input that cannot be used.

    Returns
    -------
    int
        The result of ``body``, or ``refused``, or 1 for any other error, or 130 after an
        interruption from the keyboard.
    """
    try:
        return body()
    except KeyboardInterrupt:
        print(f"{name}: interrupted; repeat the command to resume", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output is gone; Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (InvalidInputError, ImportError, OSError, *FAILURES) as error:
        print(f"{name}:", *str(error).split(), file=sys.stderr)  # on one line
        return refused if isinstance(error, InvalidInputError) else 1
