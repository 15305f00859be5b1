"""Invalid lines of a log, and the TSV file that lists them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tfrec_attn.data.reading.text_formats import clean
from tfrec_attn.files.writing import check_kind

_HEADER = "file\tline\treason\ttext\n"


class Rejection(NamedTuple):
    """A line that is not a valid interaction.

    Attributes:
        line: Number of the line, from 1.
        reason: Why the line is rejected.
        text: Text of the line. Default "".
    """

    line: int
    reason: str
    text: str = ""


def begin_rejected(target: str | Path, path: object) -> None:
    """Starts a TSV file of rejections, which replaces an earlier one.

    Raises:
        ConfigError: If the target is a file of another kind.
    """
    check_kind(target, _HEADER, "rejected")
    Path(target).unlink(missing_ok=True)
    write_rejected(Path(target), str(path), [])


def write_rejected(target: Path, path: str | Path, bad: Sequence[Rejection]) -> None:
    """Appends a line for each rejection to a TSV file: `file, line, reason, text`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "a", encoding="utf-8", newline="\n") as out:
        if not out.tell():
            out.write(_HEADER)
        for entry in bad:
            texts = clean(str(path)), str(entry.line), clean(entry.reason), clean(entry.text)
            out.write("\t".join(texts) + "\n")
