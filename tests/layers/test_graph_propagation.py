"""Propagation along a graph: worked by hand, and against a dense matrix; under Keras 2 and 3."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import GraphPropagation

# User 1 with the items 1 and 2, user 2 with 2 and 3.
USERS, ITEMS = [1, 1, 2, 2], [1, 2, 2, 3]


def padded(rows):
    return tf.constant(np.concatenate([np.zeros((1, len(rows[0]))), rows]), tf.float32)


def test_by_hand():
    layer = GraphPropagation(2, 3, USERS, ITEMS, 2)
    users, items = layer(
        padded([[0.5, -0.25], [0.2, 0.4]]), padded([[1.0, 0], [0, 0.5], [-0.5, 1]])
    )
    np.testing.assert_allclose(users[1:], [[0.544036, -0.029167], [0.040482, 0.531536]], atol=1e-6)
    np.testing.assert_allclose(
        items[1:], [[0.617851, 0], [0.175592, 0.392851], [-0.202860, 0.653206]], atol=1e-6
    )


@pytest.fixture
def example():
    """A layer of 5 users and 7 items, some without edges, some edges twice, and its matrix."""
    random = np.random.default_rng(2)
    users, items = random.integers(1, 5, 12), random.integers(1, 7, 12)
    users, items = np.append(users, users[:3]), np.append(items, items[:3])
    adjacency = np.zeros((6 + 8, 6 + 8))
    adjacency[users, 6 + items] = adjacency[6 + items, users] = 1
    degrees = np.maximum(adjacency.sum(axis=0), 1)
    step = adjacency / np.sqrt(degrees[:, np.newaxis] * degrees)
    matrix = sum(np.linalg.matrix_power(step, layer) for layer in range(4)) / 4
    values = [random.normal(size=(rows, 3)).astype(np.float32) for rows in (6, 8)]
    return GraphPropagation(5, 7, users, items), matrix, values


def test_against_the_matrix(example):
    layer, matrix, (users, items) = example
    for found, expected in (
        (layer(users, items), matrix @ np.concatenate([users, items])),
        (layer.of_users(tf.constant(users)), matrix[:, :6] @ users),
        (layer.of_items(tf.constant(items)), matrix[:, 6:] @ items),
    ):
        np.testing.assert_allclose(tf.concat(found, axis=0), expected, atol=1e-5)


def test_the_gradient_is_that_of_the_matrix(example):
    layer, matrix, values = example
    variables, weights = [tf.Variable(one) for one in values], [value**2 for value in values]
    with tf.GradientTape() as tape:
        results = layer(*map(tf.convert_to_tensor, variables))
        loss = sum(
            tf.reduce_sum(weight * result) for weight, result in zip(weights, results, strict=True)
        )
    found = tf.concat(tape.gradient(loss, variables), axis=0)
    np.testing.assert_allclose(found, matrix.T @ np.concatenate(weights), atol=1e-5)


def test_config_round_trip(example):
    layer, _, values = example
    again = GraphPropagation.from_config(layer.get_config())
    for one, other in zip(layer(*values), again(*values), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([], []), "`users` and `items` must be the two ends of one edge or more; got 0 and 0."),
        (([1], [1, 2]), "`users` and `items` must be the two ends of one edge or more; got 1 and"),
        (([0, 1], [1, 2]), "`users` must be in 1..2; got 0..1."),
        (([1, 2], [1, 4]), "`items` must be in 1..3; got 1..4."),
        (([1], [1], 0), "`num_layers` must be an integer of at least 1; got 0."),
    ],
)
def test_arguments_that_are_refused(arguments, sentence):
    with pytest.raises(ValueError) as raised:
        GraphPropagation(2, 3, *arguments)
    assert str(raised.value).startswith(sentence)
