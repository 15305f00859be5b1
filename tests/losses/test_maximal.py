"""GRU4Rec's losses; tests/models/test_gru4rec.py has the numbers of an independent script."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.losses import bpr_max, sampled_softmax, top1_max

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


def gradients_of(loss, queries, targets, negatives):
    """The loss and its dense gradients with respect to queries and items."""
    queries, items = tf.Variable(queries), tf.Variable(ITEMS)
    with tf.GradientTape() as tape:
        value = loss(queries, items, targets, negatives)
    return value, *map(tf.convert_to_tensor, tape.gradient(value, [queries, items]))


@pytest.mark.parametrize("loss", [bpr_max, top1_max])
def test_extreme_scores(loss):
    for found in gradients_of(loss, 1e3 * QUERIES, [2, 2, 2, 2], NEGATIVES):
        assert np.isfinite(found).all()


@pytest.mark.parametrize("loss", [bpr_max, top1_max, sampled_softmax])
def test_negatives_that_are_all_the_target_give_nothing(loss):
    for found in gradients_of(loss, QUERIES, [2, 2, 2, 2], [2, 2]):
        np.testing.assert_array_equal(found, tf.zeros_like(found))


@pytest.mark.parametrize(
    ("loss", "of_scores"),
    [
        (bpr_max, lambda true, other: -np.log(sigmoid(true - other)) + other**2),
        (top1_max, lambda true, other: sigmoid(other - true) + sigmoid(other**2)),
        # Over the target and two times the same item, all with the same correction.
        (sampled_softmax, lambda true, other: np.log(1 + 2 * np.exp(other - true))),
    ],
)
def test_one_position_without_negatives_leaves_the_others_theirs(loss, of_scores):
    # The first position has only its target, the second one item 2 twice, with weights of 1 / 2.
    value, of_queries, of_items = gradients_of(loss, QUERIES[:2], [2, 5], [2, 2])
    query = QUERIES[1]
    expected = of_scores(query @ ITEMS[5], query @ ITEMS[2]) / 2
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_array_equal(of_queries[0], np.zeros(3))
    assert np.abs(of_queries[1]).min() > 0
    assert np.flatnonzero(np.abs(of_items).max(axis=1)).tolist() == [2, 5]


def test_arguments():
    with pytest.raises(ValueError, match=r"negatives must have the shape \[K\]"):
        bpr_max(QUERIES, ITEMS, TARGETS, [[1]])
    with pytest.raises(ValueError, match="queries and items must have the same width"):
        top1_max(QUERIES[:, :2], ITEMS, TARGETS, NEGATIVES)
