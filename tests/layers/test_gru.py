"""The gated recurrent unit, against loops."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import GRU

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=[3, 5, 4]).astype("float32")
REAL = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)


@pytest.fixture(scope="module")
def layer():
    layer = GRU(3)
    layer.build(X.shape)
    layer.set_weights([RANDOM.normal(size=one.shape) for one in layer.get_weights()])
    return layer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_loops(layer, x, real):
    kernel, of_gates, of_candidate, bias = layer.get_weights()
    states = np.zeros([*x.shape[:2], 3])
    for row in range(len(x)):
        h = np.zeros(3)
        for t in range(x.shape[1]):
            if real[row, t]:
                z, r, c = np.split(x[row, t] @ kernel + bias, 3)
                z = sigmoid(z + h @ of_gates[:, :3])
                r = sigmoid(r + h @ of_gates[:, 3:])
                c = np.tanh(c + (r * h) @ of_candidate)
                h = (1 - z) * h + z * c
            states[row, t] = h
    return states


def test_by_loops(layer):
    np.testing.assert_allclose(layer(X, mask=REAL), by_loops(layer, X, REAL), atol=1e-6)
    everywhere = np.ones_like(REAL)
    np.testing.assert_allclose(layer(X), by_loops(layer, X, everywhere), atol=1e-6)


def differentiable(layer, x):
    """The states of sequences without padding, by operations of which TensorFlow differentiates."""
    kernel, of_gates, of_candidate, bias = layer.trainable_variables
    h, states = tf.zeros([3, 3]), []
    for t in range(5):
        z, r, c = tf.split(tf.matmul(x[:, t], kernel) + bias, 3, axis=1)
        z = tf.sigmoid(z + tf.matmul(h, of_gates[:, :3]))
        r = tf.sigmoid(r + tf.matmul(h, of_gates[:, 3:]))
        h = (1 - z) * h + z * tf.tanh(c + tf.matmul(r * h, of_candidate))
        states.append(h)
    return tf.stack(states, axis=1)


def test_gradients_by_tensorflow_eagerly_and_in_a_graph(layer):
    def value_and_gradients(x, states=layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(states(x) ** 2 * tf.range(1.0, 6.0)[:, tf.newaxis])
        return value, tape.gradient(value, [x, *layer.trainable_variables])

    x = tf.constant(X)
    expected = value_and_gradients(x, lambda x: differentiable(layer, x))
    traced = tf.function(value_and_gradients, input_signature=[tf.TensorSpec([None, None, 4])])
    for found in (value_and_gradients(x), traced(x)):
        for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    graph = traced.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    assert not [node.op for node in nodes if "Cudnn" in node.op]
    assert "While" in {node.op.removeprefix("Stateless") for node in nodes}


def test_padding_has_no_gradient(layer):
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer(x, mask=REAL))
    gradient = np.abs(tape.gradient(value, x).numpy()).max(axis=2)
    assert (gradient[~REAL] == 0).all() and (gradient[REAL] > 0).all()


def test_arguments_and_configuration():
    assert GRU.from_config(GRU(3).get_config()).units == 3
    assert GRU()(X).shape == [3, 5, 4]
    with pytest.raises(ValueError, match="`units` must be an integer of at least 1, or None"):
        GRU(0)
    with pytest.raises(ValueError, match=r"`inputs` must have the shape \[B, L, D\]"):
        GRU().build([3, 4])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(layer, policy):
    narrow = GRU(3, dtype=tf.keras.mixed_precision.Policy(policy))
    narrow.build(X.shape)
    narrow.set_weights(layer.get_weights())
    states = narrow(X, mask=REAL)
    assert states.dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(tf.cast(states, tf.float32), layer(X, mask=REAL), atol=0.05)
