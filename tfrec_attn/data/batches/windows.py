"""Batches for training and for evaluation, gathered inside the graph from flat arrays.

All events stand once in one array, ordered by user and time. A window is one number, the position
of its first target; history, targets and negatives are gathered for a whole batch at once. Nothing
is expanded in memory and no Python runs per example.
"""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.negative_sampler import NegativeSampler
from tfrec_attn.data.batches.stream import NOTHING_TO_LEARN, BatchStream
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.errors import DataError


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




class Windows(BatchStream):
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






