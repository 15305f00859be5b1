"""Reads the columns of a Parquet log."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from tfrec_attn.data.reading.columns import NAMES, require_column
from tfrec_attn.data.reading.fields import check
from tfrec_attn.data.reading.rejections import Rejection
from tfrec_attn.data.reading.time_rule import FileTimes, TimeRule
from tfrec_attn.errors import DataError
from tfrec_attn.files.readable import readable_parquet


def parquet_slices(
    path: Path, wanted: Mapping[str, str], rows: int, rule: TimeRule
) -> Iterator[tuple[pl.DataFrame, list[Rejection], FileTimes]]:
    """Yields the result of `check` for each part of a Parquet file.

    Args:
        path: The file.
        wanted: Role -> name of its column.
        rows: Number of rows in a part.
        rule: As for `check`.

    Raises:
        DataError: If the file cannot be read, or if a column is missing or of another type.
    """
    with readable_parquet(path):
        table = pl.scan_parquet(path, glob=False)
        schema = table.collect_schema()
    for role, name in wanted.items():
        require_column(path, name, role, schema.names())
        require_type(path, name, role, schema[name])
    table = table.select(**{NAMES[role]: pl.col(name) for role, name in wanted.items()})
    for begin in itertools.count(0, rows):
        with readable_parquet(path):
            raw = table.slice(begin, rows).collect()
        lines = pl.int_range(begin + 1, begin + raw.height + 1, eager=True)
        frame, bad, times = check(raw, lines, rule)
        texts = {entry.line: "\t".join(map(str, raw.row(entry.line - 1 - begin))) for entry in bad}
        yield frame, [entry._replace(text=texts[entry.line]) for entry in bad], times
        if raw.height < rows:
            return


def require_type(path: object, name: str, role: str, dtype: pl.DataType) -> None:
    """Checks that the type of a column fits its role.

    Args:
        path: Name of the table in messages.
        name: Name of the column.
        role: Role of the column.
        dtype: Type of the column.

    Raises:
        DataError: If the type does not fit.
    """
    text = dtype in (pl.String, pl.Categorical, pl.Enum)
    if role == "timestamp":
        fits = text or dtype.is_numeric() or dtype in (pl.Date, pl.Datetime)
        expected = "numbers, dates or text"
    elif role == "rating":
        fits, expected = text or dtype.is_numeric(), "numbers or text"
    else:
        fits, expected = text or dtype.is_integer(), "text or integers"
    if not fits:
        raise DataError(f"{path}, column {name!r}: expected {expected}, got {dtype}.")
