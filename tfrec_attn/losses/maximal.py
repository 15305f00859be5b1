"""Losses of GRU4Rec that compare a target with the highest of its sampled negatives."""

import tensorflow as tf

from tfrec_attn.losses.arguments import checked, rows_of, with_axes


def bpr_max(queries, items, targets, negatives, penalty=1.0, weights=None):
    """Returns the BPR-max loss of targets and K sampled negatives.

        loss = sum over p of weights[p] (-ln sum_k w_k s(r_target - r_k) + penalty sum_k w_k r_k^2)
        r_j = q_p . v_j,    w = softmax of r over the negatives,    s(x) = 1 / (1 + exp(-x))

    A position leaves out negatives that are its target. Without another negative, its loss is 0.

    Args:
        queries: Float [P, D].
        items: Float [N, D]; a variable gets a sparse gradient.
        targets: Int [P], rows of `items`.
        negatives: Int [K], rows of `items`, shared by all positions.
        penalty: Weight of the negatives' squared scores. Default 1.
        weights: Float [P]; default 1 / P.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If an argument has another number of axes or another width.

    Deviations:
        The authors' code applies an ELU to the scores, and adds the other targets of the batch to
        the negatives.

    Reference:
        Hidasi and Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based
        Recommendations", CIKM 2018 (arXiv 1706.03847).
    """
    true, sampled, log_weights, weights = _scores(queries, items, targets, negatives, weights)
    ranked = -tf.reduce_logsumexp(log_weights + tf.math.log_sigmoid(true - sampled), axis=1)
    squares = tf.reduce_sum(tf.exp(log_weights) * tf.square(sampled), axis=1)
    return tf.reduce_sum(weights * (ranked + penalty * squares))


def top1_max(queries, items, targets, negatives, weights=None):
    """Returns the TOP1-max loss of targets and K sampled negatives.

        loss = sum over p of weights[p] sum_k w_k (s(r_k - r_target) + s(r_k^2))

    The symbols, arguments and deviations are those of `bpr_max`.

    Reference:
        Hidasi and Karatzoglou, CIKM 2018 (arXiv 1706.03847).
    """
    true, sampled, log_weights, weights = _scores(queries, items, targets, negatives, weights)
    pairs = tf.sigmoid(sampled - true) + tf.sigmoid(tf.square(sampled))
    return tf.reduce_sum(weights * tf.reduce_sum(tf.exp(log_weights) * pairs, axis=1))


def _scores(queries, items, targets, negatives, weights):
    """Returns scores of targets [P, 1] and negatives [P, K], ln w [P, K], and weights [P].

    The weight of a position without negatives is 0.
    """
    queries, targets, weights = checked(queries, items, targets, weights)
    negatives = with_axes("negatives", negatives, ["K"])
    true = tf.einsum("pd,pd->p", queries, rows_of(items, targets))[:, tf.newaxis]
    sampled = tf.matmul(queries, rows_of(items, negatives), transpose_b=True)
    hit = tf.equal(tf.cast(targets, tf.int64)[:, tf.newaxis], tf.cast(negatives, tf.int64))
    log_weights = tf.nn.log_softmax(tf.where(hit, tf.float32.min, sampled))
    # Without a negative, the softmax would be uniform over the hits.
    weights = tf.where(tf.reduce_all(hit, axis=1), 0.0, weights)
    return true, sampled, log_weights, weights
