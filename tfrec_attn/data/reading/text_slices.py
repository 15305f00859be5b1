"""Cuts a text log into parts of whole records, so that it is read a part at a time whatever its
size.
"""

import codecs
import gzip
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tfrec_attn.data.reading.text_formats import (
    DAMAGES,
    LONGEST_RECORD,
    Record,
    TextFormat,
    UnclosedQuote,
    has_sound_quotes,
    open_bytes,
    records,
)
from tfrec_attn.errors import DataError

SLICE_BYTES = 1 << 24
_FIRST = 1 << 16
_PIECE = 1 << 18


class Part(NamedTuple):
    """A part of a text log.

    Attributes:
        before: How many lines are before it.
        text: Whole records, the last of which ends in a line break too; no byte-order mark of the
            file.
        sound: Whether quotes that open and those that close can be told without the exact reader.
    """

    before: int
    text: bytes
    sound: bool


def cut(path: Path, text_format: TextFormat, size: int = SLICE_BYTES) -> Iterator[Part]:
    """Yields the parts of a log.

    Args:
        path: The log, plain or compressed.
        text_format: How its lines are cut.
        size: About how many bytes a part has.

    Raises:
        DataError: If the compressed stream is damaged or cut short, if a record is too long, or if
            a quote never closes.
    """
    before, rest = 0, b""
    try:
        with open_bytes(path) as stream:
            rest = stream.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)
            for block in _blocks(stream, size):
                text = rest + block
                _refuse_long_lines(path, text, before)
                part = _whole_records(path, text, before, text_format)
                rest = text[len(part.text) :]
                if part.text:
                    yield part
                    before += part.text.count(b"\n")
    except DAMAGES as error:
        kind, line = (
            "gzip" if isinstance(stream, gzip.GzipFile) else "Zstandard",
            before + rest.count(b"\n"),
        )
        raise DataError(
            f"{path} is a damaged {kind} file, it breaks off after line {line} ({error}): fetch it again."
        ) from error
    if rest:
        part = _whole_records(path, rest + b"\n" * (not rest.endswith(b"\n")), before, text_format)
        if len(part.text) < len(rest):
            # Either the exact reader says where a quote opens, or it was none.
            part = Part(before, rest + b"\n" * (not rest.endswith(b"\n")), False)
            deque(records(path, part.text, before, text_format), 0)
        yield part


def _blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Yields blocks of lines, of at least so many bytes each; where the stream breaks off, what
    there is before it does.
    """
    pieces, there = [], 0
    try:
        # The same pieces whatever the size, so that a stream always breaks off at the same place.
        while piece := stream.read1(_PIECE):
            begin = 0
            while end := piece.find(b"\n", begin + max(0, size - there - 1)) + 1:
                yield b"".join((*pieces, piece[begin:end]))
                pieces, there, begin = [], 0, end
            pieces.append(piece[begin:])
            there += len(piece) - begin
            if there > size + LONGEST_RECORD:
                break
    except DAMAGES:
        yield b"".join(pieces)
        raise
    yield b"".join(pieces)


def first_record(path: Path, text_format: TextFormat) -> Record | None:
    """Returns the first record of a log, the header if it has one, or None where it has none.

    Raises:
        DataError: As `cut` does.
    """
    for part in cut(path, text_format, _FIRST):
        for record in records(path, part.text, part.before, text_format):
            return record
    return None


def _refuse_long_lines(path: Path, text: bytes, lines: int) -> None:
    """Refuses a text that starts with a line and has one that is too long."""
    begin = 0
    while len(text) - begin > LONGEST_RECORD:
        end = text.rfind(b"\n", begin, begin + LONGEST_RECORD) + 1
        if not end:
            line = lines + text.count(b"\n", 0, begin) + 1
            raise DataError(
                f"{path}, line {line}: expected at most {LONGEST_RECORD:,} bytes on a line, got more: is this a log?"
            )
        begin = end


def _whole_records(path: Path, text: bytes, before: int, text_format: TextFormat) -> Part:
    """The part of a text that starts with a record up to where the last whole record ends."""
    end = text.rfind(b"\n") + 1
    if not text_format.quoted or b'"' not in text:
        return Part(before, text[:end], True)
    lines, odd = text[:end], text.count(b'"', 0, end) % 2
    while odd and end:
        shorter = text.rfind(b"\n", 0, end - 1) + 1
        odd ^= text.count(b'"', shorter, end) % 2
        end = shorter
    if has_sound_quotes(text[:end], text_format.separator):
        return Part(before, text[:end], True)
    last = before
    with suppress(UnclosedQuote):
        for record in records(path, lines, before, text_format):
            last = record.end
    return Part(before, text[: end_of_lines(text, last - before)], False)


def end_of_lines(text: bytes, count: int) -> int:
    """Where the first lines of a text end."""
    end = 0
    while count > 0 and end < len(text):
        end, count = text.index(b"\n", end) + 1, count - 1
    return end
