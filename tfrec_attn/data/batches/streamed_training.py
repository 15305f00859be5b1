"""Batches of a prepared log that is read from its shards in every epoch: the same keys, shapes and
distribution as `batches` makes.

A block of users is read, all of their examples are gathered at once inside the graph, shuffled, and
cut into batches; only a few blocks are in memory at a time. The order of the shards, of the users
within a buffer, and of the examples within a block is drawn anew in each pass; it is a function of
(seed, pass), but a later step is reached only by going through the steps of its pass.
"""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.masked_items import masked_positions
from tfrec_attn.data.batches.shard_stream import ShardStream
from tfrec_attn.data.batches.stream import NOTHING_TO_LEARN
from tfrec_attn.data.batches.windows import window_counts
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.errors import ConfigError, DataError


class StreamedWindows(ShardStream):
    """The windows of `Windows`, from shards.

    Args:
      split: of a prepared log.
      max_length: L.
      targets: T.
      negatives: K negatives for each positive.
      shared: one set of K negatives for all positives of a window, instead of K for each.
      batch_size: B.
      seed: of order and negatives.
      window: as for `Windows`.

    Batches: as `Windows`.
    """

    def __init__(
        self,
        split: ShardedSplit,
        *,
        max_length=5,
        targets=3,
        negatives=1,
        shared=False,
        batch_size=512,
        seed=1,
        window="full",
    ):
        counts, _ = window_counts(split.positions.train, max_length, targets, window)
        if not (split.positions.train >= 2).any():
            raise DataError(NOTHING_TO_LEARN)
        super().__init__(split, counts, max_length, batch_size, seed)
        self.targets, self.window = targets, window
        self.negatives = (1 if shared else targets, negatives)

    def _examples(self, block, seed):
        count, first = window_counts(block.train, self.max_length, self.targets, self.window)
        row = tf.repeat(tf.range(tf.size(count, tf.int64)), count)
        within = tf.range(tf.size(row, tf.int64)) - tf.repeat(
            tf.cumsum(count, exclusive=True), count
        )
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.size(row)), seed)
        row, place = tf.gather(row, order), tf.gather(tf.gather(first, row) + within, order)
        after = place[:, tf.newaxis] + tf.range(self.targets, dtype=tf.int64)
        return {
            "user": tf.gather(block.users, row),
            "history": block.items_before(row, place, self.max_length),
            "targets": block.items(row, after, after < tf.gather(block.train, row)[:, tf.newaxis]),
            "negatives": block.untouched(row, self.negatives, self.num_items, seed),
        }

    def _complete(self, step, parts, batch):
        rows = self.batch_size // parts
        return {
            name: tf.ensure_shape(values, [rows, *values.shape[1:]])
            for name, values in batch.items()
        }


class StreamedSequences(ShardStream):
    """Training sequences with a target at some or all of their positions, from shards.

    A subclass makes inputs and targets in `_sequences`.
    """

    def __init__(
        self, split: ShardedSplit, max_length, negatives, shared, popular, batch_size, seed
    ):
        super().__init__(
            split, (split.positions.train >= 2).astype(np.int64), max_length, batch_size, seed
        )
        if negatives > self.num_items:
            raise ConfigError(
                f"negatives must be at most the number of items, {self.num_items}, but is {negatives}."
            )
        self._users = min(self._users, 1024)
        counts = split.prepared.item_counts()
        drawn = counts if popular else np.ones_like(counts)
        with np.errstate(divide="ignore"):
            self.log_q = np.log(drawn / drawn.sum()).astype(np.float32)
        self._ends = tf.constant(np.cumsum(drawn), tf.int64)
        self._negatives, self._shared = negatives, shared

    def _examples(self, block, seed):
        row = tf.where(block.train >= 2)[:, 0]
        last = tf.gather(block.train, row) - 1
        index = last[:, tf.newaxis] + tf.range(1 - self.max_length, 1, dtype=tf.int64)
        batch = {
            "user": tf.gather(block.users, row),
            **self._sequences(block, row, last, index, seed),
        }
        if self._negatives and not self._shared:
            batch["negatives"] = block.untouched(
                row, (self.max_length, self._negatives), self.num_items, seed
            )
        return batch

    def _complete(self, step, parts, batch):
        rows = self.batch_size // parts
        batch = {
            name: tf.ensure_shape(values, [rows, *values.shape[1:]])
            for name, values in batch.items()
        }
        targets = tf.reduce_sum(tf.cast(batch["targets"] > 0, tf.float32)) * float(parts)
        batch["normalizer"] = tf.fill([rows], 1.0 / targets)
        if self._negatives and self._shared:
            seed = tf.stack([tf.constant(self.seed, tf.int64), step // parts])
            shape = [self.batch_size, -(-self._negatives // self.batch_size)]
            drawn = tf.random.stateless_uniform(
                [shape[0] * shape[1]], seed, maxval=self._ends[-1], dtype=tf.int64
            )
            batch["negatives"] = tf.reshape(
                tf.searchsorted(self._ends, drawn, side="right") + 1, shape
            )
        return batch


class StreamedNextItems(StreamedSequences):
    """The sequences of `NextItems`, from shards.

    Args:
      split: of a prepared log.
      max_length: L.
      negatives: sampled items; 0 for none.
      shared: as for `NextItems`.
      popular: as for `NextItems`.
      batch_size: B, users.
      seed: of order and negatives.

    Batches: as `NextItems`; under a strategy `normalizer` takes the other parts of a batch for as
    long as its own.
    """

    def __init__(
        self,
        split: ShardedSplit,
        *,
        max_length=50,
        negatives=0,
        shared=False,
        popular=False,
        batch_size=256,
        seed=1,
    ):
        super().__init__(split, max_length, negatives, shared, popular, batch_size, seed)

    def _sequences(self, block, row, last, index, seed):
        history = block.items_before(row, last, self.max_length)
        return {"history": history, "targets": block.items(row, index, history > 0)}


class StreamedMaskedItems(StreamedSequences):
    """The sequences of `MaskedItems`, from shards.

    Args:
        split: Of a prepared log.
        max_length: L.
        mask_share: As for `MaskedItems`, and so are `last_share`, `negatives`, `shared`, `popular`,
            `batch_size` and `seed`.

    Batches: as `MaskedItems`; under a strategy `normalizer` is that of a batch whose parts all have
    as many targets as this one.

    Raises:
        DataError, ConfigError: As `MaskedItems`.
    """

    def __init__(
        self,
        split: ShardedSplit,
        *,
        max_length=50,
        mask_share=0.2,
        last_share=0.1,
        negatives=0,
        shared=False,
        popular=False,
        batch_size=256,
        seed=1,
    ):
        super().__init__(split, max_length, negatives, shared, popular, batch_size, seed)
        self._mask_share, self._last_share = mask_share, last_share

    def _sequences(self, block, row, last, index, seed):
        items = block.items(row, index, index >= 0)
        masked = masked_positions(
            tf.ensure_shape(items, [None, self.max_length]) > 0,
            seed,
            self._mask_share,
            self._last_share,
        )
        return {
            "history": tf.where(masked, self.num_items + 1, items),
            "targets": tf.where(masked, items, 0),
        }




