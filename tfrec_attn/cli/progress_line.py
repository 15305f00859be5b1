"""One line on a terminal that tells how far a command is."""

import sys


class ProgressLine:
    """Shows stage and share done on stderr where that is a terminal, and nothing elsewhere."""

    def __init__(self):
        self._shown = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Shows that `done` of `total` parts of a stage are done."""
        text = f"{stage} {100 * done // max(1, total)} %"
        if text != self._shown and sys.stderr.isatty():
            sys.stderr.write(f"\r{text:<40}")
            sys.stderr.flush()
        self._shown = text

    def clear(self) -> None:
        """Removes the line."""
        if self._shown is not None and sys.stderr.isatty():
            sys.stderr.write(f"\r{'':<40}\r")
            sys.stderr.flush()
        self._shown = None
