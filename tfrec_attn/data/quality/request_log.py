"""A log of requests to a recommender, and how many of its ids are unknown."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from tfrec_attn.config import Data
from tfrec_attn.data.reading.catalog import load_configured
from tfrec_attn.data.reading.parquet_check import require_sound
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import DataError

_SHOWN = 10
_SCHEMA = {"user_id": pl.String, "history": pl.List(pl.String)}


def read_requests(path: str | Path, data: Data) -> pl.DataFrame:
    """Reads a request log.

    Args:
        path: `.jsonl` with `{"user_id": "u1", "history": ["i3", "i17"]}` on each line (`user_id`
            can be missing), `.parquet` with such columns, or a log of events, in which all events
            of a user are one request.
        data: How to read a log of events.

    Returns:
        Columns `user_id` String and `history` List(String), a row for each request. The user "" is
        none, and "" is left out of the histories.

    Raises:
        DataError: If there is no such file, or if it is no request log.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise DataError(f"{path} does not exist: --serving-log must be a file.")
    if path.suffix == ".jsonl":
        table = _read_lines(path)
    elif path.suffix == ".parquet" and (found := _read_parquet(path)) is not None:
        table = found
    else:
        options = replace(
            data,
            source="file",
            path=str(path),
            columns=replace(data.columns, rating=None, event=None),
        )
        frame = load_configured(options).frame
        table = frame.group_by("user_id", maintain_order=True).agg(history="item_id")
    if not table.height:
        raise DataError(f"{path} holds no requests.")
    known = pl.element().filter(pl.element().fill_null("") != "")
    return table.with_columns(pl.col("user_id").fill_null(""), pl.col("history").list.eval(known))


def count_unknown(
    requests: pl.DataFrame, users: Vocabulary | None, items: Vocabulary
) -> dict[str, object]:
    """Counts the ids of a request log that are not in the vocabularies.

    Args:
        requests: As `read_requests` returns them.
        users: Known users, or None to ignore users.
        items: Known items.

    Returns:
        `requests` and `items`, the number of items in all histories. As count and share,
        `unknown_items` of the items, `unknown_users` of the requests with a user, and
        `nothing_known` of the requests: those without a known item, for which an unknown user gets
        the popular items. And `most_asked`, the most frequent unknown items with their counts.
    """
    events = requests.select("history").with_row_index("request").explode("history").drop_nulls()
    unknown = ~events["history"].is_in(items.ids())
    known = events.filter(~unknown)["request"].n_unique()
    counts = (
        events.filter(unknown)["history"]
        .value_counts(sort=True)
        .sort("count", "history", descending=[True, False])
        .head(_SHOWN)
    )
    tree = {
        "requests": requests.height,
        "items": events.height,
        "unknown_items": _part(unknown.sum(), events.height),
        "nothing_known": _part(requests.height - known, requests.height),
        "most_asked": dict(counts.iter_rows()),
    }
    if users is not None:
        named = requests["user_id"].filter(requests["user_id"] != "")
        tree["unknown_users"] = _part((~named.is_in(users.ids())).sum(), len(named))
    return tree


def _part(count: int, of: int) -> dict[str, float]:
    return {"count": int(count), "share": float(count / max(1, of))}


def requests_of(path: Path, lines: Iterable[bytes]) -> Iterator[tuple[str, list[str]]]:
    """Yields user ("" for none) and history of each JSON line; empty lines are left out.

    Raises:
        DataError: If a line is no request; the message names the path.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
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
            raise DataError(f"{path}, line {number}: expected {expected}, got {got}.") from None
        yield user, history


def _read_lines(path: Path) -> pl.DataFrame:
    users, histories = [], []
    with open(path, "rb") as lines:
        for user, history in requests_of(path, lines):
            users.append(user)
            histories.append(history)
    return pl.DataFrame({"user_id": users, "history": histories}, schema=_SCHEMA)


def _read_parquet(path: Path) -> pl.DataFrame | None:
    """Returns the requests, or None if there are no histories."""
    require_sound([path])
    try:
        table = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        cause = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as Parquet ({cause}).") from None
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
