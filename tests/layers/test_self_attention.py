import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import SelfAttention, SinusoidalPositions


def plain_attention(x, weights, mask=None, causal=False):
    """One query, one key, one number at a time; returns outputs and scores."""
    batch, length, _ = x.shape
    units = weights["value_kernel"].shape[1]
    q, k, v = (
        x @ weights[f"{name}_kernel"] + weights.get(f"{name}_bias", 0.0)
        for name in ("query", "key", "value")
    )
    outputs = np.zeros([batch, length, units])
    scores = np.zeros([batch, length, length])
    for b in range(batch):
        for i in range(length):
            seen = [
                j for j in range(length) if (mask is None or mask[b, j]) and (not causal or j <= i)
            ]
            exponentials = {j: math.exp(np.dot(q[b, i], k[b, j]) / math.sqrt(units)) for j in seen}
            for j in seen:
                scores[b, i, j] = exponentials[j] / sum(exponentials.values())
                outputs[b, i] += scores[b, i, j] * v[b, j]
    return outputs, scores


def weights_of(layer):
    """Weights by their last name, which Keras 2 writes with a path and ':0'."""
    return {
        weight.name.split("/")[-1].split(":")[0]: np.asarray(weight, "float64")
        for weight in layer.weights
    }


def random_inputs(batch=3, length=5, width=4):
    return np.random.default_rng(length).normal(size=[batch, length, width]).astype("float32")


MASK = np.array([[True] * 5, [False, False, True, True, True], [False, True, False, True, True]])


def test_values_worked_by_hand():
    # Every projection is the identity and d_k = 4; the events are a = (r, 0, 0, 0) with r² = 2 ln
    # 3, and b = 0. So a·a / sqrt(4) = ln 3 and the other products are 0: a attends to (a, b) with 3
    # : 1, b with 1 : 1.
    side = math.sqrt(2 * math.log(3))
    x = tf.constant([[[side, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    layer = SelfAttention(kernel_initializer="identity")
    outputs, scores = layer(x, return_attention_scores=True)
    np.testing.assert_allclose(scores[0], [[0.75, 0.25], [0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(outputs[0, :, 0], [0.75 * side, 0.5 * side], atol=1e-6)


@pytest.mark.parametrize("causal", [True, False])
def test_a_mask_of_numbers(causal):
    layer, x = SelfAttention(causal=causal), random_inputs()
    expected = layer(x, mask=tf.constant(MASK))
    found = layer(x, mask=tf.constant(MASK, tf.int32))
    np.testing.assert_array_equal(found[MASK], expected[MASK])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["all real", "padded"])
@pytest.mark.parametrize("units", [None, 3])
def test_equals_the_loop(causal, mask, units):
    x = random_inputs()
    layer = SelfAttention(units=units, causal=causal, use_bias=True)
    layer(x)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    outputs, scores = layer(
        x, mask=None if mask is None else tf.constant(mask), return_attention_scores=True
    )
    expected_outputs, expected_scores = plain_attention(x, weights_of(layer), mask, causal)
    assert outputs.shape == (3, 5, units or 4)
    np.testing.assert_allclose(outputs, expected_outputs, atol=1e-5)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)


def test_rows_sum_to_one_over_the_real_keys():
    _, scores = SelfAttention(units=64)(
        30 * random_inputs(), mask=tf.constant(MASK), return_attention_scores=True
    )
    np.testing.assert_allclose(tf.reduce_sum(scores, axis=-1), np.ones([3, 5]), atol=1e-6)
    assert not np.any(np.asarray(scores)[~np.broadcast_to(MASK[:, None, :], [3, 5, 5])])


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_row_without_any_key_is_zero_and_its_gradient_finite(policy, causal):
    x = tf.constant(random_inputs())
    mask = tf.constant([[False] * 5, [False] * 4 + [True], [True] * 5])
    layer = SelfAttention(
        causal=causal, use_bias=True, dtype=tf.keras.mixed_precision.Policy(policy)
    )
    layer(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, mask=mask)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
    np.testing.assert_array_equal(tf.cast(y[0], tf.float32), np.zeros([5, 4]))
    for gradient in tape.gradient(loss, [x, *layer.trainable_weights]):
        assert np.all(np.isfinite(tf.cast(gradient, tf.float32)))


def test_left_padding_changes_nothing():
    layer = SelfAttention(causal=True)
    x = random_inputs()
    padded = np.concatenate([random_inputs(length=3), x], axis=1)
    mask = np.concatenate([np.zeros([3, 3], bool), np.ones([3, 5], bool)], axis=1)
    np.testing.assert_allclose(layer(padded, mask=tf.constant(mask))[:, 3:], layer(x), atol=1e-6)


def test_a_later_event_changes_no_earlier_output_where_causal():
    layer, free = SelfAttention(causal=True), SelfAttention()
    x = random_inputs()
    changed = x.copy()
    changed[:, 3] += 1.0
    np.testing.assert_array_equal(layer(changed)[:, :3], layer(x)[:, :3])
    assert not np.allclose(layer(changed)[:, 3:], layer(x)[:, 3:])
    assert not np.allclose(free(changed)[:, :3], free(x)[:, :3])


@pytest.mark.parametrize("causal", [False, True])
def test_sequences_of_a_row_do_not_meet(causal):
    layer, inputs = SelfAttention(causal=causal), tf.random.normal([1, 5, 4], seed=1)
    found = layer(inputs, mask=tf.constant([[1, 1, 2, 2, 2]]))
    apart = [layer(inputs[:, :2]), layer(inputs[:, 2:])]
    np.testing.assert_allclose(found, tf.concat(apart, axis=1), rtol=1e-5, atol=1e-6)


def test_every_projection_is_drawn_on_its_own():
    layer = SelfAttention(kernel_initializer=tf.keras.initializers.GlorotUniform())
    layer(random_inputs())
    query, key, value = (weights_of(layer)[f"{name}_kernel"] for name in ("query", "key", "value"))
    assert not np.allclose(query, key)
    assert not np.allclose(key, value)


def test_dropout_only_in_training():
    layer = SelfAttention(dropout=0.5)
    x = random_inputs()
    np.testing.assert_array_equal(layer(x), layer(x, training=False))
    assert not np.allclose(layer(x, training=True), layer(x))
    _, scores = layer(x, training=True, return_attention_scores=True)
    np.testing.assert_allclose(tf.reduce_sum(scores, axis=-1), np.ones([3, 5]), atol=1e-6)


def test_regularizer():
    layer = SelfAttention(kernel_regularizer=tf.keras.regularizers.L2(0.5))
    layer(random_inputs())
    expected = 0.5 * sum(np.sum(weight**2) for weight in weights_of(layer).values())
    np.testing.assert_allclose(sum(float(loss) for loss in layer.losses), expected, rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    x = random_inputs()
    layer = SelfAttention(causal=True, use_bias=True, dtype=tf.keras.mixed_precision.Policy(policy))
    outputs, scores = layer(x, mask=tf.constant(MASK), return_attention_scores=True)
    assert outputs.dtype == layer.compute_dtype
    assert scores.dtype == tf.float32
    assert {weight.dtype for weight in layer.weights} <= {"float32", tf.float32}
    expected, _ = plain_attention(x, weights_of(layer), MASK, causal=True)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.05)


def test_float16_products_stay_in_range():
    # q·k = 256 * 20² = 102,400 is over float16's 65,504; divided by sqrt(256) it is 6,400.
    layer = SelfAttention(
        kernel_initializer="identity", dtype=tf.keras.mixed_precision.Policy("mixed_float16")
    )
    y = layer(tf.fill([1, 2, 256], 20.0))
    np.testing.assert_allclose(tf.cast(y, tf.float32), np.full([1, 2, 256], 20.0), rtol=1e-2)


def test_float64_keeps_its_precision():
    x = random_inputs().astype("float64")
    layer = SelfAttention(dtype="float64")
    outputs = layer(x)
    np.testing.assert_allclose(outputs, plain_attention(x, weights_of(layer))[0], atol=1e-13)


def test_compiled_by_xla():
    layer = SelfAttention(causal=True)
    x = random_inputs()
    expected = layer(x, mask=tf.constant(MASK))
    compiled = tf.function(lambda x, mask: layer(x, mask=mask), jit_compile=True)
    np.testing.assert_allclose(compiled(x, tf.constant(MASK)), expected, atol=1e-5)


def test_config_round_trip():
    layer = SelfAttention(
        units=3,
        causal=True,
        use_bias=True,
        dropout=0.25,
        kernel_initializer="he_normal",
        kernel_regularizer="l2",
    )
    again = SelfAttention.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.units, again.causal, again.use_bias, again.dropout) == (3, True, True, 0.25)
    assert type(again.kernel_initializer) is type(layer.kernel_initializer)
    x = random_inputs()
    layer(x), again(x)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(x), layer(x))


def test_saved_functional_model_gives_the_same(tmp_path):
    history = tf.keras.Input([None], dtype="int32")
    x = tf.keras.layers.Embedding(9, 6, mask_zero=True)(history)
    x = SinusoidalPositions(length=8)(x)
    x = SelfAttention(units=5, causal=True, dropout=0.1)(x)
    model = tf.keras.Model(history, x)
    items = np.array([[0, 0, 0, 1, 2], [3, 4, 5, 6, 7], [0, 0, 0, 0, 0]], "int32")
    expected = model(items)
    np.testing.assert_array_equal(expected[0, :3], np.zeros([3, 5]))  # the Embedding's mask arrived
    padded = np.concatenate([np.zeros([3, 3], "int32"), items], axis=1)
    np.testing.assert_allclose(model(padded)[:, 3:], expected, atol=1e-6)

    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(items), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "`units` must be an integer of at least 1.*got 0"),
        ({"units": 8.0}, "`units` must be an integer of at least 1.*got 8.0"),
        ({"causal": 1}, "`causal` must be True or False; got 1"),
        ({"use_bias": "yes"}, "`use_bias` must be True or False; got 'yes'"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\); got 1.0"),
        ({"dropout": -0.1}, r"`dropout` must be a number in \[0, 1\); got -0.1"),
        ({"dropout": None}, r"`dropout` must be a number in \[0, 1\); got None"),
        (
            {"kernel_initializer": "small"},
            "`kernel_initializer` must be one that tf.keras.initializers knows.*got 'small'",
        ),
        (
            {"kernel_regularizer": "l7"},
            "`kernel_regularizer` must be one that tf.keras.regularizers knows.*l2.*got 'l7'",
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SelfAttention(**arguments)


def test_wrong_inputs():
    with pytest.raises(ValueError, match=r"`inputs` must have the shape \[B, L, D\]"):
        SelfAttention()(tf.zeros([3, 4]))
    with pytest.raises(ValueError, match=r"`mask` must have the shape \[B, L\]"):
        SelfAttention()(tf.zeros([3, 4, 2]), mask=tf.ones([3, 4, 4], tf.bool))
