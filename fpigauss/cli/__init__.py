"""The command line: ``fpigauss``, or ``python -m fpigauss``; needs the extra ``cli``."""

import sys
from collections.abc import Sequence

__all__ = ["main"]

_NEEDED = ("typer", "rich")


def main(args: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code.

    0 if all went well; 1 if a fit did not converge or a target was not met; 2 for bad input, after
    one line on stderr that says what to do; 130 after an interrupt, 143 after SIGTERM, 141 if
    nobody reads the output any more.

    Parameters
    ----------
    args : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int

    Examples
    --------
    >>> from fpigauss.cli import main
    >>> main(["--version"])
    fpigauss 0.1.0
    0
    """
    try:
        from fpigauss.cli._app import run
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        sys.stderr.write(
            f"fpigauss: the command line needs {error.name}, which is not installed; "
            'pip install "fpigauss[cli]"\n'
        )
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("fpigauss: interrupted\n")
        return 130
    return run(args)
