"""The held-out events of a split in raw ids, and what tells one prepared log from another: for
whoever has the run but not the log.
"""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.preparation import Sequences
from tfrec_attn.data.sequences.splits import Split


def replay_log(split: Split, part: str) -> pl.DataFrame:
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


def save_replay_log(split: Split, part: str, path: Path) -> None:
    """Writes the held-out events of one part as Parquet; where the events are not in memory, shard
    by shard and in their order.
    """
    if split.sequences.items is not None:
        replay_log(split, part).write_parquet(path)
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for number, frame in enumerate(split.replay_logs(part)):
            frame.write_parquet(Path(folder) / f"{number:05d}.parquet")
        pl.scan_parquet(f"{folder}/*.parquet").sink_parquet(path)


def item_counts(split: Split) -> np.ndarray:
    """Training events of each item, int64 [N]."""
    if split.prepared is not None:
        return split.prepared.item_counts()
    sequences = split.sequences
    return np.bincount(sequences.items[split.train_mask()], minlength=sequences.num_items + 1)[
        1:
    ].astype(np.int64)


def checksum(sequences: Sequences) -> str:
    """SHA-256 of a prepared log: the ids of items and of users in order, each user's offset, and
    the items of all events.

    It depends on what was read, filtered and put in order, not on the file that it was read from.
    Each of the four parts is hashed as its size in bytes, int64, and its bytes: ids as UTF-8 lines,
    offsets as int64, items as int32, all little-endian. Weights of events, where there are any, are
    a fifth part, float32.
    """
    result = hashlib.sha256()
    texts = [
        "".join(f"{one}\n" for one in vocabulary.ids())
        for vocabulary in (sequences.item_vocabulary, sequences.user_vocabulary)
    ]
    arrays = [sequences.offsets.astype("<i8"), sequences.items.astype("<i4")]
    arrays += [] if sequences.weights is None else [sequences.weights.astype("<f4")]
    for part in (*(text.encode("utf-8") for text in texts), *(array.tobytes() for array in arrays)):
        result.update(len(part).to_bytes(8, "little"))
        result.update(part)
    return result.hexdigest()


def split_checksum(split: Split) -> str:
    """`checksum` of a split's events; of the whole prepared log where they are not in memory."""
    return split.prepared.checksum() if split.sequences.items is None else checksum(split.sequences)


def _histories(split: Split, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each event and an item of its history, in order; first a 0 for each event, so
    that none is missing.
    """
    lengths = positions - split.sequences.offsets[split.rows(positions)] + 1
    event = np.repeat(np.arange(len(positions)), lengths)
    within = np.arange(len(event)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    index = positions[event] - lengths[event] + within
    return event, np.where(within > 0, split.sequences.items[index], 0)
