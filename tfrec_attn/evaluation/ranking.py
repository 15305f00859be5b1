"""The rank of one item among all items, without sorting."""

import tensorflow as tf

# The rank of a target that cannot be recommended: beyond every cut-off.
MISS = tf.int32.max


def ranks(scores, target, seen):
    """Ranks each row's target among the items that can be recommended in its place.

        rank = 1 + |{j not in seen, j != target: not score_j < score_target}|

    Ties count against the target, and so does a score that is not a number: a model that scores
    all items alike ranks the target last. A target that is in `seen` cannot be recommended: its
    rank is `MISS`.

    Args:
        scores: Float [B, N], column j - 1 for item j.
        target: Int [B], items 1..N.
        seen: Int [B, S], items that are never recommended, each at most once in a row; 0 is
            padding.

    Returns:
        int32 [B], 1 is best.
    """
    threshold = tf.gather(scores, target[:, tf.newaxis] - 1, batch_dims=1)
    behind = tf.reduce_sum(tf.cast(scores < threshold, tf.int32), axis=1)
    left_out = tf.gather(scores, tf.maximum(seen - 1, 0), batch_dims=1)
    counted = (seen > 0) & ~(left_out < threshold)
    rank = tf.shape(scores)[1] - behind - tf.reduce_sum(tf.cast(counted, tf.int32), axis=1)
    return tf.where(tf.reduce_any(seen == target[:, tf.newaxis], axis=1), MISS, rank)
