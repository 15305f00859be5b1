"""Exports a finished run as a SavedModel: `python -m tfrec_attn.export RUN --to servables/NAME`."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
