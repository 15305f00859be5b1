"""Lines that are no interaction, and the TSV that lists them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tfrec_attn.data.reading.text_formats import clean
from tfrec_attn.files.own_files import check_output


class Rejection(NamedTuple):
    """A line that is no interaction: its 1-based number, why, and its text."""

    line: int
    reason: str
    text: str = ""


_REJECTED = "file\tline\treason\ttext\n"


def begin_rejected(target: str | Path, path: object) -> None:
    """Begins a TSV of rejections, in the place of an earlier one.

    Raises:
        ConfigError: If it is a file of another kind.
    """
    check_output(target, _REJECTED, "rejected")
    Path(target).unlink(missing_ok=True)
    write_rejected(Path(target), str(path), [])


def write_rejected(target: Path, path: str | Path, bad: Sequence[Rejection]) -> None:
    """Adds a line for each rejection to a TSV: `file, line, reason, text`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "a", encoding="utf-8", newline="\n") as out:
        if not out.tell():
            out.write(_REJECTED)
        for entry in bad:
            out.write(
                f"{clean(str(path))}\t{entry.line}\t{clean(entry.reason)}\t{clean(entry.text)}\n"
            )
