"""The training batches of `Windows`, `NextItems` and `MaskedItems`, from the shards."""

from abc import abstractmethod
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.masked_items import masked_positions
from tfrec_attn.data.batches.next_items import require_enough_items
from tfrec_attn.data.batches.shard_stream import NEGATIVES, SHARED_NEGATIVES, ShardStream
from tfrec_attn.data.batches.shared_negatives import SharedNegatives
from tfrec_attn.data.batches.stream import NOTHING_TO_LEARN
from tfrec_attn.data.batches.windows import window_counts
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.errors import DataError

_MOST_SEQUENCES = 1024  # in a block


class StreamedWindows(ShardStream):
    """The batches of `Windows`, from the shards of a prepared log.

    The arguments are those of `Windows` without `gaps`, with the split of a prepared log.
    """

    def __init__(
        self,
        split: ShardedSplit,
        *,
        max_length: int = 5,
        targets: int = 3,
        negatives: int = 1,
        shared: bool = False,
        batch_size: int = 512,
        seed: int = 1,
        window: str = "full",
    ):
        if not (split.positions.train >= 2).any():
            raise DataError(NOTHING_TO_LEARN)
        counts, _ = window_counts(split.positions.train, max_length, targets, window)
        super().__init__(split, counts, max_length, batch_size, seed)
        self.targets, self.window = targets, window
        self.negatives = (1 if shared else targets, negatives)

    def _examples(self, block, number):
        count, first = window_counts(block.train, self.max_length, self.targets, self.window)
        row = tf.repeat(tf.range(tf.size(count, tf.int64)), count)
        begin = tf.repeat(tf.cumsum(count, exclusive=True), count)
        within = tf.range(tf.size(row, tf.int64)) - begin
        order = tf.random.experimental.stateless_shuffle(
            tf.range(tf.size(row)), self._seed_of(number)
        )
        position = tf.gather(tf.gather(first, row) + within, order)
        row = tf.gather(row, order)
        after = position[:, tf.newaxis] + tf.range(self.targets, dtype=tf.int64)
        return {
            "user": tf.gather(block.users, row),
            "history": block.items_before(row, position, self.max_length),
            "targets": block.items(row, after, after < tf.gather(block.train, row)[:, tf.newaxis]),
            "negatives": block.untouched(
                row, self.negatives, self.num_items, self._seed_of(number, NEGATIVES)
            ),
        }


class StreamedSequences(ShardStream):
    """A training sequence for each user, from the shards of a prepared log.

    The arguments are those of `SequenceStream`, with the split of a prepared log. Under a
    distribution strategy, "normalizer" assumes that all parts of a batch have the same number of
    targets.

    Attributes:
        log_q: Log of the probability of each item as a shared negative, float32 [N].
    """

    def __init__(
        self,
        split: ShardedSplit,
        *,
        max_length: int = 50,
        negatives: int = 0,
        shared: bool = False,
        popularity: float = 0.0,
        batch_size: int = 256,
        seed: int = 1,
    ):
        counts = (split.positions.train >= 2).astype(np.int64)
        super().__init__(split, counts, max_length, batch_size, seed)
        require_enough_items(negatives, self.num_items)
        self._users = min(self._users, _MOST_SEQUENCES)
        self._sample_shared = SharedNegatives(split.prepared.item_counts(), popularity)
        self.log_q = self._sample_shared.log_q
        self._negatives, self._shared = negatives, shared

    def _examples(self, block, number):
        row = tf.where(block.train >= 2)[:, 0]
        last = tf.gather(block.train, row) - 1
        index = last[:, tf.newaxis] + tf.range(1 - self.max_length, 1, dtype=tf.int64)
        sequences = self._sequences(block, row, last, index, self._seed_of(number))
        batch = {"user": tf.gather(block.users, row), **sequences}
        if self._negatives and not self._shared:
            shape = self.max_length, self._negatives
            seed = self._seed_of(number, NEGATIVES)
            batch["negatives"] = block.untouched(row, shape, self.num_items, seed)
        return batch

    @abstractmethod
    def _sequences(self, block, row, last, index, seed) -> dict[str, tf.Tensor]:
        """Returns the histories and targets of users whose last training event is at `last`."""

    def _complete(self, step, parts, batch):
        batch = super()._complete(step, parts, batch)
        targets = tf.reduce_sum(tf.cast(batch["targets"] > 0, tf.float32)) * float(parts)
        batch["normalizer"] = tf.fill([self.batch_size // parts], 1.0 / targets)
        if self._negatives and self._shared:
            shape = [self.batch_size, -(-self._negatives // self.batch_size)]
            seed = self._seed_of(step // parts, SHARED_NEGATIVES)
            batch["negatives"] = self._sample_shared(shape, seed)
        return batch


class StreamedNextItems(StreamedSequences):
    """The batches of `NextItems`, from the shards of a prepared log."""

    def _sequences(self, block, row, last, index, seed):
        history = block.items_before(row, last, self.max_length)
        return {"history": history, "targets": block.items(row, index, history > 0)}


class StreamedMaskedItems(StreamedSequences):
    """The batches of `MaskedItems`, from the shards of a prepared log.

    The arguments are those of `MaskedItems`, with the split of a prepared log.
    """

    def __init__(
        self,
        split: ShardedSplit,
        *,
        mask_share: float = 0.2,
        last_share: float = 0.1,
        **options: Any,
    ):
        super().__init__(split, **options)
        self._mask_share, self._last_share = mask_share, last_share

    def _sequences(self, block, row, last, index, seed):
        items = block.items(row, index, index >= 0)
        real = tf.ensure_shape(items, [None, self.max_length]) > 0
        masked = masked_positions(real, seed, self._mask_share, self._last_share)
        return {
            "history": tf.where(masked, self.num_items + 1, items),
            "targets": tf.where(masked, items, 0),
        }
