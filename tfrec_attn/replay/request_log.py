"""Reads logs of requests to a recommender."""

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
        path: `.jsonl` with `{"user_id": "u1", "history": ["i3", "i17"]}` on each line, or
            `.parquet` with these columns. `user_id` can be missing.

    Returns:
        A row for each request, with the columns `user_id` String, "" for an unknown user, and
        `history` List(String), without "". None if the file has another format.

    Raises:
        DataError: If the file cannot be read, or has no requests.
    """
    if path.suffix == ".jsonl":
        table = _read_lines(path)
    elif path.suffix != ".parquet" or (table := _read_parquet(path)) is None:
        return None
    return checked(table, path)


def requests_of(path: Path, lines: Iterable[bytes]) -> Iterator[tuple[str, list[str]]]:
    """Yields (user, history) of each JSON line that is not empty; "" is an unknown user.

    Args:
        path: The file, for messages.
        lines: Lines of the file.

    Raises:
        DataError: If a line is not a request.
    """
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            yield _request_of(line, f"{path}, line {number}")


def checked(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Returns the requests without missing values.

    Args:
        table: Requests with the columns of `SCHEMA`.
        path: The file, for messages.

    Raises:
        DataError: If there are no requests.
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
        "".join([user, *history]).encode()  # A lone surrogate is not text.
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        expected = '{"user_id": "u1", "history": ["i3", "i17"]}'
        got = repr(line[:60].decode(errors="replace"))
        raise DataError(f"{where}: expected {expected}, got {got}.") from None
    return user, history


def _read_parquet(path: Path) -> pl.DataFrame | None:
    """The requests of a Parquet file, or None if it has no column `history`."""
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
