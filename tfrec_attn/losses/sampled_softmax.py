"""Cross entropy over the target and sampled items."""

import tensorflow as tf

from tfrec_attn.losses.arguments import checked, rows_of, with_axes


def sampled_softmax(
    queries, items, targets, negatives, log_q=None, weights=None, correct_targets=True
):
    """Cross entropy over the target and K sampled items, with logits corrected for how often each
    item is sampled.

        loss = sum over p of weights[p] (ln (exp(l_target) + sum_k exp(l_k)) - l_target),    l_j = q_p . v_j - ln(K Q_j)

    A negative that is the position's own target is left out (an accidental hit). Time and memory do
    not depend on N.

    With the correction of the targets the model that fits the data best has the logits of the full
    softmax (Jean et al., 2015; the form of `tf.nn.sampled_softmax_loss`; Yi et al., 2019), but the
    loss is lower than the full one. Without it the sum over k estimates the full sum over the other
    items without bias, so that loss and gradients tend to those of `softmax` as K grows (Bengio and
    Senecal, 2008).

    Args:
      queries: float [P, D].
      items: float [N, D]; a variable gets a sparse gradient.
      targets: int [P], rows of `items`.
      negatives: int [K], rows of `items` drawn from Q, shared by all positions.
      log_q: float [N], ln Q_j; default uniform, Q_j = 1 / N.
      weights: float [P]; default 1 / P.
      correct_targets: False leaves l_target = q_p . v_target.

    Returns:
      float32 scalar.

    Errors: ValueError for other numbers of axes or another width of items.

    References: Bengio and Senecal, IEEE Transactions on Neural Networks 2008; Jean et al., ACL
    2015; Yi et al., RecSys 2019.
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
    """Logarithm of how often rows are expected among the negatives."""
    total = tf.math.log(tf.cast(tf.shape(negatives)[0], tf.float32))
    if log_q is None:
        return total - tf.math.log(tf.cast(tf.shape(items)[0], tf.float32))
    return total + tf.cast(tf.gather(log_q, rows), tf.float32)
