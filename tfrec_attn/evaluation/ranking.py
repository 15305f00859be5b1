"""The rank of one item among all items, without sorting."""

import tensorflow as tf

# Rank of a target that cannot be recommended, above all cut-offs.
MISS = tf.int32.max


def ranks(scores, target, seen):
    """Returns the rank of each row's target among all items that can be recommended.

        rank = 1 + |{j not in seen, j != target: not score_j < score_target}|

    Ties, and scores that are NaN, count against the target. The rank of a target in `seen` is
    `MISS`.

    Args:
        scores: Float [B, N], column j - 1 for item j.
        target: Int [B], items 1..N.
        seen: Int [B, S], items that are never recommended, unique in a row; 0 is padding.

    Returns:
        int32 [B], 1 is best.
    """
    # Integers of 32 bits would be compared on the host.
    target, seen = tf.cast(target, tf.int64), tf.cast(seen, tf.int64)
    threshold = tf.gather(scores, target[:, tf.newaxis] - 1, batch_dims=1)
    behind = _count(scores < threshold)
    left_out = tf.gather(scores, tf.maximum(seen - 1, 0), batch_dims=1)
    counted = (seen > 0) & ~(left_out < threshold)
    rank = tf.shape(scores, tf.int64)[1] - behind - _count(counted)
    found = ~tf.reduce_any(seen == target[:, tf.newaxis], axis=1)
    return tf.cast(tf.where(found, rank, MISS), tf.int32)


def _count(values):
    """Returns the number of true values in each row: bool [B, N] -> int64 [B]."""
    # The sum of int32 has no GPU kernel. Sums of float32 are exact up to 2^24.
    columns = values.shape[1]
    exact = tf.float32 if columns is not None and columns < 1 << 24 else tf.int64
    return tf.cast(tf.reduce_sum(tf.cast(values, exact), axis=1), tf.int64)
