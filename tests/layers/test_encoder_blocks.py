"""The blocks of BERT4Rec, eSASRec and FMLP-Rec; tests/models has their numbers."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import (
    FilterBlock,
    GatedResidualBlock,
    HistoryEmbedding,
    PostNormBlock,
    SwiGLU,
)

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=[2, 5, 4]).astype("float32")
REAL = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
MASKED = [PostNormBlock, GatedResidualBlock]


def randomise(layer):
    layer.set_weights([RANDOM.normal(size=one.shape) for one in layer.get_weights()])
    return layer


@pytest.mark.parametrize("kind", MASKED)
def test_the_latest_position_alone(kind):
    layer = kind(2)
    layer.build(X.shape)
    randomise(layer)
    whole, scores = layer(X, mask=REAL, return_attention_scores=True)
    latest, of_latest = layer(X, mask=REAL, return_attention_scores=True, latest_only=True)
    np.testing.assert_allclose(latest[:, 0], whole[:, -1], atol=1e-4)
    np.testing.assert_allclose(of_latest[:, :, 0], scores[:, :, -1], atol=1e-6)
    np.testing.assert_allclose(layer(X[:1, 2:])[0], whole[0, 2:], atol=1e-4)


def test_the_latest_position_of_a_filter_block():
    layer = FilterBlock(5)
    layer.build(X.shape)
    randomise(layer)
    np.testing.assert_allclose(layer(X, latest_only=True)[:, 0], layer(X)[:, -1], atol=1e-4)


@pytest.mark.parametrize("kind", MASKED)
@pytest.mark.parametrize("causal", [False, True])
def test_a_later_event_changes_an_earlier_one_only_without_causality(kind, causal):
    layer = kind(causal=causal)
    layer.build(X.shape)
    randomise(layer)
    changed = X.copy()
    changed[:, 3, 0] += 1
    moved = np.abs(layer(changed) - layer(X)).max(axis=(0, 2))
    assert (moved[:3] > 1e-4).all() != causal and moved[3] > 1e-3


@pytest.mark.parametrize(
    "layer",
    [
        PostNormBlock(2, 0.25, 6, 1e-3, True),
        GatedResidualBlock(2, 0.25, 6, 1e-3, False),
        FilterBlock(5, 0.25, 6, 1e-3, 0.5),
        SwiGLU(6),
        HistoryEmbedding(5, 0.25, 0.5, False, True),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_configuration(layer):
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(
    "make",
    [PostNormBlock, GatedResidualBlock, lambda **options: FilterBlock(5, **options)],
    ids=["post norm", "gated residual", "filter"],
)
def test_mixed_precision(make, policy):
    layer, wide = make(dtype=tf.keras.mixed_precision.Policy(policy)), make()
    for one in (layer, wide):
        one.build(X.shape)
    wide.set_weights(layer.get_weights())
    assert layer(X).dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(tf.cast(layer(X), tf.float32), wide(X), atol=0.1)


def test_swiglu_by_numpy():
    layer = SwiGLU(6)
    layer(X)
    randomise(layer)
    gate, value, output = layer.get_weights()
    hidden = X @ gate
    expected = (hidden / (1 + np.exp(-hidden)) * (X @ value)) @ output
    np.testing.assert_allclose(layer(X), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="`units` must be an integer of at least 1, or None"):
        SwiGLU(0)


@pytest.mark.parametrize(("scale", "normalize"), [(True, False), (False, False), (False, True)])
def test_history_embedding_by_numpy(scale, normalize):
    layer = HistoryEmbedding(7, 0.0, 1.0, scale, normalize)
    layer.build([None, None, 4])
    expected = X * (2 if scale else 1) + layer.positions.get_weights()[0][2:]
    if normalize:
        expected -= expected.mean(axis=2, keepdims=True)
        expected /= expected.std(axis=2, keepdims=True)
    expected[~REAL] = 0
    np.testing.assert_allclose(layer(X, mask=tf.constant(REAL)), expected, atol=1e-5)
