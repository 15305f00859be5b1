"""The blocks of `HeldOut`, from the shards."""

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf
from tensorflow.autograph.experimental import do_not_convert

from tfrec_attn.data.batches.shard_stream import EventBlock
from tfrec_attn.data.shards.shard_files import feature_spec
from tfrec_attn.data.shards.sharded_split import ShardedSplit


class StreamedHeldOut:
    """The held-out events of a prepared log, in the order of its shards, in blocks for ranking.

    Blocks have the keys of `HeldOut`. All blocks cover the same number of users, which is chosen so
    that a block has at most `batch_size` events if possible.

    The arguments are those of `HeldOut` without `gaps`, with the split of a prepared log.
    """

    def __init__(
        self,
        split: ShardedSplit,
        part: str,
        *,
        max_length: int | None = None,
        batch_size: int = 256,
        repeats: str = "exclude",
    ):
        self.max_length = max_length or int(split.sequences.lengths.max())
        self.batch_size, self.repeats = batch_size, repeats
        self._paths, self._part = split.paths, part
        users = split.users_in_shards()
        held = getattr(split.positions, part)[users - 1] >= 0
        self._order = np.argsort(users[held], kind="stable")
        self._users = self._users_of_a_block(held)
        self._blocks = int(np.count_nonzero(_sums(held, self._users)))

    def __len__(self):
        return len(self._order)

    def repeated(self) -> np.ndarray:
        """Returns whether each target is in its history, bool [U], in the order of the split.

        The method reads all shards.
        """
        blocks = self._dataset(lambda records: self._repeated(*self._held(records)))
        repeated = [block.numpy() for block in blocks] or [np.zeros(0, bool)]
        return self.in_split_order(np.concatenate(repeated))

    def in_split_order(self, values: np.ndarray) -> np.ndarray:
        """Returns values of the events, given in the order of the blocks, in that of the split."""
        return values[self._order]

    def sample(self, count: int) -> list[dict[str, tf.Tensor]]:
        """Returns blocks with the first `count` events; each shard is a sample of the users."""
        blocks = []
        for block in self.dataset():
            blocks.append({name: values[:count] for name, values in block.items()})
            count -= len(blocks[-1]["user"])
            if not count:
                break
        return blocks

    def blocks(self) -> Iterable[dict[str, tf.Tensor]]:
        """Returns the blocks of `dataset`."""
        return self.dataset()

    def dataset(self) -> tf.data.Dataset:
        """Returns all blocks."""
        has_users = do_not_convert(lambda block: tf.size(block["user"]) > 0)
        blocks = self._dataset(self._parse).filter(has_users)
        blocks = blocks.apply(tf.data.experimental.assert_cardinality(self._blocks)).prefetch(2)
        options = tf.data.Options()
        policy = tf.data.experimental.AutoShardPolicy.DATA
        options.experimental_distribute.auto_shard_policy = policy
        return blocks.with_options(options)

    def _users_of_a_block(self, held: np.ndarray) -> int:
        """Returns the number of users per block; `held` says which users have a held-out event."""
        users = self.batch_size * len(held) // max(1, np.count_nonzero(held))
        while users > self.batch_size and _sums(held, users).max() > self.batch_size:
            users = users * 9 // 10
        return max(users, self.batch_size)

    def _dataset(self, function: Callable) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(self._paths).batch(self._users)
        return records.map(do_not_convert(function), num_parallel_calls=2, deterministic=True)

    def _held(self, records):
        """Returns a block of users, and the rows [B] and positions [B] of its held-out events."""
        parsed = tf.io.parse_example(records, feature_spec())
        position = parsed[self._part]
        row = tf.where(position >= 0)[:, 0]
        return EventBlock(parsed), row, tf.gather(position, row)

    def _parse(self, records):
        block, row, position = self._held(records)
        longest = _longest(position)
        width = longest if self.repeats == "exclude" else tf.zeros_like(longest)
        seen = tf.sort(_items_before(block, row, position, width), axis=1)
        again = tf.pad(seen[:, 1:] == seen[:, :-1], [[0, 0], [1, 0]])[:, : tf.shape(seen)[1]]
        length = tf.clip_by_value(longest, 1, self.max_length)
        return {
            "user": tf.gather(block.users, row),
            "history": block.items_before(row, position, length),
            "target": block.target(row, position),
            "seen": tf.where(again, 0, seen),
        }

    def _repeated(self, block, row, position):
        before = _items_before(block, row, position, _longest(position))
        return tf.reduce_any(before == block.target(row, position)[:, tf.newaxis], axis=1)


def _sums(held: np.ndarray, users: int) -> np.ndarray:
    """Returns the number of held-out events of each block of users."""
    return np.add.reduceat(held.astype(int), np.arange(0, len(held), users))


def _longest(position):
    """Returns the length of the longest history; 0 if there is none."""
    return tf.reduce_max(tf.concat([position, [0]], axis=0))


def _items_before(block, row, position, width):
    """Returns the first `width` items of histories, padded on the right [B, width]."""
    index = tf.zeros_like(position)[:, tf.newaxis] + tf.range(width)
    return block.items(row, index, index < position[:, tf.newaxis])
