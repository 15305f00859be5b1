"""Shards of a prepared log: TFRecord files with one `tf.train.Example` for each user.

| feature | values |
|---|---|
| `user` | index of the user, 1..M |
| `item` | index 1..N of the item of each event, in order of time |
| `time` | time of each event: int64, or bytes of little-endian float64 if times have fractions |
| `weight` | bytes of the little-endian float32 weight of each event, if events have weights |
| `train` | number of training events, which are the first events |
| `valid`, `test` | position of the validation and the test target among the events, -1 for none |

User u is in shard (u - 1) mod S, in ascending order, so that every shard is a sample of all users.
Only reading a shard imports TensorFlow.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.encoding import by_user_and_time
from tfrec_attn.data.sequences.splits import hold_out_between, hold_out_last
from tfrec_attn.data.shards.example_codec import Rows, bytes_feature, examples, int64_feature
from tfrec_attn.data.shards.manifest import PartitionedLog
from tfrec_attn.data.shards.record_file import framed
from tfrec_attn.errors import DataError

MOST_SHARDS = 1_000
_FEWEST_SHARDS = 8
_SHARD_EVENTS = 1_000_000
_BATCH = 4096


@dataclass(frozen=True, eq=False)
class Shard:
    """The events of some users, one user after the other.

    Attributes:
        users: Index 1..M of each user, ascending, int64 [U].
        lengths: Events of each user, int64 [U].
        items: Item index of each event, int32 [E].
        times: Time of each event, int64 or float64 [E].
        train: Number of training events of each user, int64 [U].
        valid: Position of the validation target among the user's events, int64 [U]; -1 if there is
            none.
        test: Position of the test target among the user's events, int64 [U]; -1 if there is none.
        weights: Weight of each event as a training target, float32 [E], or None (default).
    """

    users: np.ndarray
    lengths: np.ndarray
    items: np.ndarray
    times: np.ndarray
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    weights: np.ndarray | None = None

    def train_mask(self) -> np.ndarray:
        """Returns whether each event is a training event, bool [E]."""
        begin = np.cumsum(self.lengths) - self.lengths
        return np.arange(len(self.items)) < np.repeat(begin + self.train, self.lengths)


def number_of_shards(wanted: int | None, events: int, users: int) -> int:
    """Returns the number of shards, which is at most the number of users.

    Args:
        wanted: The requested number. None: one for each million events, from 8 to 1,000.
        events: Number of events.
        users: Number of users.
    """
    return min(users, wanted or min(MOST_SHARDS, max(_FEWEST_SHARDS, -(-events // _SHARD_EVENTS))))


def shard_name(number: int, count: int) -> str:
    """Returns the file name of a shard, such as shard-00003-of-00050.tfrecord."""
    return f"shard-{number:05d}-of-{count:05d}.tfrecord"


def make_shard(number: int, log: PartitionedLog, events: pl.DataFrame) -> Shard:
    """Returns the shard of some users from their events.

    Args:
        number: Number of the shard.
        log: Description of the log.
        events: The events, those of each user in the order of the log. Columns: `row` of the user,
            which is `number` modulo the number of shards, `item` 1..N (Int32), `timestamp`, and
            `weight` if events have weights.
    """
    users = np.arange(number, log.after["users"], log.shards)
    events = by_user_and_time(events, "row")
    lengths = np.bincount(events["row"].to_numpy() // log.shards, minlength=len(users))
    times = events["timestamp"].to_numpy()
    if log.period is None:
        positions = hold_out_last(lengths)
    else:
        positions = hold_out_between(lengths, times, *log.period)
    weights = events["weight"].to_numpy() if "weight" in events.columns else None
    return Shard(users + 1, lengths, events["item"].to_numpy(), times, *positions, weights)


def write_shard(path: Path, shard: Shard) -> None:
    """Writes the file of a shard, which gets its name only when it is complete.

    Raises:
        OSError: If the file cannot be written.
    """
    ones = np.ones_like(shard.lengths)
    if shard.times.dtype.kind == "i":
        time = int64_feature("time", shard.times, shard.lengths)
    else:
        time = _floats("time", shard.times, shard.lengths)
    records = examples(
        int64_feature("user", shard.users, ones),
        int64_feature("item", shard.items, shard.lengths),
        time,
        int64_feature("train", shard.train, ones),
        int64_feature("valid", shard.valid, ones),
        int64_feature("test", shard.test, ones),
        *([] if shard.weights is None else [_floats("weight", shard.weights, shard.lengths)]),
    )
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(framed(*records).data)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(part)) from error
    part.rename(path)


def _floats(name: str, values: np.ndarray, lengths: np.ndarray) -> list[Rows]:
    """Encodes a feature with the bytes of float64 or float32 numbers for each user."""
    data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).view(np.uint8)
    return bytes_feature(name, data, values.itemsize * lengths)


def read_shard(path: str | Path, whole_times: bool, weighted: bool = False) -> Shard:
    """Reads a shard that `write_shard` has written.

    Args:
        path: The file.
        whole_times: Whether the times are integers.
        weighted: Whether to read the weights of the events. Default False.

    Raises:
        DataError: If the file is damaged or not a shard.
    """
    import tensorflow as tf

    spec, batches = feature_spec(times="int64" if whole_times else "float64"), []
    if weighted:
        spec["weight"] = tf.io.FixedLenFeature([], tf.string)
    try:
        for records in tf.data.TFRecordDataset(str(path)).batch(_BATCH).prefetch(2):
            batches.append(_columns(tf.io.parse_example(records, spec), whole_times))
    except tf.errors.OpError as error:
        cause = str(error.message).splitlines()[0]
        raise DataError(
            f"{path} is not a shard of a prepared log ({cause}): prepare the log again."
        ) from error
    columns = [np.zeros(0, np.int64)] * (8 if weighted else 7)
    if batches:
        columns = [np.concatenate(column) for column in zip(*batches, strict=True)]
    users, lengths, items, *rest = columns
    return Shard(users, lengths, items.astype(np.int32), *rest)


def feature_spec(*, times: str = "") -> dict[str, object]:
    """Returns the features that `tf.io.parse_example` reads.

    Args:
        times: "int64", "float64", or "" (default) to leave the times out.
    """
    import tensorflow as tf

    ragged = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    one = tf.io.FixedLenFeature([], tf.int64)
    time = {
        "": {},
        "int64": {"time": ragged},
        "float64": {"time": tf.io.FixedLenFeature([], tf.string)},
    }[times]
    return {"user": one, "item": ragged, "train": one, "valid": one, "test": one, **time}


def _columns(parsed: dict, whole_times: bool) -> tuple[np.ndarray, ...]:
    """Returns the arrays of a `Shard`, in the order of its attributes."""
    times, items = parsed["time"], parsed["item"]
    return (
        parsed["user"].numpy(),
        items.row_lengths().numpy(),
        items.flat_values.numpy(),
        times.flat_values.numpy() if whole_times else np.frombuffer(b"".join(times.numpy()), "<f8"),
        *(parsed[name].numpy() for name in ("train", "valid", "test")),
        *([np.frombuffer(b"".join(parsed["weight"].numpy()), "<f4")] if "weight" in parsed else []),
    )
