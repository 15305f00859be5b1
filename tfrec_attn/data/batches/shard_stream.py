"""x"""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.stream import NOTHING_TO_LEARN, BatchStream
from tfrec_attn.data.shards.shard_files import feature_spec
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.errors import DataError

_BLOCK = 1 << 17  # examples


_MOST_USERS = 1 << 13


_BUFFER = 1 << 15  # users


_READERS = 8


_PASS = 1 << 32  # blocks


class ShardStream(BatchStream):
    """Training examples from the shards, pass after pass.

    A subclass says in `_examples` what the examples of a block are, and in `_complete` what a batch
    needs beside them.
    """

    def __init__(
        self, split: ShardedSplit, counts: np.ndarray, max_length: int, batch_size: int, seed: int
    ):
        if not counts.any():
            raise DataError(NOTHING_TO_LEARN)
        self.max_length, self.batch_size, self.seed = max_length, batch_size, seed
        self.num_items = split.sequences.num_items
        self._count = int(counts.sum())
        self._paths = split.paths
        self._users = int(np.clip(_BLOCK // max(1, counts.mean()), 1, _MOST_USERS))

    def dataset(
        self, first_step: int = 0, pipeline: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """The stream from one step on; give `fit` its `steps_per_epoch`.

        Args:
          first_step: of the first batch.
          pipeline: one of several that feed the replicas of a strategy: it reads its own users, and
            gives each of its replicas a part of the batch in turn.
        """
        parts, pipelines = (
            (pipeline.num_replicas_in_sync, pipeline.num_input_pipelines) if pipeline else (1, 1)
        )
        number = pipeline.input_pipeline_id if pipeline else 0
        begin, skipped = divmod(first_step, self.steps_per_epoch)
        passes = tf.data.Dataset.counter(begin, dtype=tf.int64)
        blocks = passes.flat_map(lambda epoch: self._pass(epoch, number, pipelines))
        batches = blocks.map(self._parse, num_parallel_calls=2, deterministic=True).rebatch(
            self.batch_size // parts, drop_remainder=False
        )
        steps = batches.skip(skipped * parts // pipelines).enumerate(
            first_step * parts // pipelines
        )
        dataset = steps.map(
            lambda step, batch: self._complete(step * pipelines + number, parts, batch)
        ).prefetch(4)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return dataset.with_options(options)

    def _pass(self, epoch, number, pipelines):
        """Blocks of records with the number of each, once through the shards."""
        paths = tf.random.experimental.stateless_shuffle(
            tf.constant(self._paths), tf.stack([tf.constant(self.seed, tf.int64), epoch])
        )
        files = tf.data.Dataset.from_tensor_slices(paths)
        enough = len(self._paths) >= pipelines
        files = files.shard(pipelines, number) if enough else files
        records = files.interleave(
            tf.data.TFRecordDataset,
            _READERS,
            block_length=16,
            num_parallel_calls=2,
            deterministic=True,
        )
        records = records if enough else records.shard(pipelines, number)
        # Not shuffle: with a seed that is a tensor it fails where the global seed is 0.
        buffers = records.batch(_BUFFER).enumerate(epoch * _PASS)
        return buffers.map(self._shuffled).rebatch(self._users).enumerate(epoch * _PASS)

    def _shuffled(self, number, records):
        return tf.random.experimental.stateless_shuffle(
            records, tf.stack([tf.constant(self.seed, tf.int64), number])
        )

    def _parse(self, block, records):
        parsed = tf.io.parse_example(records, feature_spec())
        return self._examples(EventBlock(parsed), tf.stack([tf.constant(self.seed, tf.int64), block]))


class EventBlock:
    """Vectorised look-ups in the events of some users."""

    def __init__(self, parsed):
        self.users = tf.cast(parsed["user"], tf.int32)
        self.train = parsed["train"]
        self._items = tf.cast(parsed["item"].flat_values, tf.int32)
        self._start = parsed["item"].row_starts()

    def items(self, row, place, where):
        """Items at places [R, W] among the events of the users in rows [R]; 0 where not `where`."""
        index = tf.where(where, tf.gather(self._start, row)[:, tf.newaxis] + place, 0)
        return tf.where(where, tf.gather(self._items, index), 0)

    def target(self, row, place):
        """The item at one place [R] of the users in rows [R]."""
        return self.items(row, place[:, tf.newaxis], True)[:, 0]

    def items_before(self, row, place, length):
        """The `length` items before a place, padded on the left [R, length]."""
        index = place[:, tf.newaxis] + tf.range(-tf.cast(length, tf.int64), 0)
        return self.items(row, index, index >= 0)

    def untouched(self, row, shape, num_items, seed):
        """Items [R, *shape] that the users have not touched in training: as `NegativeSampler`, with
        the sorted items of the block.
        """
        base = num_items + 1
        trained = tf.RaggedTensor.from_row_lengths(
            tf.range(tf.reduce_sum(self.train)), self.train, validate=False
        )
        owner = trained.value_rowids()
        index = tf.gather(self._start - trained.row_starts(), owner) + trained.flat_values
        keys = tf.sort(owner * base + tf.cast(tf.gather(self._items, index), tf.int64))
        keys = tf.boolean_mask(
            keys, tf.concat([[True], keys[1:] != keys[:-1]], axis=0)[: tf.size(keys)]
        )
        owner, item = keys // base, keys % base
        first = tf.searchsorted(
            owner, tf.range(tf.size(self.train, tf.int64) + 1), out_type=tf.int64
        )
        before = (
            owner * base + item - 1 - (tf.range(tf.size(keys, tf.int64)) - tf.gather(first, owner))
        )
        row = tf.broadcast_to(tf.reshape(row, [-1, *[1] * len(shape)]), [tf.size(row), *shape])
        free = num_items - tf.gather(first[1:] - first[:-1], row)
        draws = (
            tf.random.stateless_uniform(
                tf.shape(row), seed, maxval=None, minval=None, dtype=tf.int64
            )
            & tf.int64.max
        )
        rank = draws % tf.where(free > 0, free, num_items)
        found = tf.reshape(
            tf.searchsorted(
                before, tf.reshape(row * base + rank, [-1]), side="right", out_type=tf.int64
            ),
            tf.shape(row),
        )
        return tf.cast(rank + 1 + tf.where(free > 0, found - tf.gather(first, row), 0), tf.int32)
