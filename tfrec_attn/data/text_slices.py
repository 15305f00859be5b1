"""Cuts a large text log into files of whole records, so that it can be read a part at a time."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfrec_attn.data.text_formats import TextFormat, has_sound_quotes, open_bytes
from tfrec_attn.errors import DataError

SLICE_BYTES = 1 << 26


def cut(path: Path, text_format: TextFormat, target: Path, size: int = SLICE_BYTES) -> Iterator[int]:
    """Writes one slice after the other to `target` and yields the number of lines before it, the first with the header if there is one.

    A slice ends where a record does. Where a quote in a CSV file is misplaced, so that this cannot be told, the rest is one slice.

    Args:
        path: The log, plain or gzipped.
        text_format: How its lines are cut.
        target: The file that holds the slice, anew in each round; removed at the end.
        size: About how many bytes a slice has.

    Raises:
        DataError: If the gzip stream is damaged or cut short.
    """
    lines, rest = 0, b""
    try:
        with open_bytes(path) as stream:
            while block := stream.read(size):
                end = _end_of_records(rest + block, text_format.quoted)
                whole, rest = (rest + block)[:end], (rest + block)[end:]
                if not whole:
                    continue
                target.write_bytes(whole)
                if text_format.quoted and not has_sound_quotes(target, text_format.separator):
                    rest = whole + rest
                    break
                yield lines
                lines += whole.count(b"\n")
            with open(target, "wb") as last:
                last.write(rest)
                while block := stream.read(size):
                    last.write(block)
        if target.stat().st_size:
            yield lines
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        line = lines + rest.count(b"\n")
        raise DataError(f"{path} is a damaged gzip file, it breaks off after line {line} ({error}): fetch it again.") from error
    finally:
        target.unlink(missing_ok=True)


def _end_of_records(text: bytes, quoted: bool) -> int:
    """Where the last whole record of a text that starts with a record ends, or 0."""
    if not quoted or b'"' not in text:
        return text.rfind(b"\n") + 1
    data = np.frombuffer(text, np.uint8)
    breaks = np.flatnonzero(data == ord("\n"))
    outside = breaks[np.searchsorted(np.flatnonzero(data == ord('"')), breaks) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0
