"""What commands write to the terminal: lines, tables and progress."""

import functools
import sys
from collections.abc import Callable, Collection, Sequence

from tfrec_attn.errors import Interrupted, TfrecError, shorten


def write_line(text: str) -> None:
    """Writes a line to stdout and flushes it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fail(error: Exception) -> int:
    """Writes an error to stderr as one sentence, and returns the exit code of the command."""
    kind = "" if isinstance(error, Interrupted) else "error: "
    sys.stderr.write(f"{kind}{shorten(str(error), 1000)}\n")
    return getattr(error, "exit_code", 2)


def reporting(*errors: type[Exception], interrupted: str | None = None) -> Callable:
    """Returns a decorator for the `main` of a command, which reports errors on stderr.

    Args:
        *errors: Errors to report, besides `TfrecError`.
        interrupted: Message for a KeyboardInterrupt, which then ends the command with exit code
            130. None (default): a KeyboardInterrupt is raised.
    """

    def decorate(main: Callable) -> Callable:
        @functools.wraps(main)
        def run(arguments: Sequence[str] | None = None) -> int:
            try:
                return main(arguments)
            except (TfrecError, *errors) as error:
                return fail(error)
            except KeyboardInterrupt:
                if interrupted is None:
                    raise
                sys.stderr.write(f"interrupted: {interrupted}\n")
                return 130

        return run

    return decorate


def format_table(
    title: str, rows: dict[str, dict[str, float]], interval: dict[str, list[float]] | None = None
) -> str:
    """Returns metrics as aligned text, with a line for each row and a column for each metric.

    Args:
        title: Header of the first column.
        rows: Name of a row -> its metrics.
        interval: Metric -> 95 % interval of the last row.
    """
    metrics = list(next(iter(rows.values())))
    cells = [[title, *metrics]]
    cells += [[name, *(f"{row[one]:.4f}" for one in metrics)] for name, row in rows.items()]
    for end, label in enumerate(("  95 % from", "  95 % to")) if interval else ():
        cells.append([label, *(f"{interval[one][end]:.4f}" for one in metrics)])
    return align(cells)


def align(lines: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Aligns the columns of lines.

    Args:
        lines: Cells of each line.
        left: Columns that are aligned on the left. The others are aligned on the right.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


class ProgressLine:
    """Shows a stage and its percentage on stderr, if stderr is a terminal."""

    def __init__(self):
        self._shown = None

    def __call__(self, stage: str, done: int = 0, total: int | None = None) -> None:
        """Shows a stage, and the percentage of `done` in `total` if a total is given."""
        text = stage if total is None else f"{stage} {100 * done // max(1, total)} %"
        if text != self._shown:
            self._write(f"\r{text:<40}")
        self._shown = text

    def clear(self) -> None:
        """Removes the line."""
        if self._shown is not None:
            self._write(f"\r{'':<40}\r")
        self._shown = None

    def _write(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(text)
            sys.stderr.flush()
