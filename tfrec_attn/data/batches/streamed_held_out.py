"""Held-out events of a prepared log, read from its shards."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.shard_stream import EventBlock
from tfrec_attn.data.shards.shard_files import feature_spec
from tfrec_attn.data.shards.sharded_split import ShardedSplit


class StreamedHeldOut:
    """The held-out events of `HeldOut`, from shards: in their order, as many users at a time as
    give at most a block.

    Args:
        split: Of a prepared log.
        part: "valid" or "test".
        max_length: L.
        batch_size: Events a block at most.
        repeats: As for `HeldOut`.

    Batches: as `HeldOut`.
    """

    def __init__(
        self, split: ShardedSplit, part: str, *, max_length=5, batch_size=256, repeats="exclude"
    ):
        self.max_length, self.batch_size, self.repeats = max_length, batch_size, repeats
        self._paths, self._part = split.paths, part
        users = split.users_in_shards()
        held = getattr(split.positions, part)[users - 1] >= 0
        self._order = np.argsort(users[held], kind="stable")
        self._users = self._users_a_block(held)
        self._blocks = int(
            np.count_nonzero(
                np.add.reduceat(held.astype(int), np.arange(0, len(held), self._users))
            )
        )

    def __len__(self):
        return len(self._order)

    def repeated(self) -> np.ndarray:
        """Whether each target is in its user's history, bool [U], in the order of the split: one
        pass over the shards.
        """
        blocks = self._dataset(lambda records: self._repeated(*self._held(records)))
        return self.in_split_order(
            np.concatenate([block.numpy() for block in blocks] or [np.zeros(0, bool)])
        )

    def _users_a_block(self, held: np.ndarray) -> int:
        """The most users in a row of which never more than a block's events are held out, or near
        it.
        """
        users = self.batch_size * len(held) // max(1, np.count_nonzero(held))
        while (
            users > self.batch_size
            and np.add.reduceat(held.astype(int), np.arange(0, len(held), users)).max()
            > self.batch_size
        ):
            users = users * 9 // 10
        return max(users, self.batch_size)

    def in_split_order(self, values: np.ndarray) -> np.ndarray:
        """Values of the events in the order of the blocks -> in the order of the split's `valid` or
        `test`.
        """
        return values[self._order]

    def sample(self, count: int) -> list[dict[str, tf.Tensor]]:
        """Blocks of the first so many events; every shard is a sample of the users."""
        blocks = []
        for block in self.dataset():
            blocks.append({name: values[:count] for name, values in block.items()})
            count -= len(blocks[-1]["user"])
            if not count:
                break
        return blocks

    def dataset(self) -> tf.data.Dataset:
        blocks = self._dataset(self._parse).filter(lambda block: tf.size(block["user"]) > 0)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return (
            blocks.apply(tf.data.experimental.assert_cardinality(self._blocks))
            .prefetch(2)
            .with_options(options)
        )

    def _dataset(self, function):
        records = tf.data.TFRecordDataset(self._paths).batch(self._users)
        return records.map(function, num_parallel_calls=2, deterministic=True)

    def _held(self, records):
        """The events of a block of users, and of those held out the row [B] and the place [B] among
        their user's.
        """
        parsed = tf.io.parse_example(records, feature_spec())
        place = parsed[self._part]
        row = tf.where(place >= 0)[:, 0]
        return EventBlock(parsed), row, tf.gather(place, row)

    def _parse(self, records):
        block, row, place = self._held(records)
        longest = tf.reduce_max(tf.concat([place, [0]], axis=0))
        index = tf.zeros_like(place)[:, tf.newaxis] + tf.range(
            longest if self.repeats == "exclude" else tf.zeros_like(longest)
        )
        seen = tf.sort(block.items(row, index, index < place[:, tf.newaxis]), axis=1)
        again = tf.pad(seen[:, 1:] == seen[:, :-1], [[0, 0], [1, 0]])[:, : tf.shape(seen)[1]]
        return {
            "user": tf.gather(block.users, row),
            "history": block.items_before(
                row, place, tf.clip_by_value(longest, 1, self.max_length)
            ),
            "target": block.target(row, place),
            "seen": tf.where(again, 0, seen),
        }

    def _repeated(self, block, row, place):
        index = tf.zeros_like(place)[:, tf.newaxis] + tf.range(
            tf.reduce_max(tf.concat([place, [0]], axis=0))
        )
        before = block.items(row, index, index < place[:, tf.newaxis])
        return tf.reduce_any(before == block.target(row, place)[:, tf.newaxis], axis=1)
