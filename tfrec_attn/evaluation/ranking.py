"""The rank of one item among all items, without sorting."""

import numpy as np
import tensorflow as tf

# Rank of a target that cannot be recommended, above all cut-offs.
MISS = tf.int32.max


def ranks(scores, target, seen, scored=None, other=0.0):
    """Returns the rank of each row's target among all items that can be recommended.

        rank = 1 + |{j not in seen, j != target: not score_j < score_target}|

    Ties, and scores that are NaN, count against the target. The rank of a target in `seen` is
    `MISS`.

    Args:
        scores: Float [B, N], column j - 1 for item j.
        target: Int [B], items 1..N.
        seen: Int [B, S], items that are never recommended, unique in a row; 0 is padding.
        scored: Items whose scores are in `scores`, bool [N]; None (default): all. This costs less
            than replacing the scores of the other items.
        other: Score of all other items. Default 0.

    Returns:
        int32 [B], 1 is best.
    """
    # TensorFlow compares int32 on the host, also if there is a GPU.
    target, seen = tf.cast(target, tf.int64), tf.cast(seen, tf.int64)
    threshold = _scores_of(scores, target[:, tf.newaxis], scored, other)
    behind = _count(scores < threshold, scored)
    if scored is not None:
        others = tf.constant(np.count_nonzero(~scored), tf.int64)
        behind += tf.where(other < threshold[:, 0], others, tf.zeros_like(others))
    left_out = _scores_of(scores, tf.maximum(seen, 1), scored, other)
    # TensorFlow would compile ~(a < b) as a >= b, which differs for NaN.
    behind -= _count((seen > 0) & (left_out < threshold))
    rank = tf.shape(scores, tf.int64)[1] - _count(seen > 0) - behind
    found = ~tf.reduce_any(seen == target[:, tf.newaxis], axis=1)
    return tf.cast(tf.where(found, rank, MISS), tf.int32)


def _scores_of(scores, items, scored, other):
    """Returns the scores of items, int64 [B, C], 1..N."""
    found = tf.gather(scores, items - 1, batch_dims=1)
    return found if scored is None else tf.where(tf.gather(scored, items - 1), found, other)


def _count(values, counted=None):
    """Returns the number of true values in each row, of the columns that count (None: all)."""
    columns = values.shape[1]
    # The sum of int32 has no GPU kernel. Sums of float32 are exact up to 2^24.
    if columns is None or columns >= 1 << 24:
        values = values if counted is None else values & counted
        return tf.reduce_sum(tf.cast(values, tf.int64), axis=1)
    values = tf.cast(values, tf.float32)
    if counted is None:
        return tf.cast(tf.reduce_sum(values, axis=1), tf.int64)
    return tf.cast(tf.linalg.matvec(values, tf.cast(counted, tf.float32)), tf.int64)
