"""The held-out events of a split in raw ids, and what tells one prepared log from another: for
whoever has the run but not the log.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import DataError


def held_out_log(split: Split, part: str) -> pl.DataFrame:
    """The held-out events of one part, a row an event in the split's order.

    Args:
      split: whose events.
      part: "valid" or "test".

    Returns: columns `user_id` String, `history` List(String), all earlier events of the user,
    oldest first, and `target` String.
    """
    sequences, positions = split.sequences, np.asarray(getattr(split, part), np.int64)
    ids = pl.Series("history", [None, *sequences.item_vocabulary.ids()], dtype=pl.String)
    event, item = _histories(split, positions)
    histories = pl.DataFrame({"event": event, "history": ids.gather(item)})
    return pl.DataFrame(
        {
            "user_id": pl.Series(
                sequences.user_vocabulary.ids(split.rows(positions) + 1), dtype=pl.String
            ),
            "history": histories.group_by("event", maintain_order=True).agg(
                pl.col("history").drop_nulls()
            )["history"],
            "target": ids.gather(sequences.items[positions]),
        }
    )


def save_held_out_log(split: Split, part: str, path: Path) -> None:
    """Writes the held-out events of one part as Parquet; where the events are not in memory, shard
    by shard and in their order.
    """
    if split.sequences.items is not None:
        held_out_log(split, part).write_parquet(path)
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for number, frame in enumerate(split.held_out_logs(part)):
            frame.write_parquet(Path(folder) / f"{number:05d}.parquet")
        pl.scan_parquet(f"{folder}/*.parquet").sink_parquet(path)








def _histories(split: Split, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each event and an item of its history, in order; first a 0 for each event, so
    that none is missing.
    """
    lengths = positions - split.sequences.offsets[split.rows(positions)] + 1
    event = np.repeat(np.arange(len(positions)), lengths)
    within = np.arange(len(event)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    index = positions[event] - lengths[event] + within
    return event, np.where(within > 0, split.sequences.items[index], 0)


_COLUMNS = {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}


_AT_ONCE = 20_000_000


@dataclass(frozen=True, eq=False)
class HeldOutEvents:
    """Some held-out events.

    Attributes:
        user_ids: Id of each user, [U].
        targets: Id of each target, [U].
        users: Index of each user, int32 [U]; 0 where it is unknown.
        known: Whether the target is in the vocabulary, bool [U].
        split: The events whose target is known, in their order: each is the last of a row, which
            holds the known items of its history before it.
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
    limit: int = _AT_ONCE,
) -> Iterator[HeldOutEvents]:
    """Reads the held-out events of one part, as `save_held_out_log` wrote them.

    Args:
        path: The Parquet file.
        part: "valid" or "test".
        vocabularies: Of the users and of the items.
        limit: Events of histories to hold in memory at a time, or near it.

    Raises:
        DataError: If the file is missing or is something else.
    """
    with _reading(path):
        table = pl.scan_parquet(path)
        if dict(table.collect_schema()) != _COLUMNS:
            raise DataError(
                f"{path} must have the columns {', '.join(_COLUMNS)} of texts; train again."
            )
        lengths = (
            table.select(pl.col("history").list.len()).collect()["history"].fill_null(0).to_numpy()
        )
    if not len(lengths):
        raise DataError(f"{path} holds no events; train again.")
    group = np.cumsum(lengths.astype(np.int64) + 1) // max(1, limit)
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    for begin, end in zip(begins, [*begins[1:], len(lengths)], strict=True):
        with _reading(path):
            frame = table.slice(begin, end - begin).collect()
        if frame.select(pl.all().is_null().any()).row(0) != (False,) * 3:
            raise DataError(
                f"{path} has events without a user, a history or a target; train again."
            )
        yield _kept(frame, part, *vocabularies)


def _kept(frame: pl.DataFrame, part: str, users: Vocabulary, items: Vocabulary) -> HeldOutEvents:
    targets = _indices(frame["target"], items)
    known = targets > 0
    lengths = frame["history"].list.len().to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(frame)), lengths)
    codes = _indices(frame["history"].filter(lengths > 0).explode(), items)
    chosen = known[row] & (codes > 0)
    lengths = np.bincount(row[chosen], minlength=len(frame))[known]
    offsets = np.concatenate([[0], np.cumsum(lengths + 1)])
    ends = offsets[1:] - 1
    flat = np.zeros(offsets[-1], np.int32)
    is_target = np.zeros(len(flat), bool)
    is_target[ends] = True
    flat[is_target], flat[~is_target] = targets[known], codes[chosen]
    nothing = np.zeros(0, np.int64)
    sequences = Sequences(flat, offsets, None, users, items)
    held = {"valid": nothing, "test": nothing, part: ends}
    return HeldOutEvents(
        frame["user_id"].to_list(),
        frame["target"].to_list(),
        _indices(frame["user_id"], users),
        known,
        Split(sequences, offsets[:-1], name="kept", **held),
    )


def _indices(ids: pl.Series, vocabulary: Vocabulary) -> np.ndarray:
    """Index of each id, int32, 0 where it is unknown."""
    codes = ids.cast(pl.Enum(vocabulary.ids()), strict=False).to_physical()
    return (codes.cast(pl.Int64) + 1).fill_null(0).to_numpy().astype(np.int32)


@contextlib.contextmanager
def _reading(path: Path):
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} is missing; train again.") from None
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')}); train again."
        ) from None
