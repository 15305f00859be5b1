"""Batches for training and for evaluation, gathered inside the graph from flat arrays.

All events stand once in one array, ordered by user and time. A window is one number, the position
of its first target; history, targets and negatives are gathered for a whole batch at once. Nothing
is expanded in memory and no Python runs per example.
"""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.negative_sampler import NegativeSampler
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.errors import DataError

NOTHING_TO_LEARN = (
    "No user has two training events, so there is nothing to learn from: give a longer log."
)


def window_counts(length, max_length: int, targets: int, window: str = "full"):
    """Returns how many training windows users have, and the place of the first target of their
    first one.

    Args:
        length: Training events of each user, int [M], a NumPy array or a tensor.
        max_length: L, events of the history.
        targets: T, positives of a window.
        window: "full": the n - L - T + 1 windows of L + T events in a row; a user with fewer events
            has one window, with its history padded on the left and, where n <= T, its targets on
            the right; one with a single event has none. "all": windows begin at the user's first
            event, with the history padded on the left, so that every event is a positive; n - T + 1
            windows, or one with its targets padded on the right.
    """
    maximum, where = (tf.maximum, tf.where) if tf.is_tensor(length) else (np.maximum, np.where)
    if window == "all":
        return where(length < 1, length, maximum(length - targets + 1, 1)), length * 0
    full = length - max_length - targets + 1
    first = where(full >= 1, length * 0 + max_length, maximum(length - targets, 1))
    return where(length < 2, length * 0, maximum(full, 1)), first


def window_positions(
    split: Split, max_length: int, targets: int, window: str = "full"
) -> np.ndarray:
    """Returns the flat positions of the first targets of all training windows, ordered by user and
    time.

    Args:
        split: Events and their training prefix.
        max_length: L, events of the history.
        targets: T, positives of a window.
        window: As for `window_counts`.

    Raises:
        DataError: If no user has two training events.
    """
    start = split.sequences.offsets[:-1]
    length = split.train_end - start
    if not (length >= 2).any():
        raise DataError(NOTHING_TO_LEARN)
    count, first = window_counts(length, max_length, targets, window)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(start + first, count) + within


class Stream:
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
        self._events = _Events(split)

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


class Windows(Stream):
    """The training windows of a split as an endless, reproducible stream of batches.

    Every pass visits each window once; the order is a function of (seed, pass), and a batch of
    (seed, step).

    Args:
      split: events and their training prefix.
      max_length: L.
      targets: T.
      negatives: K negatives for each positive.
      shared: one set of K negatives for all positives of a window, instead of K for each.
      batch_size: B.
      seed: of order and negatives.
      window: where windows begin, "full" or "all", as for `window_counts`.

    Batches: {"user" int32 [B], "history" int32 [B, L], "targets" int32 [B, T], "negatives" int32
    [B, T, K] ([B, 1, K] when shared)}; 0 is padding. Where events have weights also "sample_weight"
    [B], the mean of its targets, and "normalizer" [B], one over the batch's sum.
    """

    def __init__(
        self,
        split: Split,
        *,
        max_length=5,
        targets=3,
        negatives=1,
        shared=False,
        batch_size=512,
        seed=1,
        window="full",
    ):
        super().__init__(
            split,
            window_positions(split, max_length, targets, window),
            max_length,
            batch_size,
            seed,
        )
        self.targets = targets
        self.negatives = (1 if shared else targets, negatives)
        self._end = tf.constant(split.train_end, tf.int64)
        self._sample = NegativeSampler(split)

    def _gather(self, position, step, part, parts, everyone):
        user, history = self._events.before(position, self.max_length)
        targets = self._events.items(*self._after(position, user))
        owners = tf.broadcast_to(
            user[:, tf.newaxis, tf.newaxis], [self.batch_size // parts, *self.negatives]
        )
        negatives = self._sample(
            owners, tf.stack([tf.constant(self.seed, tf.int64), step]), part, parts
        )
        batch = {"user": user, "history": history, "targets": targets, "negatives": negatives}
        return {**batch, **self._weights(position, everyone)} if self._events.weighted else batch

    def _after(self, position, user):
        """Flat positions [B, T] of the targets of windows, and where they are real."""
        after = position[:, tf.newaxis] + tf.range(self.targets, dtype=tf.int64)
        return after, after < tf.gather(self._end, user - 1)[:, tf.newaxis]

    def _sample_weight(self, position):
        after, real = self._after(position, self._events.users(position))
        return tf.reduce_sum(self._events.weights(after, real), axis=1) / tf.reduce_sum(
            tf.cast(real, tf.float32), axis=1
        )


class HeldOut:
    """The held-out events of a split, in blocks for ranking: the shortest histories first, so that
    blocks hold little padding.

    Args:
        split: Whose events to hold out.
        part: "valid" or "test".
        max_length: L.
        batch_size: Events a block.
        repeats: "exclude" (default): items of the history are never recommended. "include": all
            items compete.

    Batches: {"user" int32 [B], "history" int32 [B, l], "target" int32 [B], "seen" int32 [B, S]}:
    `seen` are the items that are never recommended, 0 is padding: under "exclude" the distinct
    items of the whole earlier history, under "include" none (S = 0). l is the length of the longest
    history of the block, at least 1 and at most L.
    """

    def __init__(self, split: Split, part: str, *, max_length=5, batch_size=256, repeats="exclude"):
        self.max_length = max_length
        self.batch_size = batch_size
        self.repeats = repeats
        positions = np.asarray(getattr(split, part), np.int64)
        self._order = np.argsort(
            positions - split.sequences.offsets[split.rows(positions)], kind="stable"
        )
        self.positions = positions[self._order]
        self._events = _Events(split)
        first = _first_occurrences(split)
        self._first = tf.constant(first)
        self._repeated = ~first[positions]

    def __len__(self):
        return len(self.positions)

    def repeated(self) -> np.ndarray:
        """Whether each target is in its user's history, bool [U], in the order of the split."""
        return self._repeated

    def in_split_order(self, values: np.ndarray) -> np.ndarray:
        """Values of the events in the order of the blocks -> in the order of the split's `valid` or
        `test`.
        """
        restored = np.empty_like(values)
        restored[self._order] = values
        return restored

    def sample(self, count: int) -> list[dict[str, tf.Tensor]]:
        """Blocks of so many events, evenly spread over all blocks."""
        chosen = self.positions[np.linspace(0, len(self) - 1, count).astype(int)]
        return [
            self.batch(tf.constant(chosen[begin : begin + self.batch_size]))
            for begin in range(0, count, self.batch_size)
        ]

    def dataset(self) -> tf.data.Dataset:
        blocks = tf.data.Dataset.from_tensor_slices(self.positions).batch(self.batch_size)
        return blocks.map(self.batch, num_parallel_calls=2, deterministic=True).prefetch(2)

    def batch(self, position):
        """The block of some flat positions of held-out events, int64 [B]."""
        start = self._events.start_at(position)
        longest = tf.reduce_max(position - start)
        user, history = self._events.before(position, tf.clip_by_value(longest, 1, self.max_length))
        index = start[:, tf.newaxis] + tf.range(
            longest if self.repeats == "exclude" else tf.zeros_like(longest)
        )
        seen = self._events.items(index, index < position[:, tf.newaxis], only=self._first)
        return {
            "user": user,
            "history": history,
            "target": self._events.items(position),
            "seen": seen,
        }


class _Events:
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


def _first_occurrences(split: Split) -> np.ndarray:
    """bool [E], True where a user meets an item for the first time."""
    sequences = split.sequences
    keys = sequences.users().astype(np.int64) * (sequences.num_items + 1) + sequences.items
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
