"""How the scripts end: an exit status, and what went wrong on a line of its own."""

import os
import sys
from collections.abc import Callable

from fpigauss import InvalidInputError

from nfpi.measure import FAILURES

__all__ = ["exit_status"]


def exit_status(name: str, body: Callable[[], int], refused: int = 1) -> int:
    """Run a script; say in one line what a user can mend.

    Parameters
    ----------
    name : str
        Of the script, to begin that line with.
    body : callable
        The script; gives the status of a call that came to its end.
    refused : int
        The status of a call whose input cannot be used.

    Returns
    -------
    int
        What ``body`` gives; ``refused``; 1 if it could not go on for another reason, 130 if it was
        interrupted from the keyboard.
    """
    try:
        return body()
    except KeyboardInterrupt:
        print(f"{name}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has left, and Python would say so at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (InvalidInputError, ImportError, OSError, *FAILURES) as error:
        print(f"{name}:", *str(error).split(), file=sys.stderr)  # on one line
        return refused if isinstance(error, InvalidInputError) else 1
