"""Training examples as an endless, reproducible stream of batches, gathered inside the graph.

All events are in one flat array, ordered by user and time. An example is a position in this array.
Histories, targets and negatives are gathered for a whole batch at once, so examples take no further
memory and no Python code runs for each example.
"""

from abc import ABC, abstractmethod

import numpy as np
import tensorflow as tf
from tensorflow.autograph.experimental import do_not_convert

from tfrec_attn.data.sequences.splits import Split

NOTHING_TO_LEARN = (
    "No user has two training events, so there is nothing to learn from: give a longer log."
)


def without_auto_shard(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset that a distribution strategy does not shard."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)


class BatchStream(ABC):
    """Training examples as an endless, reproducible stream of batches.

    Args:
        count: Number of examples.
        max_length: L.
        batch_size: B.
        seed: Seed of the order and of the samples.
    """

    def __init__(self, count: int, max_length: int, batch_size: int, seed: int):
        self.max_length = max_length
        self.batch_size = batch_size
        self.seed = seed
        self._count = count

    def __len__(self):
        return self._count

    @property
    def steps_per_epoch(self) -> int:
        return -(-self._count // self.batch_size)

    def _seed_of(self, number: tf.Tensor, use: int = 0) -> tf.Tensor:
        """Returns the stateless seed, int64 [2], of one draw for a batch, a block or a pass.

        Args:
            number: Number of the batch, block or pass, int64 [].
            use: Index of the draw among all draws for this number. Draws with the same seed would
                depend on each other. Default 0.
        """
        seed = tf.stack([tf.constant(self.seed, tf.int64), number])
        if use == 0:
            return seed
        return tf.random.experimental.stateless_fold_in(seed, tf.constant(use, tf.int64))

    @abstractmethod
    def dataset(
        self, first_step: int = 0, pipeline: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """Returns the stream from a step on; pass `steps_per_epoch` to `fit`.

        Args:
            first_step: Step of the first batch. Default 0.
            pipeline: Input pipeline of a distribution strategy. The dataset then has the parts of
                each batch for the replicas of this pipeline, one after the other. None (default):
                the dataset has whole batches.
        """


class ArrayStream(BatchStream):
    """A stream of examples that are positions in the flat arrays of a split.

    Every pass visits each example once, in an order that is a function of (seed, pass). With the
    passes concatenated, batch s has the examples s * B to (s + 1) * B - 1. All batches therefore
    have the same shape, and the batch of a step depends only on the number of the step.

    Args:
        split: Events and their training prefix.
        positions: Flat position of each example.
        max_length: L.
        batch_size: B.
        seed: Seed of the order and of the samples.
    """

    def __init__(
        self, split: Split, positions: np.ndarray, max_length: int, batch_size: int, seed: int
    ):
        super().__init__(len(positions), max_length, batch_size, seed)
        self._positions = tf.constant(positions, tf.int64)
        self._events = FlatEvents(split)

    def dataset(
        self, first_step: int = 0, pipeline: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        parts = pipeline.num_replicas_in_sync if pipeline else 1
        own = parts // pipeline.num_input_pipelines if pipeline else 1
        first = pipeline.input_pipeline_id * own if pipeline else 0

        @do_not_convert
        def part_of_batch(number):
            return self.batch(number // own, first + tf.cast(number % own, tf.int32), parts)

        # Unlike a counter, a range traces no function. Repeated, its cardinality is infinite.
        dataset = tf.data.Dataset.range(first_step * own, tf.int64.max).repeat()
        dataset = dataset.map(part_of_batch, num_parallel_calls=2, deterministic=True)
        return without_auto_shard(dataset.prefetch(4))

    def batch(self, step: tf.Tensor, part: int = 0, parts: int = 1) -> dict[str, tf.Tensor]:
        """Returns the batch of a step, int64 [], or the part of it with the index `part`."""
        number = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        epoch, index = number // self._count, number % self._count
        seed = tf.fill([self.batch_size], tf.constant(self.seed, tf.int64))
        # A batch can span two passes, so each index needs its own seed. The public
        # tf.random.experimental.index_shuffle refuses that.
        example = tf.raw_ops.RandomIndexShuffle(
            index=index,
            seed=tf.stack([seed, epoch, tf.zeros_like(epoch)], axis=1),
            max_index=self._count - 1,
            rounds=4,
        )
        position = tf.gather(self._positions, example)
        rows = self.batch_size // parts
        own = tf.reshape(position, [parts, rows])[part]
        return self._gather(own, step, part, parts, whole=position)

    @abstractmethod
    def _gather(self, position, step, part, parts, whole) -> dict[str, tf.Tensor]:
        """Returns the examples at `position`, which are a part of the batch at `whole`."""

    def _weights(self, position, whole) -> dict[str, tf.Tensor]:
        """Returns the weights of the targets, and one over their sum in the whole batch.

        A subclass that uses this method defines `_sample_weight(position)`.
        """
        normalizer = 1.0 / tf.reduce_sum(self._sample_weight(whole))
        return {
            "sample_weight": self._sample_weight(position),
            "normalizer": tf.fill(position.shape, normalizer),
        }


class FlatEvents:
    """Vectorised lookups in the flat arrays of a split."""

    def __init__(self, split: Split):
        sequences = split.sequences
        self._items = tf.constant(sequences.items, tf.int32)
        self._users = tf.constant(sequences.users(), tf.int32)
        self._start = tf.constant(sequences.offsets[:-1], tf.int64)
        self.weighted = sequences.weights is not None
        self._weights = tf.constant(sequences.weights, tf.float32) if self.weighted else None

    def users(self, position):
        """Returns the user of the event at each position."""
        return tf.gather(self._users, position)

    def start_at(self, position):
        """Returns the position of the first event of the user of each position."""
        return tf.gather(self._start, self.users(position) - 1)

    def weights(self, index, where):
        """Returns the weights of the events at flat positions; 0 where `where` is False."""
        return tf.where(where, tf.gather(self._weights, tf.where(where, index, 0)), 0.0)

    def items(self, index, where=None, only=None):
        """Returns the items at flat positions; 0 where `where` or `only[index]` is False."""
        if where is None:
            return tf.gather(self._items, index)
        index = tf.where(where, index, 0)
        if only is not None:
            where &= tf.gather(only, index)
        return tf.where(where, tf.gather(self._items, index), 0)

    def before(self, position, length):
        """Returns the users [B] and the `length` items before each position.

        The items [B, length] are padded on the left.
        """
        user = self.users(position)
        index = position[:, tf.newaxis] + tf.range(-tf.cast(length, tf.int64), 0)
        return user, self.items(index, index >= self.start_at(position)[:, tf.newaxis])
