"""Run the command line, as ``python -m fpigauss``."""

import sys

from fpigauss.cli import main

if __name__ == "__main__":
    sys.exit(main())
