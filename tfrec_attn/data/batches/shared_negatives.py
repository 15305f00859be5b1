"""Sampled negatives that all positions of a batch share."""

import numpy as np
import tensorflow as tf


class SharedNegatives:
    """Draws items in proportion to a power of their training events.

    Args:
        counts: Training events of each item, [N].
        power: alpha. 0 draws uniformly, 1 in proportion to the training events.

    Attributes:
        log_q: Log of the probability of each item, float32 [N].
    """

    def __init__(self, counts: np.ndarray, power: float):
        self._count = len(counts)
        shares = counts.astype(np.float64) ** power
        shares /= shares.sum()
        with np.errstate(divide="ignore"):
            self.log_q = np.log(shares).astype(np.float32)
        ends = np.cumsum(shares)
        self._ends = tf.constant(ends / ends[-1]) if power else None

    def __call__(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns sampled item indices, int32, of a shape, for a stateless seed, int64 [2]."""
        if self._ends is None:
            return tf.random.stateless_uniform(shape, seed, 1, self._count + 1, tf.int32)
        drawn = tf.random.stateless_uniform(shape, seed, dtype=tf.float64)
        items = tf.searchsorted(self._ends, tf.reshape(drawn, [-1]), side="right") + 1
        return tf.reshape(items, shape)
