"""Binary cross entropy of targets and sampled items."""

import tensorflow as tf

from tfrec_attn.losses.arguments import checked, rows_of, with_axes


def bce(queries, items, targets, negatives, weights=None):
    """Binary cross entropy of the target and K sampled items, SASRec's loss (Kang and McAuley, ICDM
    2018, with K = 1).

        loss = sum over p of weights[p] (-ln s(q_p . v_target) - sum_k ln(1 - s(q_p . v_k))),    s(x) = 1 / (1 + exp(-x))

    Args:
      queries: float [P, D].
      items: float [N, D]; a variable gets a sparse gradient.
      targets: int [P], rows of `items`.
      negatives: int [P, K], rows of `items`, each position's own.
      weights: float [P]; default 1 / P.

    Returns:
      float32 scalar.

    Errors: ValueError for other numbers of axes or another width of items.
    """
    return _binary(queries, items, targets, negatives, 1.0, weights)


def gbce(queries, items, targets, negatives, num_items, t=0.75, weights=None):
    """Generalised binary cross entropy, gSASRec's loss: the positive counts less, as much as
    sampling makes scores overconfident.

        loss = sum over p of weights[p] (-beta ln s(q_p . v_target) - sum_k ln(1 - s(q_p . v_k)))
        beta = alpha (t (1 - 1 / alpha) + 1 / alpha) = 1 - t (1 - alpha),    alpha = K / (num_items - 1)

    With t = 0 this is `bce`; with t = 1 sigmoids of scores are calibrated as probabilities. The
    authors' code divides the sum by K + 1.

    Args:
      queries, items, targets, negatives, weights: as for `bce`.
      num_items: how many items negatives are drawn from, the target among them; at least 2.
      t: calibration, from 0 to 1; the paper finds 0.75 good with 256 negatives.

    Returns:
      float32 scalar.

    Errors: ValueError for other numbers of axes, another width of items, fewer than two items, or t
    outside 0 to 1.

    Reference: Petrov and Macdonald, RecSys 2023.
    """
    if num_items < 2:
        raise ValueError(f"num_items must be at least 2, but is {num_items}.")
    if not 0 <= t <= 1:
        raise ValueError(f"t must be from 0 to 1, but is {t}.")
    negatives = with_axes("negatives", negatives, ["P", "K"])
    alpha = tf.cast(tf.shape(negatives)[1], tf.float32) / (num_items - 1)
    return _binary(queries, items, targets, negatives, 1.0 - t * (1.0 - alpha), weights)


def _binary(queries, items, targets, negatives, beta, weights):
    queries, targets, weights = checked(queries, items, targets, weights)
    negatives = with_axes("negatives", negatives, ["P", "K"])
    positive = tf.einsum("pd,pd->p", queries, rows_of(items, targets))
    negative = tf.einsum("pd,pkd->pk", queries, rows_of(items, negatives))
    return tf.reduce_sum(
        weights
        * (beta * tf.nn.softplus(-positive) + tf.reduce_sum(tf.nn.softplus(negative), axis=1))
    )
