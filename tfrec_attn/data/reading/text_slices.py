"""Cuts a text log into parts of whole records that fit into memory."""

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
        before: Number of lines of the log before the part.
        text: Whole records. Each ends in a line break. The byte-order mark of the file is removed.
        sound: Whether the quotes can be paired without the exact reader.
    """

    before: int
    text: bytes
    sound: bool


def cut(path: Path, text_format: TextFormat, size: int = SLICE_BYTES) -> Iterator[Part]:
    """Yields the parts of a log.

    Args:
        path: The log, plain or compressed.
        text_format: Format of the log.
        size: Approximate size of a part in bytes. Default 16 MiB.

    Raises:
        DataError: If the compressed stream is damaged or truncated, if a record is too long, or if
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
        kind = "gzip" if isinstance(stream, gzip.GzipFile) else "Zstandard"
        line = before + rest.count(b"\n")
        raise DataError(
            f"{path} is a damaged {kind} file, it breaks off after line {line} ({error}): "
            "fetch it again."
        ) from error
    if rest:
        text = rest if rest.endswith(b"\n") else rest + b"\n"
        part = _whole_records(path, text, before, text_format)
        if len(part.text) < len(rest):
            # The exact reader raises an error for a quote that never closes.
            part = Part(before, text, False)
            deque(records(path, part.text, before, text_format), 0)
        yield part


def _blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Yields blocks of lines with at least `size` bytes each.

    If the stream is damaged, the text before the damage is yielded before the error is raised.
    """
    pieces, there = [], 0
    try:
        # A fixed size of pieces makes a damaged stream break off at the same byte for any `size`.
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
    """Returns the first record of a log, which can be a header, or None if the log is empty.

    Raises:
        DataError: As for `cut`.
    """
    for part in cut(path, text_format, _FIRST):
        for record in records(path, part.text, part.before, text_format):
            return record
    return None


def _refuse_long_lines(path: Path, text: bytes, lines: int) -> None:
    """Raises DataError if a line of a text is too long."""
    begin = 0
    while len(text) - begin > LONGEST_RECORD:
        end = text.rfind(b"\n", begin, begin + LONGEST_RECORD) + 1
        if not end:
            line = lines + text.count(b"\n", 0, begin) + 1
            raise DataError(
                f"{path}, line {line}: expected at most {LONGEST_RECORD:,} bytes on a line, "
                "got more: is this a log?"
            )
        begin = end


def _whole_records(path: Path, text: bytes, before: int, text_format: TextFormat) -> Part:
    """Returns the part of a text up to the end of its last whole record."""
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
    """Returns the index at which the first `count` lines of a text end."""
    end = 0
    while count > 0 and end < len(text):
        end, count = text.index(b"\n", end) + 1, count - 1
    return end
