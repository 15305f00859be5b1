"""Text formats of a log, and an exact reader of their lines: slower than polars, but it knows every line's number and text."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from tfrec_attn.errors import DataError

_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what the error handler "surrogateescape" makes of a byte that is not UTF-8
_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK = 1 << 24
_BOM = "\ufeff"
_MOVIELENS = ("user_id", "item_id", "rating", "timestamp")


@dataclass(frozen=True)
class TextFormat:
    """How a text file is cut into fields.

    Attributes:
        separator: What stands between two fields.
        quoted: Whether a field may stand in double quotes, and then hold separators, line breaks and doubled quotes.
        typed: Whether column names in the header carry a type, as in `user_id:token`.
        names: Column names of a format that has no header; None reads them from the first line.
    """

    separator: str
    quoted: bool = False
    typed: bool = False
    names: tuple[str, ...] | None = None


TEXT_FORMATS = {
    "csv": TextFormat(",", quoted=True),
    "tsv": TextFormat("\t"),
    "inter": TextFormat("\t", typed=True),
    "dat": TextFormat("::", names=_MOVIELENS),
    "data": TextFormat("\t", names=_MOVIELENS),
}


class Record(NamedTuple):
    """One record: its first line (1-based), its text, and either its fields or the problem that keeps it from having any."""

    line: int
    text: str
    fields: list[str]
    problem: str | None = None


def records(path: Path, text_format: TextFormat) -> Iterator[Record]:
    """Yields the records of a plain or gzip file in file order, the header included; blank lines are left out.

    Raises:
        DataError: If the gzip stream is damaged or cut short, or if an opening quote never closes.
    """
    line = 0
    try:
        with _open(path) as stream:
            for record in _quoted(path, stream) if text_format.quoted else _plain(stream, text_format.separator):
                line = record.line
                yield record
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file, it breaks off after line {line} ({error}): fetch it again.") from error


def has_sound_quotes(path: Path, separator: str) -> bool:
    """Tells whether every opening quote of a CSV file starts a field and every closing one ends it or is half of a doubled one."""
    starts, ends = (np.frombuffer(f'{separator}\n"{more}'.encode(), np.uint8) for more in ("", "\r"))
    before, inside = b"\n", False
    with open_bytes(path) as stream:
        if stream.peek(3)[:3] == codecs.BOM_UTF8:
            stream.read(3)
        while block := stream.read(_BLOCK):
            data = np.frombuffer(before + block + (stream.peek(1)[:1] or b"\n"), np.uint8)
            quotes = 1 + np.flatnonzero(data[1:-1] == ord('"'))
            opening, closing = quotes[int(inside) :: 2], quotes[1 - int(inside) :: 2]
            if not (np.isin(data[opening - 1], starts).all() and np.isin(data[closing + 1], ends).all()):
                return False
            before, inside = block[-1:], inside ^ bool(len(quotes) % 2)
    return not inside


def clean(text: str) -> str:
    """Returns a record's text on one line without tabs; bytes that are not UTF-8 come out as `\\xff`."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return readable.replace("\t", "\\t").replace("\r", "\\r").replace("\n", "\\n")


def open_bytes(path: Path) -> io.BufferedReader | gzip.GzipFile:
    """Opens a plain or gzip file, told by its first bytes, to read what it holds."""
    with open(path, "rb") as peeked:
        zipped = peeked.read(2) == _GZIP_MAGIC
    return gzip.open(path) if zipped else open(path, "rb")


def _open(path: Path) -> IO[str]:
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", errors="surrogateescape", newline="\n")


def _bare(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _utf8_problem(text: str) -> str | None:
    return None if text.isascii() or not _NOT_UTF8.search(text) else "expected UTF-8 text, got bytes that are not"


def _plain(stream: IO[str], separator: str) -> Iterator[Record]:
    for number, line in enumerate(stream, 1):
        text = _bare(line)
        if text not in ("", _BOM):
            yield Record(number, text, text.split(separator), _utf8_problem(text))


def _quoted(path: Path, stream: IO[str]) -> Iterator[Record]:
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in stream:
            taken.append(line)
            yield line

    reader, first = csv.reader(lines(), strict=True), 1
    while True:
        fields, problem = [], None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if len(taken) > 1 or "unexpected end" in str(error):
                raise DataError(f'{path}, line {first}: a quote (") opens here and never closes: close it or double it.') from error
            problem = f"expected comma-separated fields, got {error}"
        text = _bare("".join(taken))
        if text not in ("", _BOM):
            yield Record(first, text, fields, problem or _utf8_problem(text))
        first += len(taken)
        taken.clear()
