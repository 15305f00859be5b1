"""Weighted squared distances of two embedding spaces, as one inner product."""

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MetricScoring(tf.keras.layers.Layer):
    """Scores an item by its distances to a long-term and to a short-term vector.

        y = w * |u - v|^2 + (1 - w) * |m - x|^2          (a distance: small is good)
        -y = q . p - w |u|^2 - (1 - w) |m|^2,   q = [2 w u, -w, 2 (1 - w) m, -(1 - w)],   p = [v, |v|^2, x, |x|^2]

    The last two terms of `-y` are the same for every item, so `q . p` ranks as `-y` does, and a maximum inner product search, one matrix
    product, or a dot product over sampled items replaces the distances: no tensor of shape [B, N, D] is made.

    Args:
      weight: w in [0, 1], share of the long-term distance. Default 0.2 (the paper finds 0.2 to 0.4 best).

    Shapes: long [B, D], short [B, D], known [B] -> `query` [B, 2 D + 2]; long [N, D], short [N, D] -> `items` [N, 2 D + 2].

    Where one part of a query is not known (a new user, an empty history) its weight is 0: the other part alone decides, unscaled terms
    of an unknown part never enter.

    Reference: Zhang et al., Next Item Recommendation with Self-Attentive Metric Learning, 2019 (arXiv 1808.06414), eq. 9.
    """

    def __init__(self, weight=0.2, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= weight <= 1.0:
            raise ValueError(f"weight must be in [0, 1], but is {weight}: 0 is the short-term distance alone, 1 the long-term one.")
        self.weight = weight

    def call(self, user_long, user_short, item_long, item_short):
        """Distances y of rows against rows: user_* [B, D], item_* [N, D] -> [B, N]."""
        long = self._squared_distances(user_long, item_long)
        short = self._squared_distances(user_short, item_short)
        return self.weight * long + (1.0 - self.weight) * short

    def query(self, user_long, user_short, long_known=None, short_known=None):
        """Query vectors q [B, 2 D + 2]; `*_known` bool [B] say which parts count (default: all)."""
        ones = tf.ones_like(user_long[:, :1])
        long = self.weight * _column(long_known, ones)
        short = (1.0 - self.weight) * _column(short_known, ones)
        return tf.concat([2.0 * long * user_long, -long, 2.0 * short * user_short, -short], axis=1)

    def items(self, item_long, item_short):
        """Item vectors p [N, 2 D + 2]."""
        return tf.concat([item_long, _squares(item_long), item_short, _squares(item_short)], axis=1)

    def get_config(self):
        return {**super().get_config(), "weight": self.weight}

    @staticmethod
    def _squared_distances(a, b):
        return _squares(a) - 2.0 * tf.matmul(a, b, transpose_b=True) + tf.transpose(_squares(b))


def _column(known, ones):
    return ones if known is None else tf.cast(known, ones.dtype)[:, tf.newaxis]


def _squares(x):
    return tf.reduce_sum(tf.square(x), axis=1, keepdims=True)
