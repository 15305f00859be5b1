"""A file with the held-out events of a split in raw ids, which a run can read without the log."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.vocabulary import Vocabulary, numbers_of
from tfrec_attn.errors import DataError
from tfrec_attn.files.readable import readable_parquet
from tfrec_attn.replay.measured_run import COLUMNS

_WITH_GAPS = {**COLUMNS, "gap": pl.Float32}
_HISTORY_EVENTS = 20_000_000  # in memory at a time


def held_out_log(split: Split, part: str, gaps: bool = False) -> pl.DataFrame:
    """Returns the held-out events of one part, a row for each event in the order of the split.

    Args:
        split: The split.
        part: "valid" or "test".
        gaps: Whether to add the time since the latest event of the history. Default False.

    Returns:
        Columns `user_id` String, `history` List(String) with the items of all earlier events of the
        user, oldest first, `target` String, and with gaps `gap` Float32.
    """
    sequences, positions = split.sequences, np.asarray(getattr(split, part), np.int64)
    user_ids = sequences.user_vocabulary.ids(split.rows(positions) + 1)
    item_ids = pl.Series("history", [None, *sequences.item_vocabulary.ids()], dtype=pl.String)
    event, item = _histories(split, positions)
    histories = pl.DataFrame({"event": event, "history": item_ids.gather(item)})
    histories = histories.group_by("event", maintain_order=True).agg(pl.col("history").drop_nulls())
    frame = pl.DataFrame(
        {
            "user_id": pl.Series(user_ids, dtype=pl.String),
            "history": histories["history"],
            "target": item_ids.gather(sequences.items[positions]),
        }
    )
    return frame.with_columns(gap=sequences.time_gaps()[positions]) if gaps else frame


def save_held_out_log(split: Split, part: str, path: Path, gaps: bool = False) -> None:
    """Writes the held-out events of one part as Parquet.

    If the events are not in memory, they are written shard by shard, in the order of the shards.
    """
    if split.sequences.items is not None:
        held_out_log(split, part, gaps).write_parquet(path)
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for number, frame in enumerate(split.held_out_logs(part)):
            frame.write_parquet(Path(folder) / f"{number:05d}.parquet")
        pl.scan_parquet(f"{folder}/*.parquet").sink_parquet(path)


def _histories(split: Split, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns pairs of the index of an event and an item of its history, in order.

    The first pair of each event has item 0, so that an event with an empty history has a pair.
    """
    lengths = positions - split.sequences.offsets[split.rows(positions)] + 1
    event = np.repeat(np.arange(len(positions)), lengths)
    within = np.arange(len(event)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    index = positions[event] - lengths[event] + within
    return event, np.where(within > 0, split.sequences.items[index], 0)


@dataclass(frozen=True, eq=False)
class HeldOutEvents:
    """Held-out events that were read from a file.

    Attributes:
        user_ids: Id of each user, [U].
        targets: Id of each target, [U].
        users: Index of each user, int32 [U]; 0 if the user is unknown.
        known: Whether the target is in the vocabulary, bool [U].
        split: The events whose target is known, in order. Each of them is the last event of a row,
            after the known items of its history. The split has times if the file has gaps.
    """

    user_ids: list[str]
    targets: list[str]
    users: np.ndarray
    known: np.ndarray
    split: Split


def read_held_out_log(
    path: Path,
    part: str,
    vocabularies: tuple[Vocabulary, Vocabulary],
    limit: int = _HISTORY_EVENTS,
) -> Iterator[HeldOutEvents]:
    """Reads a file that `save_held_out_log` wrote, in blocks that fit into memory.

    Args:
        path: The Parquet file.
        part: "valid" or "test".
        vocabularies: The vocabularies of the users and of the items.
        limit: Approximate number of history events in a block. Default 20,000,000.

    Raises:
        DataError: If the file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; train again.")
    with readable_parquet(path, then="; train again"):
        table = pl.scan_parquet(path)
        schema = dict(table.collect_schema())
        if schema not in (COLUMNS, _WITH_GAPS):
            columns = ", ".join(COLUMNS)
            raise DataError(f"{path} must have the columns {columns} of texts; train again.")
        lengths = table.select(pl.col("history").list.len()).collect()["history"]
        lengths = lengths.fill_null(0).to_numpy().astype(np.int64)
    if not len(lengths):
        raise DataError(f"{path} holds no events; train again.")
    block = np.cumsum(lengths + 1) // max(1, limit)
    begins = np.flatnonzero(np.diff(block, prepend=-1))
    for begin, end in zip(begins, [*begins[1:], len(lengths)], strict=True):
        with readable_parquet(path, then="; train again"):
            frame = table.slice(begin, end - begin).collect()
        if frame.select(pl.all().is_null().any()).row(0) != (False,) * len(schema):
            raise DataError(
                f"{path} has events without a user, a history or a target; train again."
            )
        yield _encoded(frame, part, *vocabularies)


def _encoded(frame: pl.DataFrame, part: str, users: Vocabulary, items: Vocabulary) -> HeldOutEvents:
    item_ids = pl.Enum(items.ids())
    targets = numbers_of(frame["target"], item_ids)
    known = targets > 0
    lengths = frame["history"].list.len().to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(frame)), lengths)
    codes = numbers_of(frame["history"].filter(lengths > 0).explode(), item_ids)
    chosen = known[row] & (codes > 0)
    lengths = np.bincount(row[chosen], minlength=len(frame))[known]
    offsets = np.concatenate([[0], np.cumsum(lengths + 1)])
    ends = offsets[1:] - 1
    flat = np.zeros(offsets[-1], np.int32)
    is_target = np.zeros(len(flat), bool)
    is_target[ends] = True
    flat[is_target], flat[~is_target] = targets[known], codes[chosen]
    nothing = np.zeros(0, np.int64)
    times = None
    if "gap" in frame.columns:
        times = np.zeros(len(flat))
        times[is_target] = frame["gap"].to_numpy()[known]
    sequences = Sequences(flat, offsets, times, users, items)
    held_out = {"valid": nothing, "test": nothing, part: ends}
    return HeldOutEvents(
        frame["user_id"].to_list(),
        frame["target"].to_list(),
        numbers_of(frame["user_id"], pl.Enum(users.ids())),
        known,
        Split(sequences, offsets[:-1], name="held-out", **held_out),
    )
