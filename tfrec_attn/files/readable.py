"""Turns exceptions of unreadable files into errors of one sentence."""

import contextlib
from collections.abc import Iterator

import polars as pl

from tfrec_attn.errors import DataError, first_line


@contextlib.contextmanager
def readable(path: object) -> Iterator[None]:
    """Turns an OSError in the block into a DataError; `path` is the file in the message."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


@contextlib.contextmanager
def readable_parquet(
    path: object, kind: type[Exception] = DataError, then: str = ""
) -> Iterator[None]:
    """Turns an OSError or an error of polars in the block into an error of one sentence.

    Args:
        path: The file in the message.
        kind: Class of the error (default: DataError).
        then: End of the sentence, such as a remedy.
    """
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise kind(f"{path} cannot be read as Parquet ({first_line(error)}){then}.") from None
