"""Training batches of a prepared log whose shards are read in every epoch.

Batches have the same keys, shapes and distribution as those of events in memory. The stream reads a
block of users, gathers all their examples inside the graph, shuffles them and cuts them into
batches; only a few blocks are in memory at a time. Each pass has its own order of the shards, of
the users within a buffer, and of the examples within a block. The order is a function of (seed,
pass). To reach a step, the stream makes all earlier batches of the pass.
"""

from abc import abstractmethod

import numpy as np
import tensorflow as tf
from tensorflow.autograph.experimental import do_not_convert

from tfrec_attn.data.batches.negative_sampler import nonnegative_draws
from tfrec_attn.data.batches.stream import NOTHING_TO_LEARN, BatchStream, without_auto_shard
from tfrec_attn.data.shards.shard_files import feature_spec
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.errors import DataError

_BLOCK = 1 << 17  # examples
_MOST_USERS = 1 << 13
_BUFFER = 1 << 15  # users
_READERS = 8
_PASS = 1 << 32  # blocks
# `use` of the seeds of these draws. The order or the masks of the examples of a block have use 0.
NEGATIVES, SHARED_NEGATIVES, RECORDS, FILES = range(1, 5)


class ShardStream(BatchStream):
    """Training examples from the shards, pass after pass.

    Args:
        split: The split of a prepared log.
        counts: Number of examples of each user.
        max_length: L.
        batch_size: B.
        seed: Seed of the order and of the samples.

    Raises:
        DataError: If there are no examples.
    """

    def __init__(
        self, split: ShardedSplit, counts: np.ndarray, max_length: int, batch_size: int, seed: int
    ):
        if not counts.any():
            raise DataError(NOTHING_TO_LEARN)
        super().__init__(int(counts.sum()), max_length, batch_size, seed)
        self.num_items = split.sequences.num_items
        self._paths = split.paths
        self._users = int(np.clip(_BLOCK // max(1, counts.mean()), 1, _MOST_USERS))

    def dataset(
        self, first_step: int = 0, pipeline: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        parts, pipelines, number = 1, 1, 0
        if pipeline:
            parts, pipelines = pipeline.num_replicas_in_sync, pipeline.num_input_pipelines
            number = pipeline.input_pipeline_id
        begin, skipped = divmod(first_step, self.steps_per_epoch)
        passes = tf.data.Dataset.counter(begin, dtype=tf.int64)
        blocks = passes.flat_map(do_not_convert(lambda epoch: self._pass(epoch, number, pipelines)))
        batches = blocks.map(
            do_not_convert(self._parse), num_parallel_calls=2, deterministic=True
        ).rebatch(self.batch_size // parts, drop_remainder=False)
        batches = batches.skip(skipped * parts // pipelines)
        steps = batches.enumerate(first_step * parts // pipelines)
        dataset = steps.map(
            do_not_convert(
                lambda step, batch: self._complete(step * pipelines + number, parts, batch)
            )
        )
        return without_auto_shard(dataset.prefetch(4))

    def _pass(self, epoch, number, pipelines):
        """Returns the numbered blocks of records of one pass through the shards."""
        files = tf.data.Dataset.from_tensor_slices(
            _shuffled(self._paths, self._seed_of(epoch, FILES))
        )
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

        # Two pipelines have no number in common, so they draw different negatives.
        def number_of(index):
            return epoch * _PASS + index * pipelines + number

        # Dataset.shuffle fails for a seed that is a tensor if the global seed is 0.
        @do_not_convert
        def in_any_order(index, values):
            return _shuffled(values, self._seed_of(number_of(index), RECORDS))

        blocks = records.batch(_BUFFER).enumerate().map(in_any_order).rebatch(self._users)
        return blocks.enumerate().map(
            do_not_convert(lambda index, values: (number_of(index), values))
        )

    def _parse(self, number, records):
        parsed = tf.io.parse_example(records, feature_spec())
        return self._examples(EventBlock(parsed), number)

    @abstractmethod
    def _examples(self, block, number) -> dict[str, tf.Tensor]:
        """Returns the examples of a block of users, which has a number of its own."""

    def _complete(self, step, parts, batch):
        """Sets the static shapes of a batch; a subclass adds what depends on the whole batch."""
        rows = self.batch_size // parts
        return {
            name: tf.ensure_shape(values, [rows, *values.shape[1:]])
            for name, values in batch.items()
        }


def _shuffled(values, seed):
    return tf.random.experimental.stateless_shuffle(tf.convert_to_tensor(values), seed)


class EventBlock:
    """Vectorised lookups in the events of a block of users."""

    def __init__(self, parsed: dict):
        self.users = tf.cast(parsed["user"], tf.int32)
        self.train = parsed["train"]
        self._items = tf.cast(parsed["item"].flat_values, tf.int32)
        self._start = parsed["item"].row_starts()

    def items(self, row, position, where):
        """Returns the items at positions [R, W] among the events of the users in rows [R].

        An item is 0 where `where` is False.
        """
        index = tf.where(where, tf.gather(self._start, row)[:, tf.newaxis] + position, 0)
        return tf.where(where, tf.gather(self._items, index), 0)

    def target(self, row, position):
        """Returns the item at one position [R] of the users in rows [R]."""
        return self.items(row, position[:, tf.newaxis], True)[:, 0]

    def items_before(self, row, position, length):
        """Returns the `length` items before a position, padded on the left [R, length]."""
        index = position[:, tf.newaxis] + tf.range(-tf.cast(length, tf.int64), 0)
        return self.items(row, index, index >= 0)

    def untouched(self, row, shape, num_items, seed):
        """Draws items [R, *shape] without a training event of the user in each row.

        The method is that of `NegativeSampler`, on the sorted items of the block.
        """
        base = num_items + 1
        keys = self._training_keys(base)
        owner, item = keys // base, keys % base
        owners = tf.range(tf.size(self.train, tf.int64) + 1)
        first = tf.searchsorted(owner, owners, out_type=tf.int64)
        rank_of_key = tf.range(tf.size(keys, tf.int64)) - tf.gather(first, owner)
        before = owner * base + item - 1 - rank_of_key
        row = tf.broadcast_to(tf.reshape(row, [-1, *[1] * len(shape)]), [tf.size(row), *shape])
        free = num_items - tf.gather(first[1:] - first[:-1], row)
        rank = nonnegative_draws(tf.shape(row), seed) % tf.where(free > 0, free, num_items)
        query = tf.reshape(row * base + rank, [-1])
        found = tf.searchsorted(before, query, side="right", out_type=tf.int64)
        skipped = tf.reshape(found, tf.shape(row)) - tf.gather(first, row)
        return tf.cast(rank + 1 + tf.where(free > 0, skipped, 0), tf.int32)

    def _training_keys(self, base):
        """Returns row * base + item of the distinct training items of the users, ascending."""
        trained = tf.RaggedTensor.from_row_lengths(
            tf.range(tf.reduce_sum(self.train)), self.train, validate=False
        )
        owner = trained.value_rowids()
        index = tf.gather(self._start - trained.row_starts(), owner) + trained.flat_values
        keys = tf.sort(owner * base + tf.cast(tf.gather(self._items, index), tf.int64))
        is_new = tf.concat([[True], keys[1:] != keys[:-1]], axis=0)[: tf.size(keys)]
        return tf.boolean_mask(keys, is_new)
