"""Text formats of a log, and an exact reader of their lines.

The exact reader is slower than polars, but gives the number and the text of every line.
"""

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from backports import zstd

from tfrec_attn.errors import ConfigError, DataError

LONGEST_RECORD = 1 << 20  # bytes; limits the memory for a file that is not a log
# The error handler "surrogateescape" turns bytes that are not UTF-8 into these characters.
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
DAMAGES = (EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError)
_BOM = "\ufeff"
_BLOCK = 1 << 20
_MOVIELENS = ("user_id", "item_id", "rating", "timestamp")
SEPARATORS = {"comma": ",", "semicolon": ";", "pipe": "|", "tab": "\t", "space": " "}


@dataclass(frozen=True)
class TextFormat:
    """How a text file is split into fields.

    Attributes:
        separator: Separator of the fields.
        quoted: Whether a field can be in double quotes, and then have separators, line breaks and
            doubled quotes. Default False.
        typed: Whether column names in the header have a type, as in `user_id:token`. Default False.
        names: Column names of a format without a header. None (default): the first line has them.
    """

    separator: str
    quoted: bool = False
    typed: bool = False
    names: tuple[str, ...] | None = None

    def separated_by(self, separator: str | None) -> "TextFormat":
        """Returns the same format with another separator.

        Args:
            separator: A name in `SEPARATORS` or a character. None: the separator of the format.

        Raises:
            ConfigError: If the separator is neither.
        """
        if separator is None:
            return self
        found = SEPARATORS.get(separator, separator)
        if len(found) != 1 or not found.isascii() or found.isalnum() or found in '"\r\n\0':
            choices = ", ".join(SEPARATORS)
            raise ConfigError(
                f"data.separator must be one of {choices} or a single character, got {separator!r}."
            )
        return replace(self, separator=found)

    def column_names(self, header: "Record") -> list[str]:
        """Returns the column names in a header line."""
        return [name.split(":")[0] if self.typed else name for name in header.fields]


TEXT_FORMATS = {
    "csv": TextFormat(",", quoted=True),
    "tsv": TextFormat("\t"),
    "inter": TextFormat("\t", typed=True),
    "dat": TextFormat("::", names=_MOVIELENS),
    "data": TextFormat("\t", names=_MOVIELENS),
}


class Record(NamedTuple):
    """A record of a text log, one line or several lines.

    Attributes:
        line: Number of the first line, from 1.
        end: Number of the last line.
        text: Text in the file.
        fields: The fields of the record; invalid if there is a problem.
        problem: Why the fields are invalid, or None (default).
    """

    line: int
    end: int
    text: str
    fields: list[str]
    problem: str | None = None


class UnclosedQuote(DataError):
    """Raised if a text ends inside quotes."""


def records(path: Path, text: bytes, before: int, text_format: TextFormat) -> Iterator[Record]:
    """Yields the records of a text in order, with the header and without blank lines.

    Args:
        path: The log, for messages.
        text: A part of the log that starts with a record.
        before: Number of lines of the log before the text.
        text_format: Format of the log.

    Raises:
        UnclosedQuote: If the text ends inside quotes.
        DataError: If an opening quote never closes.
    """
    lines = (line.decode("utf-8", "surrogateescape") for line in io.BytesIO(text))
    if text_format.quoted:
        return _quoted(path, lines, before, text_format.separator)
    return _plain(lines, before, text_format.separator)


def has_sound_quotes(text: bytes, separator: str) -> bool:
    """Returns whether the quotes of a CSV text are in valid places.

    An opening quote starts a field. A closing quote ends a field, or is half of a doubled quote.
    """
    starts, ends = (
        np.isin(np.arange(256), list(f'{separator}\n"{more}'.encode())) for more in ("", "\r")
    )
    data = np.frombuffer(b"\n" + text + b"\n", np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    return bool(
        len(quotes) % 2 == 0 and starts[data[opening - 1]].all() and ends[data[closing + 1]].all()
    )


def clean(text: str) -> str:
    """Returns a text on one line without tabs; invalid UTF-8 becomes an escape such as `\\xff`."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return readable.replace("\t", "\\t").replace("\r", "\\r").replace("\n", "\\n")


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, and decompresses it if it begins as gzip or Zstandard files do.

    Reading a damaged file raises one of `DAMAGES`.
    """
    with open(path, "rb") as stream:
        magic = stream.read(len(_ZSTD_MAGIC))
        stream.seek(0)
        if magic.startswith(_GZIP_MAGIC):
            with gzip.open(stream) as unzipped:
                yield unzipped
        elif magic == _ZSTD_MAGIC:
            with zstd.open(stream) as unzipped:
                yield unzipped
        else:
            yield stream


def text_size(path: Path, most: int) -> int:
    """Returns the size of a file in bytes, after decompression.

    Only one block at a time is in memory.

    Args:
        path: The file.
        most: A compressed file is read until its size is above this number. A greater result means
            that the file can be still larger.
    """
    size = 0
    with open_bytes(path) as stream:
        if isinstance(stream, io.BufferedReader):
            return os.fstat(stream.fileno()).st_size
        # The reader of the file reports the damage.
        with suppress(*DAMAGES):
            while size <= most and (block := stream.read(_BLOCK)):
                size += len(block)
    return size


def _bare(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _text_problem(text: str) -> str | None:
    if not text.isascii() and _NOT_UTF8.search(text):
        return "expected UTF-8 text, got bytes that are not"
    return "expected UTF-8 text, got NUL bytes, as UTF-16 has them" if "\0" in text else None


def _plain(lines: Iterator[str], before: int, separator: str) -> Iterator[Record]:
    for number, line in enumerate(lines, before + 1):
        text = _bare(line)
        if text not in ("", _BOM):
            yield Record(number, number, text, text.split(separator), _text_problem(text))


def _quoted(path: Path, lines: Iterator[str], before: int, separator: str) -> Iterator[Record]:
    taken: list[str] = []
    first, size = before + 1, 0
    names = {one: name for name, one in SEPARATORS.items()}
    separated = f"{names.get(separator, repr(separator))}-separated"

    def unclosed(kind: type[DataError] = DataError) -> DataError:
        return kind(
            f'{path}, line {first}: a quote (") opens here and never closes: close it or double it.'
        )

    def counted() -> Iterator[str]:
        nonlocal size
        for line in lines:
            taken.append(line)
            size += len(line)
            if size > LONGEST_RECORD:
                raise unclosed()
            # Python before 3.11 refuses NUL.
            yield line.replace("\0", "\ufffd")

    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_RECORD))
    reader = csv.reader(counted(), delimiter=separator, strict=True)
    while True:
        fields, problem = [], None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise unclosed(UnclosedQuote) from None
            if len(taken) > 1:
                raise unclosed() from error
            problem = f"expected {separated} fields, got {error}"
        text = _bare("".join(taken))
        if text not in ("", _BOM):
            yield Record(
                first, first + len(taken) - 1, text, fields, problem or _text_problem(text)
            )
        first += len(taken)
        size = 0
        taken.clear()
