"""Runs the command `python -m export RUN --to servables/NAME`."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
