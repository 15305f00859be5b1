"""GRU4Rec's losses; tests/models/test_gru4rec.py has the numbers of an independent script."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.losses import bpr_max, top1_max

RANDOM = np.random.default_rng(1)
QUERIES, ITEMS = (RANDOM.normal(size=shape).astype("float32") for shape in ([4, 3], [9, 3]))
TARGETS, NEGATIVES, WEIGHTS = [2, 8, 0, 2], [5, 2, 2, 7, 1], [1.0, 0.5, 2.0, 0.0]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_loops(of_pairs):
    """The weighted sum over positions of a function of (target's score, negatives', weights)."""
    total = 0.0
    for query, target, weight in zip(QUERIES, TARGETS, WEIGHTS, strict=True):
        scores = np.array([query @ ITEMS[one] for one in NEGATIVES if one != target])
        shares = np.exp(scores) / np.exp(scores).sum()
        total += weight * of_pairs(query @ ITEMS[target], scores, shares)
    return total


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_bpr_max_by_loops(penalty):
    expected = by_loops(
        lambda true, scores, shares: (
            -np.log(shares @ sigmoid(true - scores)) + penalty * shares @ scores**2
        )
    )
    found = bpr_max(QUERIES, ITEMS, TARGETS, NEGATIVES, penalty, WEIGHTS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_top1_max_by_loops():
    expected = by_loops(
        lambda true, scores, shares: shares @ (sigmoid(scores - true) + sigmoid(scores**2))
    )
    found = top1_max(QUERIES, ITEMS, TARGETS, NEGATIVES, WEIGHTS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [bpr_max, top1_max])
def test_extreme_scores_and_negatives_that_are_all_the_target(loss):
    for scale, negatives in ((1e3, NEGATIVES), (1.0, [2, 2])):
        queries, items = tf.Variable(scale * QUERIES), tf.Variable(ITEMS)
        with tf.GradientTape() as tape:
            value = loss(queries, items, [2, 2, 2, 2], negatives)
        gradients = map(tf.convert_to_tensor, tape.gradient(value, [queries, items]))
        assert np.isfinite(value) and all(np.isfinite(one).all() for one in gradients)


def test_arguments():
    with pytest.raises(ValueError, match=r"negatives must have the shape \[K\]"):
        bpr_max(QUERIES, ITEMS, TARGETS, [[1]])
    with pytest.raises(ValueError, match="queries and items must have the same width"):
        top1_max(QUERIES[:, :2], ITEMS, TARGETS, NEGATIVES)
