"""The best of scored items, some of them hidden. An item that is hidden has the floor score, and so
has row 0, padding.
"""

import tensorflow as tf

# The lowest float that JSON can hold; -inf it cannot.
FLOOR = tf.float32.min


def hide(scores, rows):
    """Scores of all rows with the floor at some: float32 [B, N + 1], int32 [B, X] -> float32 [B, N
    + 1]. Row 0 is always hidden.
    """
    rows = tf.pad(rows, [[0, 0], [1, 0]])
    index = tf.stack(
        [tf.range(tf.shape(rows)[0])[:, tf.newaxis] + tf.zeros_like(rows), rows], axis=-1
    )
    return tf.tensor_scatter_nd_update(scores, index, tf.fill(tf.shape(rows), FLOOR))


def hide_among(scores, rows, hidden):
    """Scores of listed rows with the floor at some: float32 [B, C], int32 [B, C], int32 [B, X] ->
    float32 [B, C].
    """
    ordered = tf.sort(tf.pad(hidden, [[0, 0], [1, 0]]), axis=1)
    place = tf.minimum(tf.searchsorted(ordered, rows), tf.shape(ordered)[1] - 1)
    return tf.where(tf.gather(ordered, place, batch_dims=1) == rows, FLOOR, scores)


def best(scores, rows, k):
    """The k best of listed items, which the earlier column wins among equals; floor and row 0 where
    there are fewer.

    Args:
      scores: float32 [B, C].
      rows: int32 [B, C].
      k: scalar.

    Returns: (float32 [B, k], int32 [B, k]).
    """
    scores = tf.pad(scores, [[0, 0], [0, k]], constant_values=FLOOR)
    scores, place = tf.math.top_k(scores, k)
    return scores, tf.gather(tf.pad(rows, [[0, 0], [0, k]]), place, batch_dims=1)


def distinct(rows):
    """Rows in ascending order, all but one of equals replaced by 0: int32 [B, C] -> int32 [B, C]."""
    rows = tf.sort(rows, axis=1)
    before = tf.pad(rows, [[0, 0], [1, 0]])[:, :-1]
    return tf.where(rows == before, 0, rows)
