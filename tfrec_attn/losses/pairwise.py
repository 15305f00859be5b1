"""Losses of the scores of pairs of a target and a sampled negative."""

import tensorflow as tf


def hinge(positive, negative, mask=None, *, margin=0.5):
    """Returns the hinge loss of each example.

        loss = sum over t, k of relu(margin - positive_t + negative_tk)

    Args:
        positive: Float [B, T], scores of the targets.
        negative: Float [B, T, K], scores of each target's negatives, or [B, 1, K] for all targets.
        mask: Bool [B, T], True for a real target; None: all are.
        margin: Smallest score difference without loss, in units of the score. Default 0.5.

    Returns:
        float32 [B].

    Reference:
        Zhang et al., 2019 (arXiv 1808.06414), eq. 10; Weinberger and Saul, JMLR 2009.
    """
    return _sum_pairs(tf.nn.relu(margin - _difference(positive, negative)), mask)


def bpr(positive, negative, mask=None):
    """Returns the loss of Bayesian personalised ranking of each example.

        loss = sum over t, k of -ln sigmoid(positive_t - negative_tk)

    Args:
        positive: Float [B, T], scores of the targets.
        negative: Float [B, T, K] or [B, 1, K], as for `hinge`.
        mask: Bool [B, T], True for a real target; None: all are.

    Returns:
        float32 [B].

    Reference:
        Rendle et al., UAI 2009.
    """
    return _sum_pairs(tf.nn.softplus(-_difference(positive, negative)), mask)


def warp(positive, negative, mask=None, *, num_items, margin=0.5):
    """Returns the weighted approximate-rank pairwise loss of each example, CML's loss.

    Only the negative with the highest score has a loss. An estimate of the target's rank weighs it.

        loss = sum over t of ln(1 + rank_t) relu(margin - positive_t + max_k negative_tk)
        rank_t = num_items * share of the K negatives with margin - positive_t + negative_tk > 0

    The rank has no gradient.

    Args:
        positive: Float [B, T], scores of the targets.
        negative: Float [B, T, K] or [B, 1, K], as for `hinge`.
        mask: Bool [B, T], True for a real target; None: all are.
        num_items: Number of items among which a target is ranked.
        margin: As for `hinge`. Default 0.5.

    Returns:
        float32 [B].

    Reference:
        Weston et al., "WSABIE", IJCAI 2011; Hsieh et al., "Collaborative Metric Learning", WWW
        2017, section 3.2.
    """
    violation = margin - _difference(positive, negative)
    share = tf.reduce_mean(tf.cast(violation > 0.0, tf.float32), axis=2, keepdims=True)
    largest = tf.nn.relu(tf.reduce_max(violation, axis=2, keepdims=True))
    return _sum_pairs(tf.math.log1p(num_items * share) * largest, mask)


def _difference(positive, negative):
    return tf.cast(positive[:, :, tf.newaxis], tf.float32) - tf.cast(negative, tf.float32)


def _sum_pairs(pairs, mask):
    if mask is not None:
        pairs = tf.where(mask[:, :, tf.newaxis], pairs, 0.0)
    return tf.reduce_sum(pairs, axis=[1, 2])
