"""Files that cannot be read, as errors of one sentence."""

import contextlib
from collections.abc import Iterator

import polars as pl

from tfrec_attn.errors import DataError, first_line


@contextlib.contextmanager
def readable(path: object) -> Iterator[None]:
    """Turns an error of the disk inside into a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


@contextlib.contextmanager
def readable_parquet(
    path: object, kind: type[Exception] = DataError, then: str = ""
) -> Iterator[None]:
    """Turns an error of polars or of the disk inside into one of this kind.

    Args:
        path: The file, as the message names it.
        kind: Kind of the error.
        then: What to do, as the end of the sentence.
    """
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise kind(f"{path} cannot be read as Parquet ({first_line(error)}){then}.") from None
