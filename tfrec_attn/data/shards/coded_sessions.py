"""Sessions and repeats of a log too large for memory, by the rules for a log in memory."""

from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.sessions import collapse_repeats, split_sessions
from tfrec_attn.data.shards.coded_log import BUCKET, CodedLog, append_by_key

_TYPES = {"row": np.int64, "number": np.int64}


def cut_users(
    log: CodedLog, ids: pl.Series, gap: float | None, collapse: bool
) -> tuple[pl.Series, int]:
    """Splits the users of a log into sessions, and collapses immediate repeats.

    Args:
        log: The log, which is changed.
        ids: Ids of the users.
        gap: Longest pause inside a session; None keeps the users.
        collapse: Whether to keep only the first of a user's events in a row with the same item.

    Returns:
        The ids of the users of the log as it is now, and how many events were dropped.
    """
    begins = np.cumsum([0, *(len(users) for users, _ in log.codes())])
    sessions = _cut_buckets(log, begins, gap, collapse)
    first = np.cumsum(sessions) - sessions
    earlier, log.events = log.events, 0
    for part, (users, items) in enumerate(log.codes()):
        rows, number = _take(log.folder, part, "row", "number")
        order = np.argsort(rows)
        rows, number = rows[order] - begins[part], number[order]
        users, types = (first[users[rows]] + number).astype(np.int32), log.types(part)
        types = None if types is None else types[rows]
        log.replace(part, users, items[rows], log.times(part)[rows], types)
        log.events += len(rows)
    log.users = int(sessions.sum())
    if gap is None:
        return ids, earlier - log.events
    owner = np.repeat(np.arange(len(ids)), sessions)
    number = np.arange(log.users) - first[owner] + 1
    return pl.select(pl.format("{}#{}", ids.gather(owner), pl.Series(number))).to_series(), (
        earlier - log.events
    )


def _cut_buckets(
    log: CodedLog, begins: np.ndarray, gap: float | None, collapse: bool
) -> np.ndarray:
    """Appends the rows that stay, and their session from 0, to files of the parts that they are in.

    Returns:
        The number of sessions of each user, int64.
    """
    buckets, sessions = 1 + log.events // BUCKET, np.ones(log.users, np.int64)
    for part, (users, items) in enumerate(log.codes()):
        columns = {"user": users, "item": items, "time": log.times(part)}
        columns["row"] = np.arange(begins[part], begins[part + 1])
        append_by_key(log.folder, users % buckets, buckets, columns)
    for bucket in range(buckets):
        columns = dict(zip(("user", "item", "time", "row"), _bucket(log, bucket), strict=True))
        users = columns["user"]
        frame = pl.DataFrame(
            {
                "user_id": pl.Series(users).cast(pl.String),
                "item_id": pl.Series(columns["item"]).cast(pl.String),
                "timestamp": columns["time"],
                "row": np.arange(len(users)),
            }
        )
        number = np.zeros(len(users), np.int64)
        if gap is not None:
            frame = split_sessions(frame, gap)
            number = frame["user_id"].str.extract(r"#(\d+)$").cast(pl.Int64).to_numpy() - 1
            np.maximum.at(sessions, users, number + 1)
        if collapse:
            stays = collapse_repeats(frame)["row"].to_numpy()
            columns["row"], number = columns["row"][stays], number[stays]
        part = np.searchsorted(begins, columns["row"], side="right") - 1
        kept = {"row": columns["row"], "number": number}
        kept = {f"part-{name}": values for name, values in kept.items()}
        append_by_key(log.folder, part, log.parts, kept)
    return sessions


def _bucket(log: CodedLog, bucket: int) -> list[np.ndarray]:
    """Returns users, items, times and rows of a bucket, in file order, and removes its files."""
    types = {"user": np.int32, "item": np.int32, "time": log.time_type, "row": np.int64}
    return _read(log.folder, {f"{name}-{bucket}.bin": dtype for name, dtype in types.items()})


def _take(folder: Path, part: int, *names: str) -> list[np.ndarray]:
    return _read(folder, {f"part-{name}-{part}.bin": _TYPES[name] for name in names})


def _read(folder: Path, files: dict[str, type]) -> list[np.ndarray]:
    arrays = [np.fromfile(folder / name, dtype) for name, dtype in files.items()]
    for name in files:
        (folder / name).unlink()
    return arrays
