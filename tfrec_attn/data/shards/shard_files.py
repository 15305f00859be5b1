"""Shards of a prepared log: TFRecord files that hold one `tf.train.Example` for each user.

| feature | values |
|---|---|
| `user` | index of the user, 1..M |
| `item` | index 1..N of the item of each event, in order of time |
| `time` | time of each event: int64, or where times have fractions the bytes of little-endian float64 |
| `train` | how many of the events train, the first ones |
| `valid`, `test` | place among the events, from 0, of the one that validates and of the one that tests; -1 for none |

User u lies in shard (u - 1) mod S, in ascending order, so that every shard is a sample of all
users.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.splits import (
    hold_out_between,
    hold_out_last,
)
from tfrec_attn.data.shards.example_codec import bytes_feature, examples, int64_feature
from tfrec_attn.data.shards.manifest import PartitionedLog
from tfrec_attn.errors import DataError

_BATCH = 4096


@dataclass(frozen=True, eq=False)
class Shard:
    """The events of some users, one user after the other.

    Attributes:
        users: Index 1..M of each user, ascending, int64 [U].
        lengths: Events of each user, int64 [U].
        items: Item index of each event, int32 [E].
        times: Time of each event, int64 or float64 [E].
        train: How many events of each user train, int64 [U].
        valid: Place among the user's events of the one that validates, -1 for none, int64 [U].
        test: The same of the one that tests.
    """

    users: np.ndarray
    lengths: np.ndarray
    items: np.ndarray
    times: np.ndarray
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    def train_mask(self) -> np.ndarray:
        """Returns which events train, bool [E]."""
        begin = np.cumsum(self.lengths) - self.lengths
        return np.arange(len(self.items)) < np.repeat(begin + self.train, self.lengths)


def shard_name(number: int, count: int) -> str:
    """The file name of a shard, such as shard-00003-of-00050.tfrecord."""
    return f"shard-{number:05d}-of-{count:05d}.tfrecord"


def write_shard(path: Path, shard: Shard) -> None:
    """Writes a file that has its name when it is complete.

    Raises:
        OSError: If it cannot be written.
    """
    ones = np.ones_like(shard.lengths)
    whole = shard.times.dtype.kind == "i"
    records = examples(
        int64_feature("user", shard.users, ones),
        int64_feature("item", shard.items, shard.lengths),
        int64_feature("time", shard.times, shard.lengths)
        if whole
        else bytes_feature("time", shard.times.astype("<f8").view(np.uint8), 8 * shard.lengths),
        int64_feature("train", shard.train, ones),
        int64_feature("valid", shard.valid, ones),
        int64_feature("test", shard.test, ones),
    )
    data, ends = records.data.tobytes(), np.cumsum(records.sizes).tolist()
    part = path.with_name(f"{path.name}.part")
    try:
        with tf.io.TFRecordWriter(str(part)) as writer:
            begin = 0
            for end in ends:
                writer.write(data[begin:end])
                begin = end
    except tf.errors.OpError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise OSError(f"{part}: {error.message}") from error
    part.rename(path)


def read_shard(path: Path, whole_times: bool) -> Shard:
    """Reads a file that `write_shard` wrote.

    Args:
        path: The file.
        whole_times: Whether its times are integers.

    Raises:
        DataError: If it holds anything else.
    """
    batches = []
    try:
        for records in tf.data.TFRecordDataset(str(path)).batch(_BATCH).prefetch(2):
            batches.append(_parse(records, whole_times))
    except tf.errors.OpError as error:
        raise DataError(
            f"{path} is not a shard of a prepared log ({str(error.message).splitlines()[0]}): prepare the log again."
        ) from error
    empty = np.zeros(0, np.int64)
    columns = (
        [np.concatenate(column) for column in zip(*batches, strict=True)]
        if batches
        else [empty] * 7
    )
    users, lengths, items, times, train, valid, test = columns
    return Shard(users, lengths, items.astype(np.int32), times, train, valid, test)


def feature_spec(*, times: str = "") -> dict[str, object]:
    """What `tf.io.parse_example` needs; `times` is "int64", "float64" or "" to leave them out."""
    ragged = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    one = tf.io.FixedLenFeature([], tf.int64)
    time = {
        "": {},
        "int64": {"time": ragged},
        "float64": {"time": tf.io.FixedLenFeature([], tf.string)},
    }[times]
    return {"user": one, "item": ragged, "train": one, "valid": one, "test": one, **time}


def _parse(records: tf.Tensor, whole_times: bool) -> tuple[np.ndarray, ...]:
    parsed = tf.io.parse_example(records, feature_spec(times="int64" if whole_times else "float64"))
    times = (
        parsed["time"].flat_values.numpy()
        if whole_times
        else np.frombuffer(b"".join(parsed["time"].numpy()), "<f8")
    )
    items = parsed["item"]
    return (
        parsed["user"].numpy(),
        items.row_lengths().numpy(),
        items.flat_values.numpy(),
        times,
        *(parsed[name].numpy() for name in ("train", "valid", "test")),
    )


def shard_of(number: int, partitioned: PartitionedLog, rows: np.ndarray, items: np.ndarray, times: np.ndarray):
    """The shard of some events in file order.

    Args:
        number: Of the shard.
        partitioned: Of the log.
        rows: User row of each event, which is `number` modulo the number of shards.
        items: Item index 1..N of each event, int32.
        times: Time of each event.
    """

    users = np.arange(number, partitioned.after["users"], partitioned.shards)
    local = rows // partitioned.shards
    order = np.lexsort((times, local))
    lengths, times = np.bincount(local, minlength=len(users)), times[order]
    places = (
        hold_out_last(lengths)
        if partitioned.period is None
        else hold_out_between(lengths, times, *partitioned.period)
    )
    return Shard(users + 1, lengths, items[order], times, *places)
