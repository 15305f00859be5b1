import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import MetricScoring


def distances(weight, user_long, user_short, item_long, item_short):
    out = np.zeros((len(user_long), len(item_long)))
    for b in range(len(user_long)):
        for n in range(len(item_long)):
            long = sum((user_long[b] - item_long[n]) ** 2)
            short = sum((user_short[b] - item_short[n]) ** 2)
            out[b, n] = weight * long + (1 - weight) * short
    return out


def example(seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=(count, 4)).astype(np.float32) for count in (3, 3, 5, 5)]


def test_by_hand():
    # 0.25 * ((1 - 0)^2 + (0 - 2)^2) + 0.75 * ((0 - 1)^2 + (0 - 0)^2) = 1.25 + 0.75
    y = MetricScoring(0.25)(*(tf.constant([row]) for row in ([1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [1.0, 0.0])))
    assert float(y[0, 0]) == pytest.approx(2.0)


@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_distances_against_loops(weight):
    arrays = example()
    np.testing.assert_allclose(MetricScoring(weight)(*map(tf.constant, arrays)), distances(weight, *arrays), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_inner_product_is_minus_distance_up_to_a_term_of_the_query(weight):
    user_long, user_short, item_long, item_short = example()
    layer = MetricScoring(weight)
    product = np.asarray(layer.query(user_long, user_short) @ tf.transpose(layer.items(item_long, item_short)))
    constant = product + distances(weight, user_long, user_short, item_long, item_short)
    np.testing.assert_allclose(constant, np.repeat(constant[:, :1], 5, axis=1), rtol=1e-4, atol=1e-5)


def test_an_unknown_part_of_the_query_does_not_count():
    user_long, user_short, item_long, item_short = example()
    layer = MetricScoring(0.3)
    items = tf.transpose(layer.items(item_long, item_short))
    alone = layer.query(user_long, user_short, tf.constant([False] * 3), tf.constant([True] * 3)) @ items
    changed = layer.query(user_long + 7.0, user_short, tf.constant([False] * 3), tf.constant([True] * 3)) @ items
    np.testing.assert_array_equal(alone, changed)
    short_only = -distances(0.0, user_long, user_short, item_long, item_short)
    np.testing.assert_array_equal(np.argsort(alone), np.argsort(short_only))
    nothing = layer.query(user_long, user_short, tf.constant([False] * 3), tf.constant([False] * 3)) @ items
    np.testing.assert_array_equal(nothing, np.zeros((3, 5)))


def test_config_round_trip():
    assert MetricScoring.from_config(MetricScoring(0.4, name="s").get_config()).weight == 0.4


@pytest.mark.parametrize("weight", [-0.1, 1.5])
def test_weight_out_of_range(weight):
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\], but is"):
        MetricScoring(weight)
