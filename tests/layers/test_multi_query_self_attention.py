"""The encoder of MQSA-TED and its parts against one forward pass in loops."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import (
    FeedForward,
    LQueryAttention,
    MultiQuerySelfAttention,
    TransformerBlock,
    TransformerStack,
)

PADDED = np.array([[True] * 5, [False, False, True, True, True], [False] * 4 + [True]])
EPSILON = 1e-12


def random_inputs(batch=3, length=5, width=4):
    return np.random.default_rng(length).normal(size=[batch, length, width]).astype("float32")


def built(layer, x=None):
    """The layer with random weights, and these in order of creation."""
    layer(random_inputs() if x is None else x)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


def plain_norm(row, gamma, beta):
    mean = sum(row) / len(row)
    variance = sum((one - mean) ** 2 for one in row) / len(row)
    return (row - mean) / math.sqrt(variance + EPSILON) * gamma + beta


def plain_attention(x, mask, weights, num_heads, window, causal=True):
    """One query, one head, one key at a time; padded rows of the outputs stay 0."""
    wq, bq, wk, bk, wv, bv = weights["attention"]
    batch, length, width = x.shape
    depth = width // num_heads
    outputs, scores = np.zeros(x.shape), np.zeros([batch, num_heads, length, length])
    for b in range(batch):
        for t in range(length):
            if not mask[b, t]:
                continue
            latest = [x[b, s] for s in range(max(0, t - window + 1), t + 1) if mask[b, s]]
            normed = plain_norm(sum(latest) / len(latest), *weights["query_norm"])
            q = normed @ wq + bq
            attended = np.zeros(width)
            for h in range(num_heads):
                part = slice(h * depth, (h + 1) * depth)
                seen = [s for s in range(t + 1 if causal else length) if mask[b, s]]
                power = {
                    s: math.exp(np.dot(q[part], (x[b, s] @ wk + bk)[part]) / math.sqrt(depth))
                    for s in seen
                }
                for s in seen:
                    scores[b, h, t, s] = power[s] / sum(power.values())
                    attended[part] += scores[b, h, t, s] * (x[b, s] @ wv + bv)[part]
            outputs[b, t] = plain_norm(attended + normed, *weights["output_norm"])
    return outputs, scores


def plain_block(x, mask, weights, num_heads, window):
    attended, _ = plain_attention(x, mask, weights, num_heads, window)
    w1, b1, w2, b2 = weights["feed_forward"]
    return (attended + np.maximum(attended @ w1 + b1, 0.0) @ w2 + b2) * mask[:, :, None]


def arrays(layer):
    """The weights of an LQueryAttention or a TransformerBlock by part."""
    attention = getattr(layer, "attention", layer)
    parts = {
        "attention": [
            getattr(attention, f"{name}_{kind}")
            for name in ("query", "key", "value")
            for kind in ("kernel", "bias")
        ],
        "query_norm": [attention.query_norm.gamma, attention.query_norm.beta],
        "output_norm": [attention.output_norm.gamma, attention.output_norm.beta],
    }
    if hasattr(layer, "feed_forward"):
        network = layer.feed_forward
        parts["feed_forward"] = [
            network.hidden_kernel,
            network.hidden_bias,
            network.output_kernel,
            network.output_bias,
        ]
    return {
        name: [np.asarray(weight, "float64") for weight in weights]
        for name, weights in parts.items()
    }


@pytest.mark.parametrize(
    ("num_heads", "window", "padded", "causal"),
    [
        (1, 1, True, True),
        (2, 1, False, False),
        (1, 2, False, True),
        (2, 2, True, False),
        (2, 3, True, True),
        (1, 3, False, False),
        (1, 4, True, False),
        (2, 5, False, True),
        (1, 5, True, True),
        (2, 9, True, True),
        (1, 9, False, False),
    ],
)
def test_attention_equals_the_loop(num_heads, window, padded, causal):
    mask = PADDED if padded else None
    layer, x = built(LQueryAttention(num_heads, window, causal=causal)), random_inputs()
    outputs, scores = layer(
        x, mask=None if mask is None else tf.constant(mask), return_attention_scores=True
    )
    real = np.ones([3, 5], bool) if mask is None else mask
    expected, expected_scores = plain_attention(x, real, arrays(layer), num_heads, window, causal)
    np.testing.assert_allclose(outputs.numpy()[real], expected[real], atol=1e-4)
    np.testing.assert_allclose(
        scores.numpy().transpose(0, 2, 1, 3)[real],
        expected_scores.transpose(0, 2, 1, 3)[real],
        atol=1e-5,
    )


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("num_blocks", [1, 2])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_both_stacks_equal_the_loop(num_heads, num_blocks, alpha):
    layer, x = (
        built(MultiQuerySelfAttention(num_blocks, num_heads, query_window=3, alpha=alpha, units=6)),
        random_inputs(),
    )
    outputs, scores = layer(x, mask=tf.constant(PADDED), return_attention_scores=True)
    np.testing.assert_array_equal(layer(x, mask=tf.constant(PADDED)), outputs)
    expected, expected_scores = np.zeros(x.shape), np.zeros([3, 5, 5])
    for weight, window, stack in ((alpha, 1, layer.short), (1 - alpha, 3, layer.long)):
        if stack is None:
            assert weight == 0
            continue
        y = x
        for block in stack.blocks:
            attention = plain_attention(y, PADDED, arrays(block), num_heads, window)[1]
            y = plain_block(y, PADDED, arrays(block), num_heads, window)
        expected_scores += weight * sum(attention[:, head] for head in range(num_heads)) / num_heads
        gamma, beta = np.asarray(stack.norm.gamma), np.asarray(stack.norm.beta)
        for place in zip(*np.nonzero(PADDED), strict=True):
            expected[place] += weight * plain_norm(y[place], gamma, beta)
    np.testing.assert_allclose(outputs.numpy()[PADDED], expected[PADDED], atol=2e-4)
    np.testing.assert_allclose(scores.numpy()[PADDED], expected_scores[PADDED], atol=1e-4)


@pytest.mark.parametrize(
    ("window", "padded", "causal"),
    [(1, True, True), (2, False, True), (3, True, False), (5, True, True), (9, False, False)],
)
def test_the_latest_position_alone(window, padded, causal):
    mask = tf.constant(np.concatenate([PADDED[:2], np.zeros([1, 5], bool)])) if padded else None
    x = random_inputs()
    layers = [LQueryAttention(2, window, causal=causal), TransformerBlock(2, window, causal=causal)]
    for layer in (*layers, MultiQuerySelfAttention(2, 2, window, causal=causal)):
        built(layer, x)
        outputs, scores = layer(x, mask=mask, return_attention_scores=True)
        latest, latest_scores = layer(x, mask=mask, return_attention_scores=True, latest_only=True)
        assert (latest.shape, latest_scores.shape[-2:]) == ((3, 1, 4), (1, 5))
        np.testing.assert_allclose(latest, outputs[:, -1:], atol=1e-5)
        np.testing.assert_allclose(latest_scores, scores[..., -1:, :], atol=1e-6)
        np.testing.assert_array_equal(layer(x, mask=mask, latest_only=True), latest)


def test_window_means_worked_by_hand():
    # Q and K are 0, so attention is a mean; V is 0 too: o = LayerNorm(LayerNorm(m)), the direction
    # of the window's mean from its own mean. Events (2, 0), (0, 6), (4, 0) with W = 2 have the
    # means (2, 0), (1, 3), (2, 3): signs + -, - +, - +.
    layer = LQueryAttention(query_window=2)
    x = tf.constant([[[0.0, 0.0], [2.0, 0.0], [0.0, 6.0], [4.0, 0.0]]])
    layer(x)
    for name in ("query", "key", "value"):
        getattr(layer, f"{name}_kernel").assign(tf.zeros([2, 2]))
    y = layer(x, mask=tf.constant([[False, True, True, True]]))
    np.testing.assert_allclose(y[0, 1:], [[1, -1], [-1, 1], [-1, 1]], atol=1e-5)


LAYERS = {
    "attention": lambda **kwargs: LQueryAttention(2, 3, **kwargs),
    "block": lambda **kwargs: TransformerBlock(2, 3, **kwargs),
    "stack": lambda **kwargs: TransformerStack(2, 2, 3, **kwargs),
    "both stacks": lambda **kwargs: MultiQuerySelfAttention(2, 2, 3, **kwargs),
}
EACH = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())


@EACH
def test_a_later_event_changes_no_earlier_output(make):
    layer, x = built(make()), random_inputs()
    changed = x.copy()
    changed[:, 3] += 1.0
    np.testing.assert_array_equal(layer(changed)[:, :3], layer(x)[:, :3])
    assert not np.allclose(layer(changed)[:, 3], layer(x)[:, 3])
    assert not np.allclose(layer(changed)[:, 4], layer(x)[:, 4])


@EACH
def test_left_padding_changes_nothing(make):
    layer, x = built(make()), random_inputs()
    padded = np.concatenate([100.0 * random_inputs(length=4), x], axis=1)
    mask = np.concatenate([np.zeros([3, 4], bool), np.ones([3, 5], bool)], axis=1)
    np.testing.assert_allclose(layer(padded, mask=tf.constant(mask))[:, 4:], layer(x), atol=1e-5)


def test_padded_positions_of_a_block_are_zero():
    y = built(TransformerBlock())(random_inputs(), mask=tf.constant(PADDED))
    assert not np.any(y.numpy()[~PADDED])
    assert np.all(np.any(y.numpy()[PADDED], axis=-1))


@EACH
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_empty_histories_and_zeros_are_finite(make, policy):
    layer = make(dtype=tf.keras.mixed_precision.Policy(policy))
    x = tf.constant(random_inputs() * PADDED[:, :, None])
    mask = tf.constant(np.concatenate([np.zeros([1, 5], bool), PADDED[1:]]))
    layer(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, mask=mask)
        loss = tf.reduce_sum(tf.where(mask[:, :, None], tf.cast(y, tf.float32), 0.0)[:, :, :2] ** 2)
    assert y.dtype == layer.compute_dtype
    assert np.all(np.isfinite(tf.cast(y, tf.float32)))
    for gradient in tape.gradient(loss, [x, *layer.trainable_weights]):
        assert np.all(np.isfinite(tf.cast(gradient, tf.float32)))


@EACH
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(make, policy):
    layer, plain, x = make(dtype=tf.keras.mixed_precision.Policy(policy)), make(), random_inputs()
    y = layer(x, mask=tf.constant(PADDED))
    plain(x)
    plain.set_weights(layer.get_weights())
    assert {weight.dtype for weight in layer.weights} <= {"float32", tf.float32}
    difference = np.asarray(tf.cast(y, tf.float32)) - np.asarray(plain(x, mask=tf.constant(PADDED)))
    assert np.mean(np.abs(difference[PADDED])) < 0.03


def test_float16_products_stay_in_range():
    # Q·K = 256 * 1 * 1,000 = 256,000 is over float16's 65,504; divided by sqrt(256) it is 16,000.
    layer = LQueryAttention(dtype=tf.keras.mixed_precision.Policy("mixed_float16"))
    x = 1000.0 * np.sign(np.random.default_rng(0).normal(size=[1, 3, 256])).astype("float32")
    layer(x)
    for name in ("query", "key", "value"):
        getattr(layer, f"{name}_kernel").assign(np.eye(256, dtype="float32"))
    y, scores = layer(x, return_attention_scores=True)
    np.testing.assert_allclose(scores[0, 0], np.eye(3), atol=1e-3)
    assert np.all(np.isfinite(tf.cast(y, tf.float32)))


def test_float64_keeps_its_precision():
    layer = LQueryAttention(2, 3, dtype="float64")
    x = random_inputs().astype("float64")
    built(layer, x)
    expected, _ = plain_attention(x, PADDED, arrays(layer), 2, 3)
    np.testing.assert_allclose(
        layer(x, mask=tf.constant(PADDED)).numpy()[PADDED], expected[PADDED], atol=1e-12
    )


def test_a_stack_of_weight_zero_is_not_made():
    x = random_inputs()
    short, long, both = (built(MultiQuerySelfAttention(alpha=alpha)) for alpha in (1.0, 0.0, 0.25))
    assert 2 * len(short.weights) == 2 * len(long.weights) == len(both.weights)
    assert short.long is None and long.short is None
    half = len(both.get_weights()) // 2
    short.set_weights(both.get_weights()[:half])
    long.set_weights(both.get_weights()[half:])
    np.testing.assert_allclose(both(x), 0.25 * short(x) + 0.75 * long(x), atol=1e-5)


def test_every_weight_has_a_gradient():
    layer, x = built(MultiQuerySelfAttention(2, 2)), random_inputs()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x)[:, :, 0] ** 2)
    for gradient, weight in zip(
        tape.gradient(loss, layer.trainable_weights), layer.trainable_weights, strict=True
    ):
        # A bias of the keys adds the same to all logits of a query.
        assert "key_bias" in weight.name or np.any(np.abs(gradient) > 1e-9), weight.name


def test_projections_are_drawn_on_their_own():
    layer = MultiQuerySelfAttention()
    layer(random_inputs())
    kernels = [weight for weight in layer.get_weights() if weight.ndim == 2]
    assert len(kernels) == 10
    assert len({kernel.tobytes() for kernel in kernels}) == 10


@EACH
def test_dropout_only_in_training(make):
    layer, x = built(make(dropout=0.5)), random_inputs()
    np.testing.assert_array_equal(layer(x), layer(x, training=False))
    assert not np.allclose(layer(x, training=True), layer(x))


@pytest.mark.parametrize("window", [1, 3])
def test_compiled_by_xla(window):
    layer, x = built(TransformerBlock(2, window)), random_inputs()
    compiled = tf.function(lambda x, mask: layer(x, mask=mask), jit_compile=True)
    np.testing.assert_allclose(
        compiled(x, tf.constant(PADDED)), layer(x, mask=tf.constant(PADDED)), atol=1e-4
    )


@pytest.mark.parametrize(
    "layer",
    [
        LQueryAttention(2, 4, 0.25, 1e-6),
        TransformerBlock(2, 4, 0.25, 7, 1e-6),
        MultiQuerySelfAttention(2, 2, 4, 0.75, False, 0.25, 7, 1e-6),
        TransformerStack(2, 2, 4, False, 0.25, 7, 1e-6),
        MultiQuerySelfAttention(alpha=1),
    ],
    ids=lambda layer: layer.name,
)
def test_config_round_trip(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    x = random_inputs()
    layer(x), again(x)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(x), layer(x))


def test_the_block_hands_its_arguments_on():
    block = TransformerBlock(2, 4, 0.25, 7, 1e-6, dtype="float64")
    assert isinstance(block.feed_forward, FeedForward)
    assert (
        block.feed_forward.units,
        block.feed_forward.dropout,
        block.feed_forward.compute_dtype,
    ) == (7, 0.25, "float64")
    assert (
        block.attention.num_heads,
        block.attention.query_window,
        block.attention.dropout,
        block.attention.epsilon,
    ) == (2, 4, 0.25, 1e-6)
    assert block.attention.compute_dtype == "float64"
    _, scores = block(random_inputs().astype("float64"), return_attention_scores=True)
    assert (scores.shape, scores.dtype) == ((3, 2, 5, 5), tf.float64)


def test_saved_functional_model_gives_the_same(tmp_path):
    history = tf.keras.Input([None], dtype="int32")
    x = tf.keras.layers.Embedding(9, 6, mask_zero=True)(history)
    model = tf.keras.Model(history, MultiQuerySelfAttention(2, 2, dropout=0.1)(x))
    items = np.array([[0, 0, 0, 1, 2], [3, 4, 5, 6, 7]], "int32")
    expected = model(items)
    padded = np.concatenate([np.zeros([2, 3], "int32"), items], axis=1)
    np.testing.assert_allclose(
        model(padded)[:, -2:], expected[:, -2:], atol=1e-5
    )  # the Embedding's mask arrived
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        tf.keras.models.load_model(tmp_path / "model.keras")(items), expected
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LQueryAttention(0), "`num_heads` must be an integer of at least 1; got 0"),
        (
            lambda: TransformerBlock(query_window=1.5),
            "`query_window` must be an integer of at least 1; got 1.5",
        ),
        (
            lambda: MultiQuerySelfAttention(dropout=1.0),
            r"`dropout` must be a number in \[0, 1\); got 1.0",
        ),
        (
            lambda: LQueryAttention(epsilon=0.0),
            "`epsilon` must be a finite number above 0; got 0.0",
        ),
        (
            lambda: LQueryAttention(causal="False"),
            "`causal` must be True or False; got 'False'",
        ),
        (
            lambda: TransformerStack(causal=0),
            "`causal` must be True or False; got 0",
        ),
        (lambda: TransformerBlock(units=0), "`units` must be an integer of at least 1.*got 0"),
        (
            lambda: MultiQuerySelfAttention(num_blocks=0),
            "`num_blocks` must be an integer of at least 1; got 0",
        ),
        (
            lambda: MultiQuerySelfAttention(alpha=1.5),
            r"`alpha` must be a number in \[0, 1\]; got 1.5",
        ),
        (
            lambda: MultiQuerySelfAttention(num_heads=3)(tf.zeros([1, 2, 4])),
            "`num_heads` must divide the width of `inputs`, 4; got 3",
        ),
        (lambda: LQueryAttention()(tf.zeros([3, 4])), r"`inputs` must have the shape \[B, L, D\]"),
        (
            lambda: LQueryAttention()(tf.zeros([3, 4, 2]), mask=tf.ones([3, 4, 4], tf.bool)),
            r"`mask` must have the shape \[B, L\]",
        ),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
