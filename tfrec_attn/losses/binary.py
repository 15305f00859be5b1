"""Binary cross entropy of targets and sampled negatives."""

import tensorflow as tf

from tfrec_attn.losses.arguments import checked, rows_of, with_axes


def bce(queries, items, targets, negatives, weights=None):
    """Returns the binary cross entropy of targets and K sampled negatives, SASRec's loss.

        loss = sum over p of weights[p] (-ln s(q_p . v_target) - sum_k ln(1 - s(q_p . v_k)))
        s(x) = 1 / (1 + exp(-x))

    Args:
        queries: Float [P, D].
        items: Float [N, D]; a variable gets a sparse gradient.
        targets: Int [P], rows of `items`.
        negatives: Int [P, K], rows of `items`.
        weights: Float [P]; default 1 / P.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If an argument has another number of axes or another width.

    Reference:
        Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (K = 1).
    """
    return _binary(queries, items, targets, negatives, 1.0, weights)


def gbce(queries, items, targets, negatives, num_items, t=0.75, weights=None):
    """Returns the generalised binary cross entropy, gSASRec's loss.

    Negative sampling makes models overconfident. A smaller weight of targets compensates for it.

        loss = sum over p of weights[p] (-beta ln s(q_p . v_target) - sum_k ln(1 - s(q_p . v_k)))
        beta = alpha (t (1 - 1 / alpha) + 1 / alpha) = 1 - t (1 - alpha)
        alpha = K / (num_items - 1)

    With t = 0 this is `bce`. With t = 1 the sigmoids of the scores are calibrated probabilities.

    Args:
        queries: Float [P, D].
        items: Float [N, D]; a variable gets a sparse gradient.
        targets: Int [P], rows of `items`.
        negatives: Int [P, K], rows of `items`.
        num_items: Number of items that negatives are drawn from, including the target; at least 2.
        t: Calibration in [0, 1]. Default 0.75, which the paper recommends with 256 negatives.
        weights: Float [P]; default 1 / P.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If an argument has another number of axes or another width, `num_items` is
            below 2, or t is outside [0, 1].

    Deviations:
        The authors' code divides the sum by K + 1.

    Reference:
        Petrov and Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained
        with Negative Sampling", RecSys 2023.
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
