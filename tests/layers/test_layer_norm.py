"""Layer normalisation against that of Keras."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import LayerNorm


def result(layer, x, upstream):
    """The output of a layer, and gradients of x and its weights."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        loss = tf.reduce_sum(y * tf.cast(upstream, y.dtype))
    return [y, *tape.gradient(loss, [x, *layer.trainable_variables])]


@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 8), (0, 8)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients_are_those_of_keras(shape, dtype):
    random = np.random.default_rng(1)
    x, upstream = (random.normal(2.0, 3.0, shape).astype(dtype) for _ in range(2))
    ours, theirs = (
        kind(epsilon=1e-3, dtype=dtype) for kind in (LayerNorm, tf.keras.layers.LayerNormalization)
    )
    for layer in (ours, theirs):
        layer.build(shape)
        layer.set_weights([np.linspace(0.5, 2.0, 8), np.linspace(-1.0, 1.0, 8)])
    for found, expected in zip(result(ours, x, upstream), result(theirs, x, upstream), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_equal_features_become_0():
    layer = LayerNorm(epsilon=1e-12)
    _, to_x, *_ = values = result(layer, np.full([1, 4], 3.0, np.float32), np.ones([1, 4]))
    np.testing.assert_array_equal(values[0], np.zeros([1, 4]))
    assert np.isfinite(to_x).all()


def test_the_configuration_makes_it_again():
    layer = LayerNorm(epsilon=0.5, name="norm")
    again = LayerNorm.from_config(layer.get_config())
    assert (again.epsilon, again.name) == (0.5, "norm")
