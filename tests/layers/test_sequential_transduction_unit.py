"""The block of HSTU against loops over heads and events."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import SequentialTransductionUnit

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=[2, 5, 4]).astype("float32")
REAL = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)


def random_layer(**options):
    layer = SequentialTransductionUnit(4, num_heads=2, **options)
    layer.build(X.shape)
    layer.set_weights([RANDOM.normal(size=one.shape) for one in layer.get_weights()])
    return layer


def silu(a):
    return a / (1 + np.exp(-a))


def normed(a, epsilon=1e-6):
    return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + epsilon)


def by_loops(layer):
    weights = {one.name.split("/")[-1].split(":")[0]: np.asarray(one) for one in layer.weights}
    outputs, scores = X.copy(), np.zeros([2, 2, 5, 5])
    u, v, q, k = np.split(silu(normed(X) @ weights["input_kernel"]), 4, axis=-1)
    for row, t in np.argwhere(REAL):
        attended = np.zeros(4)
        for head, columns in enumerate((slice(0, 2), slice(2, 4))):
            for j in range(t + 1):
                if REAL[row, j]:
                    # The four biases end with that of events at least 3 apart.
                    bias = weights["position_bias"][min(t - j, 3)]
                    score = q[row, t, columns] @ k[row, j, columns] + bias
                    scores[row, head, t, j] = silu(score) / 4
                    attended[columns] += silu(score) / 4 * v[row, j, columns]
        change = (u[row, t] * normed(attended)) @ weights["output_kernel"]
        outputs[row, t] += change + weights["output_bias"]
    return outputs, scores


def test_against_loops():
    layer = random_layer()
    expected, of_pairs = by_loops(layer)
    found, scores = layer(X, mask=REAL, return_attention_scores=True)
    np.testing.assert_allclose(found.numpy()[REAL], expected[REAL], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores, of_pairs, rtol=1e-4, atol=1e-5)
    assert (scores.numpy() < 0).any()
    latest, of_latest = layer(X, mask=REAL, return_attention_scores=True, latest_only=True)
    np.testing.assert_allclose(latest[:, 0], expected[:, -1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_latest[:, :, 0], of_pairs[:, :, -1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(X[:1, 2:])[0], expected[0, 2:], rtol=1e-4, atol=1e-4)


def test_a_gradient_of_all_weights():
    layer = random_layer()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(X, mask=REAL) ** 2)
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert np.all(gradient.numpy().any(axis=-1))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    layer = random_layer(dtype=tf.keras.mixed_precision.Policy(policy))
    wide = random_layer()
    weights = [0.3 * one for one in layer.get_weights()]
    for one in (layer, wide):
        one.set_weights(weights)
    assert layer(X).dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(tf.cast(layer(X), tf.float32), wide(X), atol=0.1)


def test_configuration_and_bad_arguments():
    config = SequentialTransductionUnit(6, 2, 0.25, 1e-3).get_config()
    assert SequentialTransductionUnit.from_config(config).get_config() == config
    with pytest.raises(ValueError, match="`max_length` must be an integer of at least 1; got 0"):
        SequentialTransductionUnit(0)
    with pytest.raises(ValueError, match="`epsilon` must be a finite number above 0; got 0"):
        SequentialTransductionUnit(4, epsilon=0)
    with pytest.raises(ValueError, match="`num_heads` must divide the width of `inputs`, 4; got 3"):
        SequentialTransductionUnit(4, 3).build(X.shape)
