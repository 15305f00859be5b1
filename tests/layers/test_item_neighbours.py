"""Sparse sums over the neighbours of a history, and the prior made of them."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import ItemNeighbours, TransitionPrior
from tfrec_attn.layers.item_neighbours import drop_padding

ITEMS, WIDTH = 60, 3
HISTORY = np.array([[0, 0, 4], [4, 4, 1], [0, 0, 0], [9, 2, 5]])


def random_rows():
    random = np.random.default_rng(0)
    items = np.stack([random.permutation(9)[:WIDTH] + 1 for _ in range(ITEMS + 1)])
    items[0], items[5, 1:] = 0, 0
    return items, random.uniform(0.5, 2, items.shape) * (items > 0)


def expected_sums(items, values, history, recency):
    """float64 [B, N + 1], by a loop."""
    sums = np.zeros((len(history), ITEMS + 1))
    for row, events in enumerate(history):
        for position, item in enumerate(events[::-1], start=1):
            for neighbour, value in zip(items[item], values[item], strict=True):
                sums[row, neighbour] += value / position**recency
    sums[:, 0] = 0
    return sums


def dense(items, values):
    """[B, N + 1]; each item comes once in a row."""
    items, values = np.asarray(items), np.asarray(values)
    result = np.zeros((len(items), ITEMS + 1))
    for row in range(len(items)):
        listed = items[row][items[row] > 0]
        assert len(set(listed.tolist())) == len(listed)
        result[row, listed] = values[row][items[row] > 0]
    assert (values[items == 0] == 0).all()
    return result


@pytest.mark.parametrize("recency", [0.0, 1.0])
def test_sums_against_a_loop(recency):
    layer = ItemNeighbours(ITEMS, WIDTH, recency)
    items, values = random_rows()
    layer.set_rows(items, values)
    found = dense(*layer(tf.constant(HISTORY)))
    np.testing.assert_allclose(found, expected_sums(items, values, HISTORY, recency), rtol=1e-6)
    padded = dense(*layer(tf.constant(np.pad(HISTORY, [[0, 0], [1, 0]]))))
    np.testing.assert_array_equal(padded, found)
    # So many columns are summed in a table of all items.
    wide = tf.constant(np.pad(HISTORY, [[0, 0], [5, 0]]))
    assert layer(wide)[0].shape == (len(HISTORY), ITEMS)
    np.testing.assert_allclose(dense(*layer(wide)), found, rtol=1e-6)
    np.testing.assert_allclose(dense(*layer(tf.cast(wide, tf.int32))), found, rtol=1e-6)


def test_a_graph_of_any_shape():
    layer = ItemNeighbours(ITEMS, WIDTH)
    layer.set_rows(*random_rows())
    traced = tf.function(layer.call, input_signature=[tf.TensorSpec([None, None], tf.int32)])
    wide = np.pad(HISTORY, [[0, 0], [5, 0]])
    for history in (HISTORY, HISTORY[:1], HISTORY[2:3], HISTORY[:0], HISTORY[:, :0], wide):
        history = tf.constant(history, tf.int32)
        for found, expected in zip(traced(history), layer(history), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_there_are_no_more_neighbours_than_items():
    layer = ItemNeighbours(ITEMS, 1000)
    assert layer.width == ITEMS
    assert layer.items.shape == layer.values.shape == (ITEMS + 1, ITEMS)
    assert not layer.trainable_weights


def test_permuted_items():
    layer, other = ItemNeighbours(ITEMS, WIDTH), ItemNeighbours(ITEMS, WIDTH)
    order = np.random.default_rng(1).permutation(ITEMS)
    layer.set_rows(*random_rows())
    other.set_rows(*random_rows())
    other.permute(order)
    rows = np.concatenate([[0], order + 1])
    renumbered = np.argsort(rows)[HISTORY]
    np.testing.assert_allclose(
        dense(*other(tf.constant(renumbered))), dense(*layer(tf.constant(HISTORY)))[:, rows]
    )


def test_the_prior_is_the_logarithm_of_shares():
    layer = TransitionPrior(ITEMS, WIDTH)
    items, values = random_rows()
    layer.rows.set_rows(items, values)
    assert not dense(*layer(tf.constant(HISTORY))).any()
    layer.weight.assign(0.3)
    layer.epsilon.assign(1e-3)
    sums = expected_sums(items, values, HISTORY, 1.0)
    shares = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-9)
    expected = 0.3 * (np.log(1e-3 + shares) - np.log(1e-3))
    np.testing.assert_allclose(dense(*layer(tf.constant(HISTORY))), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3), "`num_items` must be an integer of at least 1; got 0."),
        ((3, 1.5), "`neighbours` must be an integer of at least 1; got 1.5."),
        ((3, 2, 101), "`recency` must be from 0 to 100; got 101."),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match="must be") as caught:
        ItemNeighbours(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("cls", [ItemNeighbours, TransitionPrior])
def test_config(cls):
    layer = cls(ITEMS, WIDTH)
    assert cls.from_config(layer.get_config()).get_config() == layer.get_config()


def test_padding_between_items_is_dropped():
    items = tf.constant([[0, 7, 0, 2, 0], [0, 0, 0, 0, 0], [3, 0, 1, 0, 9]])
    values = tf.constant([[5, 0.5, 5, -1, 5], [5, 5, 5, 5, 5], [1, 5, 2, 5, 3.0]])
    found = drop_padding(items, values)
    np.testing.assert_array_equal(found[0], [[7, 2, 0], [0, 0, 0], [3, 1, 9]])
    np.testing.assert_array_equal(found[1], [[0.5, -1, 0], [0, 0, 0], [1, 2, 3]])
    assert all(one.shape == (2, 0) for one in drop_padding(items[:2, :1], values[:2, :1]))
