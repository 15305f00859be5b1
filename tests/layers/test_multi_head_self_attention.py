"""Multi-head self-attention with an output projection, against Keras' own layer."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import MultiHeadSelfAttention

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=[3, 5, 4]).astype("float32")
REAL = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], bool)


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_by_keras(num_heads, causal):
    layer = MultiHeadSelfAttention(num_heads, causal)
    layer(X)
    weights = [RANDOM.normal(size=one.shape).astype("float32") for one in layer.get_weights()]
    layer.set_weights(weights)
    keras = tf.keras.layers.MultiHeadAttention(num_heads, 4 // num_heads)
    keras(X, X)
    keras.set_weights(
        [one.reshape(of.shape) for one, of in zip(weights, keras.get_weights(), strict=True)]
    )
    visible = REAL[:, np.newaxis] & (np.tri(5, dtype=bool) if causal else True)
    expected, expected_scores = keras(X, X, attention_mask=visible, return_attention_scores=True)
    found, scores = layer(X, mask=REAL, return_attention_scores=True)
    np.testing.assert_allclose(
        tf.boolean_mask(found, REAL), tf.boolean_mask(expected, REAL), atol=1e-5
    )
    rows = np.broadcast_to(REAL[:, np.newaxis, :, np.newaxis], scores.shape)
    np.testing.assert_allclose(scores.numpy()[rows], expected_scores.numpy()[rows], atol=1e-6)
    latest, scores_of_latest = layer(X, mask=REAL, return_attention_scores=True, latest_only=True)
    np.testing.assert_allclose(latest[:, 0], found[:, -1], atol=1e-6)
    np.testing.assert_allclose(scores_of_latest[:, :, 0], scores[:, :, -1], atol=1e-6)


def test_weights_are_dropped_only_in_training():
    layer = MultiHeadSelfAttention(2, dropout=0.9)
    np.testing.assert_array_equal(layer(X), layer(X, training=False))
    assert np.abs(layer(X, training=True) - layer(X)).max() > 1e-2


def test_arguments_and_configuration():
    config = MultiHeadSelfAttention(2, True, 0.25).get_config()
    assert MultiHeadSelfAttention.from_config(config).get_config() == config
    with pytest.raises(ValueError, match="`num_heads` must divide the width of `inputs`, 4; got 3"):
        MultiHeadSelfAttention(3)(X)
    with pytest.raises(ValueError, match="`causal` must be True or False; got 1"):
        MultiHeadSelfAttention(1, 1)
