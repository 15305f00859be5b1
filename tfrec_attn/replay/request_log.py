"""Reads a log of requests to a recommender."""

import codecs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from tfrec_attn.errors import DataError
from tfrec_attn.files.readable import readable, readable_parquet

SCHEMA = {"user_id": pl.String, "history": pl.List(pl.String)}


def read_request_log(path: Path) -> pl.DataFrame | None:
    """Reads a request log.

    Args:
        path: `.jsonl` with `{"user_id": "u1", "history": ["i3", "i17"]}` on each line (`user_id`
            can be missing), or `.parquet` with such columns.

    Returns:
        Columns `user_id` String and `history` List(String), a row for each request. The user "" is
        unknown, and "" is left out of the histories. None: the file is of neither kind.

    Raises:
        DataError: If the file cannot be read, or holds no requests.
    """
    if path.suffix == ".jsonl":
        table = _read_lines(path)
    elif path.suffix != ".parquet" or (table := _read_parquet(path)) is None:
        return None
    return checked(table, path)


def requests_of(path: Path, lines: Iterable[bytes]) -> Iterator[tuple[str, list[str]]]:
    """Yields user ("" if unknown) and history of each JSON line; empty lines are left out.

    Raises:
        DataError: If a line is no request; the message names the path.
    """
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            yield _request_of(line, f"{path}, line {number}")


def checked(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Returns the requests without missing values.

    Raises:
        DataError: If there are none.
    """
    if not table.height:
        raise DataError(f"{path} holds no requests.")
    known = pl.element().filter(pl.element().fill_null("") != "")
    return table.with_columns(
        pl.col("user_id").fill_null(""), pl.col("history").fill_null([]).list.eval(known)
    )


def _read_lines(path: Path) -> pl.DataFrame:
    users, histories = [], []
    with readable(path), open(path, "rb") as lines:
        for user, history in requests_of(path, lines):
            users.append(user)
            histories.append(history)
    return pl.DataFrame({"user_id": users, "history": histories}, schema=SCHEMA)


def _request_of(line: bytes, where: str) -> tuple[str, list[str]]:
    try:
        tree = json.loads(line.decode("utf-8"))
        user, history = tree.get("user_id", ""), tree["history"]
        if (
            not isinstance(user, str)
            or not isinstance(history, list)
            or not all(isinstance(one, str) for one in history)
        ):
            raise TypeError
        "".join([user, *history]).encode()  # a lone surrogate is no text
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        expected = '{"user_id": "u1", "history": ["i3", "i17"]}'
        got = repr(line[:60].decode(errors="replace"))
        raise DataError(f"{where}: expected {expected}, got {got}.") from None
    return user, history


def _read_parquet(path: Path) -> pl.DataFrame | None:
    """Returns the requests, or None if there are no histories."""
    with readable_parquet(path):
        table = pl.read_parquet(path, glob=False)
    if "history" not in table.columns:
        return None
    user = pl.col("user_id") if "user_id" in table.columns else pl.lit("")
    try:
        return table.select(
            user_id=user.cast(pl.String), history=pl.col("history").cast(pl.List(pl.String))
        )
    except pl.exceptions.PolarsError:
        raise DataError(
            f"{path}, column 'history': expected lists of texts, got {table.schema['history']}."
        ) from None
