"""Run the command line, as ``python -m fpigauss``."""

import sys

from fpigauss.cli import main

if __name__ == "__main__":
    code = main()
    # An interrupt that was handled, but came while a string was executed (dataclasses do that),
    # would make "python -m" end by the signal all the same; executing another one clears that.
    exec("")
    sys.exit(code)
