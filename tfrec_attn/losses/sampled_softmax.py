"""Cross entropy over targets and sampled negatives."""

import tensorflow as tf

from tfrec_attn.losses.arguments import checked, rows_of, with_axes


def sampled_softmax(
    queries, items, targets, negatives, log_q=None, weights=None, correct_targets=True
):
    """Returns the cross entropy over the target and K sampled negatives, with logQ correction.

        loss = sum over p of weights[p] (ln (exp(l_target) + sum_k exp(l_k)) - l_target)
        l_j = q_p . v_j - ln(K Q_j)

    A position leaves out negatives that are its target (accidental hits). Time and memory do not
    depend on N.

    With `correct_targets=True`, the optimal model has the logits of the full softmax (Jean et al.,
    as in `tf.nn.sampled_softmax_loss`; Yi et al.), but the loss is lower. With
    `correct_targets=False`, the sum over k is an unbiased estimate of the full sum over the other
    items, and loss and gradients converge to those of `softmax` as K grows (Bengio and Senecal).

    Args:
        queries: Float [P, D].
        items: Float [N, D]; a variable gets a sparse gradient.
        targets: Int [P], rows of `items`.
        negatives: Int [K], rows of `items` drawn from Q, shared by all positions.
        log_q: Float [N], ln Q_j; default uniform, Q_j = 1 / N.
        weights: Float [P]; default 1 / P.
        correct_targets: Whether to correct l_target. False: l_target = q_p . v_target. Default
            True.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If an argument has another number of axes or another width.

    Reference:
        Bengio and Senecal, IEEE Transactions on Neural Networks 2008; Jean et al., ACL 2015; Yi et
        al., RecSys 2019.
    """
    queries, targets, weights = checked(queries, items, targets, weights)
    negatives = with_axes("negatives", negatives, ["K"])
    log_q = None if log_q is None else with_axes("log_q", log_q, ["N"])
    true = tf.einsum("pd,pd->p", queries, rows_of(items, targets))
    sampled = tf.matmul(queries, rows_of(items, negatives), transpose_b=True) - _log_count(
        negatives, items, negatives, log_q
    )
    if correct_targets:
        true -= _log_count(targets, items, negatives, log_q)
    hit = tf.equal(tf.cast(targets, tf.int64)[:, tf.newaxis], tf.cast(negatives, tf.int64))
    sampled = tf.where(hit, tf.float32.min, sampled)
    return tf.reduce_sum(
        weights
        * (tf.reduce_logsumexp(tf.concat([true[:, tf.newaxis], sampled], axis=1), axis=1) - true)
    )


def _log_count(rows, items, negatives, log_q):
    """Returns ln(K Q_j), the logarithm of the expected count of each row among the negatives."""
    total = tf.math.log(tf.cast(tf.shape(negatives)[0], tf.float32))
    if log_q is None:
        return total - tf.math.log(tf.cast(tf.shape(items)[0], tf.float32))
    return total + tf.cast(tf.gather(log_q, rows), tf.float32)
