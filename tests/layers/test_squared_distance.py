"""Squared distances against loops, and as inner products; works under Keras 2 and Keras 3."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import SquaredDistance


def distances(points, items):
    return np.array([[np.sum((point - item) ** 2) for item in items] for point in points])


@pytest.fixture
def example():
    random = np.random.default_rng(0)
    return [random.normal(size=(count, 4)).astype(np.float32) for count in (3, 5)]


def test_by_hand():
    # (1 - 0)^2 + (0 - 2)^2
    assert float(
        SquaredDistance()(tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 2.0]]))[0, 0]
    ) == pytest.approx(5.0)


def test_distances_against_loops(example):
    np.testing.assert_allclose(
        SquaredDistance()(*map(tf.constant, example)), distances(*example), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("weight", [1.0, 0.3, [0.0, 0.5, 2.0]])
def test_the_inner_product_ranks_as_the_distance_does(example, weight):
    points, items = example
    layer = SquaredDistance()
    product = tf.matmul(layer.query(points, weight), layer.item(items), transpose_b=True).numpy()
    weights = np.broadcast_to(weight, [3])[:, np.newaxis]
    # w (|q|^2 - |v - q|^2)
    expected = weights * (np.sum(points**2, axis=1, keepdims=True) - distances(points, items))
    np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-5)


def test_config_round_trip():
    assert SquaredDistance.from_config(SquaredDistance(name="s").get_config()).name == "s"
