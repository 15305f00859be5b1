"""Reads the table of the items: their ids, titles, categories and any other columns."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from tfrec_attn.data.reading.columns import require_column
from tfrec_attn.data.reading.log_parts import suffix
from tfrec_attn.data.reading.parquet_check import require_sound
from tfrec_attn.data.reading.text_formats import TEXT_FORMATS, Record, records
from tfrec_attn.data.reading.text_slices import cut
from tfrec_attn.errors import DataError, shown
from tfrec_attn.files.readable import readable, readable_parquet

ID, TITLE, CATEGORY = "id", "title", "category"
_TEXT = ("csv", "tsv", "txt", "inter")


def read_items(path: str | Path, item_column: str = "item_id") -> pl.DataFrame:
    """Reads a file with a row for each item.

    Args:
        path: CSV, TSV or RecBole `.inter`, also `.gz` and `.zst`, or Parquet.
        item_column: Name of the column of ids, or `id` if there is no such column. Default
            `item_id`.

    Returns:
        The columns as texts: first `id`, then the others in their order. Lists in Parquet are
        joined by "|". Missing values are null.

    Raises:
        DataError: If the file cannot be read or has no ids, if an id is missing or repeated, or if
            a category has a line break. The message names the line.
    """
    path = Path(os.path.expanduser(path))
    kind = suffix(path)
    if kind != "parquet" and kind not in _TEXT:
        raise DataError(
            f"data.items must be a .csv, .tsv or .parquet file, but is {path}: write it as one."
        )
    if not path.is_file():
        raise DataError(f"{path}, the file of data.items, does not exist: name one that does.")
    with readable(path):
        frame, lines = (_parquet if kind == "parquet" else _text)(path, kind)
    name = item_column if item_column in frame.columns else ID
    require_column(path, name, "item", frame.columns, f"call the column of the ids {ID}")
    frame = frame.select(pl.col(name).alias(ID), pl.exclude(name, ID))
    unit = "row" if kind == "parquet" else "line"
    _check_ids(path, frame[ID], lines, unit)
    if CATEGORY in frame.columns:
        _check_categories(path, frame[CATEGORY], lines, unit)
    return frame


def describe(row: dict[str, str | None]) -> str:
    """Returns a row as JSON, without the id and missing values; "" if nothing is left."""
    told = {name: value for name, value in row.items() if name != ID and value}
    return json.dumps(told, ensure_ascii=False) if told else ""


def _check_ids(path: Path, ids: pl.Series, lines: list[int], unit: str) -> None:
    empty = (ids.is_null() | (ids.str.strip_chars() == "")).arg_true()
    if len(empty):
        raise DataError(
            f"{path}, {unit} {lines[empty[0]]}: expected the id of an item, got none: "
            "give it, or delete the line."
        )
    again = (~ids.is_first_distinct()).arg_true()
    if len(again):
        first = ids.index_of(ids[again[0]])
        raise DataError(
            f"{path}, {unit} {lines[again[0]]}: the item {shown(ids[again[0]])} is there already, "
            f"in {unit} {lines[first]}: keep one."
        )
    if not len(ids):
        raise DataError(f"{path} holds no items: it needs a {unit} for each.")


def _check_categories(path: Path, categories: pl.Series, lines: list[int], unit: str) -> None:
    # A servable stores one category per line.
    broken = categories.str.contains("[\r\n]").fill_null(False).arg_true()
    if len(broken):
        raise DataError(
            f"{path}, {unit} {lines[broken[0]]}: expected a category without line breaks, got "
            f"{shown(categories[broken[0]])}: correct it."
        )


def _text(path: Path, kind: str) -> tuple[pl.DataFrame, list[int]]:
    """Returns the columns, and the line number of each row."""
    found = _records(path, kind)
    header = next(found, None)
    if header is None:
        raise DataError(f"{path} is empty: expected the column names in its first line.")
    names = TEXT_FORMATS["tsv" if kind == "txt" else kind].column_names(header)
    rows, lines = [], []
    for record in found:
        if len(record.fields) != len(names):
            raise DataError(
                f"{path}, line {record.line}: expected {len(names)} fields as in the first line, "
                f"got {len(record.fields)}: correct it."
            )
        rows.append(record.fields)
        lines.append(record.line)
    schema = dict.fromkeys(names, pl.String)
    if len(schema) < len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has two columns {doubled!r}: rename one.")
    return pl.DataFrame(rows, schema=schema, orient="row"), lines


def _records(path: Path, kind: str) -> Iterator[Record]:
    text_format = TEXT_FORMATS["tsv" if kind == "txt" else kind]
    for part in cut(path, text_format):
        for record in records(path, part.text, part.before, text_format):
            if record.problem:
                raise DataError(f"{path}, line {record.line}: {record.problem}: correct it.")
            yield record


def _parquet(path: Path, kind: str) -> tuple[pl.DataFrame, list[int]]:
    require_sound([path])
    with readable_parquet(path):
        frame = pl.read_parquet(path, glob=False)
        texts = [
            column.cast(pl.List(pl.String)).list.join("|")
            if isinstance(column.dtype, pl.List)
            else column.cast(pl.String)
            for column in frame.get_columns()
        ]
    return pl.DataFrame(texts), list(range(1, frame.height + 1))
