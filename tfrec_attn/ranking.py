"""The rank of one item among all items, without sorting."""

import tensorflow as tf


def ranks(scores, target, seen):
    """Rank of each row's target among the items that its user has not seen.

        rank = 1 + |{j unseen, j != target: not score_j < score_target}|

    Ties count against the target, and so does everything when a score is not a number: a model that scores all alike ranks last.
    The target itself is never excluded, also where the user has met it before.

    Args:
      scores: float [B, N], column j - 1 for item j.
      target: int [B], items 1..N.
      seen: int [B, S], items to leave out, each at most once in a row; 0 is padding.

    Returns:
      int32 [B], 1 is best.
    """
    threshold = tf.gather(scores, target[:, tf.newaxis] - 1, batch_dims=1)
    behind = tf.reduce_sum(tf.cast(scores < threshold, tf.int32), axis=1)
    left_out = tf.gather(scores, tf.maximum(seen - 1, 0), batch_dims=1)
    counted = (seen > 0) & (seen != target[:, tf.newaxis]) & ~(left_out < threshold)
    return tf.shape(scores)[1] - behind - tf.reduce_sum(tf.cast(counted, tf.int32), axis=1)
