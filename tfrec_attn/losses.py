"""Losses as pure functions of scores (high is good), one value per example.

Pairwise losses take positives [B, T] and negatives [B, T, K] (each positive has its own) or [B, 1, K] (all positives share them), and sum
over the pairs of an example: [B].
"""

import tensorflow as tf


def hinge(positive, negative, margin=0.5):
    """`sum relu(margin - positive + negative)`.

    On distances y = -score this is `sum relu(y_pos + margin - y_neg)` (Zhang et al., 2019, eq. 10; Weinberger and Saul, 2009).
    """
    return _sum_pairs(tf.nn.relu(margin - _difference(positive, negative)))


def bpr(positive, negative):
    """`sum -ln sigmoid(positive - negative)` (Rendle et al., UAI 2009)."""
    return _sum_pairs(tf.nn.softplus(-_difference(positive, negative)))


def pairwise(name, margin=0.5):
    """The pairwise loss of a name, as a function of (positive, negative).

    Errors: ValueError for another name.
    """
    if name == "hinge":
        return lambda positive, negative: hinge(positive, negative, margin)
    if name == "bpr":
        return bpr
    raise ValueError(f"loss must be one of hinge, bpr, but is {name!r}.")


def _difference(positive, negative):
    return tf.cast(positive[:, :, tf.newaxis], tf.float32) - tf.cast(negative, tf.float32)


def _sum_pairs(pairs):
    return tf.reduce_sum(pairs, axis=[1, 2])
