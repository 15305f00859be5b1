"""Windows of events: a history, its next items as targets, and sampled negatives."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.negative_sampler import NegativeSampler
from tfrec_attn.data.batches.stream import NOTHING_TO_LEARN, ArrayStream
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.errors import DataError


def window_counts(length, max_length: int, targets: int, window: str = "full"):
    """Counts the training windows of users.

    With `window="full"`, a user with n events has n - L - T + 1 windows of L + T consecutive
    events. A user with fewer than L + T events has one window: the history is padded on the left
    and, if n <= T, the targets are padded on the right. A user with a single event has no window.

    With `window="all"`, the user's first event is the first target of the first window, so that
    every event is a target. Histories are padded on the left. A user has n - T + 1 windows, or one
    window with targets padded on the right.

    Args:
        length: n, training events of each user, int [M], a NumPy array or a tensor.
        max_length: L, events of the history.
        targets: T, targets of a window.
        window: "full" (default) or "all".

    Returns:
        The number of windows of each user, and the position of the first target in the user's
        first window, both int [M].
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
    """Returns the flat positions of the first targets of all windows, by user and time.

    Args:
        split: Events and their training prefix.
        max_length: L, events of the history.
        targets: T, targets of a window.
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


class Windows(ArrayStream):
    """The training windows of a split as an endless, reproducible stream of batches.

    Batches are {"user" int32 [B], "history" int32 [B, L], "targets" int32 [B, T], "negatives" int32
    [B, T, K]}; 0 is padding. With `shared`, "negatives" is [B, 1, K]. With `gaps`, batches also
    have "gap" float32 [B], the time from the latest event of the history to the first target. If
    events have weights, batches also have "sample_weight" float32 [B], the mean weight of the
    targets of an example, and "normalizer" float32 [B], one over the sum of these over the batch.

    Args:
        split: Events and their training prefix.
        max_length: L, events of the history. Default 5.
        targets: T, targets of a window. Default 3.
        negatives: K, negatives for each target. Default 1.
        shared: Whether all targets of a window share one set of K negatives. Default False.
        batch_size: B, windows in a batch. Default 512.
        seed: Seed of the order and of the negatives. Default 1.
        window: Where windows begin, "full" (default) or "all", as for `window_counts`.
        gaps: Whether batches have "gap". Default False.

    Raises:
        DataError: If no user has two training events.
    """

    def __init__(
        self,
        split: Split,
        *,
        max_length: int = 5,
        targets: int = 3,
        negatives: int = 1,
        shared: bool = False,
        batch_size: int = 512,
        seed: int = 1,
        window: str = "full",
        gaps: bool = False,
    ):
        positions = window_positions(split, max_length, targets, window)
        super().__init__(split, positions, max_length, batch_size, seed)
        self.targets = targets
        self.negatives = (1 if shared else targets, negatives)
        self._end = tf.constant(split.train_end, tf.int64)
        self._sample = NegativeSampler(split)
        self._gaps = tf.constant(split.sequences.time_gaps()) if gaps else None

    def _gather(self, position, step, part, parts, whole):
        user, history = self._events.before(position, self.max_length)
        targets = self._events.items(*self._after(position, user))
        shape = [self.batch_size // parts, *self.negatives]
        owners = tf.broadcast_to(user[:, tf.newaxis, tf.newaxis], shape)
        negatives = self._sample(owners, self._seed_of(step), part, parts)
        batch = {"user": user, "history": history, "targets": targets, "negatives": negatives}
        if self._gaps is not None:
            batch["gap"] = tf.gather(self._gaps, position)
        return {**batch, **self._weights(position, whole)} if self._events.weighted else batch

    def _after(self, position, user):
        """Returns the flat positions [B, T] of the targets, and which of them are not padding."""
        after = position[:, tf.newaxis] + tf.range(self.targets, dtype=tf.int64)
        return after, after < tf.gather(self._end, user - 1)[:, tf.newaxis]

    def _sample_weight(self, position):
        after, real = self._after(position, self._events.users(position))
        count = tf.reduce_sum(tf.cast(real, tf.float32), axis=1)
        return tf.reduce_sum(self._events.weights(after, real), axis=1) / count
