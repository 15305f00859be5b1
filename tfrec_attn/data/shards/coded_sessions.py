"""Sessions and repeats of a log too large for memory, by the rules for a log in memory."""

from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.sessions import collapse_repeats, split_sessions
from tfrec_attn.data.shards.coded_log import BUCKET, CodedLog, append_by_key

_TYPES = {"row": np.int64, "number": np.int64, "weight": np.float32}


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
        names = ("row", "number", *({"weight"} & {*log.others}))
        rows, number, *weight = _take(log.folder, part, *names)
        order = np.argsort(rows)
        rows, number = rows[order] - begins[part], number[order]
        users = (first[users[rows]] + number).astype(np.int32)
        others = {name: values[rows] for name, values in log.other(part).items()}
        if weight:
            others["weight"] = weight[0][order]
        log.replace(part, users, items[rows], log.times(part)[rows], **others)
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
    """Appends the rows that stay to files of their parts; returns each user's sessions."""
    buckets, sessions = 1 + log.events // BUCKET, np.ones(log.users, np.int64)
    for part, (users, items) in enumerate(log.codes()):
        columns = {"user": users, "item": items, "time": log.times(part)}
        columns["row"] = np.arange(begins[part], begins[part + 1])
        if "weight" in log.others:
            columns["weight"] = log.other(part)["weight"]
        append_by_key(log.folder, users % buckets, buckets, columns)
    for bucket in range(buckets):
        columns = _bucket(log, bucket)
        frame = _cut(columns, gap, collapse)
        kept = {name: frame[name].to_numpy() for name in _TYPES if name in frame.columns}
        np.maximum.at(sessions, frame["user"].to_numpy(), kept["number"] + 1)
        part = np.searchsorted(begins, kept["row"], side="right") - 1
        kept = {f"part-{name}": values for name, values in kept.items()}
        append_by_key(log.folder, part, log.parts, kept)
    return sessions


def _cut(columns: dict[str, np.ndarray], gap: float | None, collapse: bool) -> pl.DataFrame:
    """Returns the events of a bucket that stay, with the number of their session from 0."""
    frame = pl.DataFrame(columns).rename({"time": "timestamp"})
    frame = frame.with_columns(
        user_id=pl.col("user").cast(pl.String),
        item_id=pl.col("item").cast(pl.String),
        number=pl.lit(0, pl.Int64),
    )
    if gap is not None:
        frame = split_sessions(frame, gap)
        number = pl.col("user_id").str.extract(r"#(\d+)$").cast(pl.Int64) - 1
        frame = frame.with_columns(number=number)
    return collapse_repeats(frame) if collapse else frame


def _bucket(log: CodedLog, bucket: int) -> dict[str, np.ndarray]:
    """Returns the columns of a bucket, in file order, and removes its files."""
    types = {"user": np.int32, "item": np.int32, "time": log.time_type, "row": np.int64}
    types |= {"weight": np.float32} if "weight" in log.others else {}
    files = {f"{name}-{bucket}.bin": dtype for name, dtype in types.items()}
    return dict(zip(types, _read(log.folder, files), strict=True))


def _take(folder: Path, part: int, *names: str) -> list[np.ndarray]:
    return _read(folder, {f"part-{name}-{part}.bin": _TYPES[name] for name in names})


def _read(folder: Path, files: dict[str, type]) -> list[np.ndarray]:
    arrays = [np.fromfile(folder / name, dtype) for name, dtype in files.items()]
    for name in files:
        (folder / name).unlink()
    return arrays
