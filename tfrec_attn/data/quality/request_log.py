"""A log of requests to a recommender, and how many of its ids are unknown."""

import os
from dataclasses import replace
from pathlib import Path

import polars as pl

from tfrec_attn.config import Data
from tfrec_attn.data.quality.log_measures import count_and_share
from tfrec_attn.data.reading.catalog import load_configured
from tfrec_attn.data.reading.parquet_check import require_sound
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import DataError
from tfrec_attn.replay.request_log import checked, read_request_log

_SHOWN = 10


def read_requests(path: str | Path, data: Data) -> pl.DataFrame:
    """Reads a request log.

    Args:
        path: `.jsonl` with `{"user_id": "u1", "history": ["i3", "i17"]}` on each line (`user_id`
            can be missing), `.parquet` with these columns, or a log of events. All events of a user
            in a log are one request.
        data: How to read a log of events.

    Returns:
        Columns `user_id` String and `history` List(String), a row for each request. The user "" is
        unknown. Histories do not have "".

    Raises:
        DataError: If there is no such file, or if it is not a request log.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise DataError(f"{path} does not exist: --serving-log must be a file.")
    if path.suffix == ".parquet":
        require_sound([path])
    table = read_request_log(path)
    if table is not None:
        return table
    options = replace(
        data,
        source="file",
        path=str(path),
        columns=replace(data.columns, rating=None, event=None),
    )
    frame = load_configured(options).frame
    return checked(frame.group_by("user_id", maintain_order=True).agg(history="item_id"), path)


def count_unknown(
    requests: pl.DataFrame, users: Vocabulary | None, items: Vocabulary
) -> dict[str, object]:
    """Counts the ids of a request log that are not in the vocabularies.

    Args:
        requests: The result of `read_requests`.
        users: Known users, or None to ignore users.
        items: Known items.

    Returns:
        `requests`, their number, and `items`, the number of items in all histories. As count and
        share: `unknown_items` of the items; `unknown_users` of the requests with a user, unless
        `users` is None; `nothing_known` of the requests, those without a known item. `most_asked`
        has the most frequent unknown items with their counts.
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
        "unknown_items": count_and_share(unknown.sum(), events.height),
        "nothing_known": count_and_share(requests.height - known, requests.height),
        "most_asked": dict(counts.iter_rows()),
    }
    if users is not None:
        named = requests["user_id"].filter(requests["user_id"] != "")
        tree["unknown_users"] = count_and_share((~named.is_in(users.ids())).sum(), len(named))
    return tree
