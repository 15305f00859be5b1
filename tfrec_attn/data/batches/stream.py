"""Training examples as an endless, reproducible stream of batches."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.splits import Split

NOTHING_TO_LEARN = (
    "No user has two training events, so there is nothing to learn from: give a longer log."
)


class BatchStream:
    """Training examples as an endless, reproducible stream of batches.

    Every pass visits each example once, in an order that is a function of (seed, pass); batch s
    holds the examples number s * B to (s + 1) * B - 1 of the passes in a row, so all batches have
    one shape and any step can be made again from its number alone.
    """

    def __init__(
        self, split: Split, positions: np.ndarray, max_length: int, batch_size: int, seed: int
    ):
        self.max_length = max_length
        self.batch_size = batch_size
        self.seed = seed
        self._count = len(positions)
        self._positions = tf.constant(positions, tf.int64)
        self._events = FlatEvents(split)

    def __len__(self):
        return self._count

    @property
    def steps_per_epoch(self) -> int:
        return -(-self._count // self.batch_size)

    def dataset(
        self, first_step: int = 0, pipeline: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """The stream from one step on; give `fit` its `steps_per_epoch`.

        Args:
          first_step: of the first batch.
          pipeline: one of several that feed the replicas of a strategy: it gives each of its own
              replicas its part of the batch in turn.
        """
        parts = pipeline.num_replicas_in_sync if pipeline else 1
        mine = parts // pipeline.num_input_pipelines if pipeline else 1
        first = pipeline.input_pipeline_id * mine if pipeline else 0

        def part_of_batch(number):
            return self.batch(number // mine, first + tf.cast(number % mine, tf.int32), parts)

        dataset = tf.data.Dataset.counter(first_step * mine, dtype=tf.int64)
        dataset = dataset.map(part_of_batch, num_parallel_calls=2, deterministic=True).prefetch(4)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return dataset.with_options(options)

    def batch(self, step, part=0, parts=1):
        """The batch of one step, int64 [], or one of the equal parts of its examples."""
        number = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        epoch, index = number // self._count, number % self._count
        seeds = tf.stack(
            [
                tf.fill([self.batch_size], tf.constant(self.seed, tf.int64)),
                epoch,
                tf.zeros_like(epoch),
            ],
            axis=1,
        )
        # Not tf.random.experimental.index_shuffle: it refuses a seed for each index, and a batch
        # may span two passes.
        example = tf.raw_ops.RandomIndexShuffle(
            index=index, seed=seeds, max_index=self._count - 1, rounds=4
        )
        position = tf.gather(self._positions, example)
        rows = self.batch_size // parts
        return self._gather(
            tf.reshape(position, [parts, rows])[part], step, part, parts, everyone=position
        )

    def _weights(self, position, everyone):
        """What the targets of the examples at `position` count in the loss, and one over what those
        of the whole batch count.
        """
        weight = 1.0 / tf.reduce_sum(self._sample_weight(everyone))
        return {
            "sample_weight": self._sample_weight(position),
            "normalizer": tf.fill(position.shape, weight),
        }


class FlatEvents:
    """Vectorised look-ups in the flat arrays."""

    def __init__(self, split: Split):
        sequences = split.sequences
        self._items = tf.constant(sequences.items, tf.int32)
        self._users = tf.constant(sequences.users(), tf.int32)
        self._start = tf.constant(sequences.offsets[:-1], tf.int64)
        self.weighted = sequences.weights is not None
        self._weights = tf.constant(sequences.weights, tf.float32) if self.weighted else None

    def users(self, position):
        """User whose event stands at each position."""
        return tf.gather(self._users, position)

    def start_at(self, position):
        """First event of the user whose event stands at each position."""
        return tf.gather(self._start, self.users(position) - 1)

    def weights(self, index, where):
        """Weights of the events at flat positions; 0 where not `where`."""
        return tf.where(where, tf.gather(self._weights, tf.where(where, index, 0)), 0.0)

    def items(self, index, where=None, only=None):
        """Items at flat positions; 0 where not `where`, or where `only` is False at the position."""
        if where is None:
            return tf.gather(self._items, index)
        index = tf.where(where, index, 0)
        if only is not None:
            where &= tf.gather(only, index)
        return tf.where(where, tf.gather(self._items, index), 0)

    def before(self, position, length):
        """User [B] of the events at `position` [B], and the `length` items before them, padded on
        the left [B, length].
        """
        user = self.users(position)
        index = position[:, tf.newaxis] + tf.range(-tf.cast(length, tf.int64), 0)
        return user, self.items(index, index >= self.start_at(position)[:, tf.newaxis])
