import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import SelfAttentiveIntent


def twin(x, mask, query_kernel, key_kernel, length, diagonal, aggregation, max_wavelength=10000):
    """Plain loops over MODELS.md's steps 2-5; no `max_wavelength`: without the time signal."""
    batch, steps, depth = x.shape
    intents, attentions = np.zeros((batch, depth)), np.zeros((batch, steps, steps))
    for b in range(batch):
        real = [i for i in range(steps) if mask[b, i]]
        positioned = np.zeros((steps, depth))
        for i in range(steps):
            t = length - steps + i
            for c in range(depth):
                positioned[i, c] = x[b, i, c]
                if max_wavelength is not None:
                    angle = t / max_wavelength ** (2 * (c // 2) / depth)
                    positioned[i, c] += math.sin(angle) if c % 2 == 0 else math.cos(angle)
        query, key = (
            np.maximum(positioned @ query_kernel, 0),
            np.maximum(positioned @ key_kernel, 0),
        )
        for i in real:
            alone = len(real) == 1
            among = [j for j in real if diagonal != "before" or j != i or alone]
            weights = [math.exp(query[i] @ key[j] / math.sqrt(depth)) for j in among]
            for j, weight in zip(among, weights, strict=True):
                if not (diagonal == "after" and j == i and not alone):
                    attentions[b, i, j] = weight / sum(weights)
        attended = [attentions[b, i] @ x[b] for i in real]
        if real:
            intents[b] = {"mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min}[
                aggregation
            ](attended, axis=0)
    return intents, attentions


def example(depth=6, steps=4):
    random = np.random.default_rng(0)
    x = random.normal(size=(5, steps, depth)).astype(np.float32)
    mask = np.array(
        [
            [True] * 4,
            [False, True, True, True],
            [False, False, True, True],
            [False, False, False, True],
            [False] * 4,
        ]
    )
    return x, mask


def kernels(layer):
    return layer.query_kernel.numpy(), layer.key_kernel.numpy()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("diagonal", ["after", "before", "keep"])
@pytest.mark.parametrize("aggregation", ["mean", "sum", "max", "min"])
def test_against_loops(tied, diagonal, aggregation):
    x, mask = example()
    layer = SelfAttentiveIntent(4, tied, diagonal, aggregation)
    intent, scores = layer(tf.constant(x), mask=tf.constant(mask), return_attention_scores=True)
    expected, attention = twin(x, mask, *kernels(layer), 4, diagonal, aggregation)
    np.testing.assert_allclose(scores, attention, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(intent, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("options", "max_wavelength"),
    [({"time_signal": False}, None), ({"max_wavelength": 3.0}, 3.0)],
    ids=["no time signal", "other wavelengths"],
)
def test_time_signal_against_loops(options, max_wavelength, tied):
    x, mask = example()
    layer = SelfAttentiveIntent(4, tied, **options)
    intent, scores = layer(tf.constant(x), mask=tf.constant(mask), return_attention_scores=True)
    by_rows = layer.from_rows(
        tf.reshape(x, [20, 6]), tf.reshape(tf.range(20), [5, 4]), tf.constant(mask)
    )
    expected, attention = twin(x, mask, *kernels(layer), 4, "after", "mean", max_wavelength)
    np.testing.assert_allclose(scores, attention, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(intent, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_rows, expected, rtol=1e-4, atol=1e-5)
    usual, _ = twin(x, mask, *kernels(layer), 4, "after", "mean")
    assert np.abs(usual - expected).max() > 0.01


@pytest.mark.parametrize("aggregation", ["mean", "sum", "max", "min"])
def test_without_self_attention_the_window_itself_is_aggregated(aggregation):
    x, mask = example()
    aggregate = {"mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min}[aggregation]
    expected = [
        aggregate(row[real], axis=0) if real.any() else np.zeros(6)
        for row, real in zip(x, mask, strict=True)
    ]
    layer = SelfAttentiveIntent(4, False, aggregation=aggregation, self_attention=False)
    intent, scores = layer(tf.constant(x), mask=tf.constant(mask), return_attention_scores=True)
    by_rows = layer.from_rows(
        tf.reshape(x, [20, 6]), tf.reshape(tf.range(20), [5, 4]), tf.constant(mask)
    )
    np.testing.assert_allclose(intent, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_rows, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scores, [np.diag(row.astype(float)) for row in mask])
    assert layer.weights == []


def test_attention_by_hand():
    # D = 1, two items 0 and 0, W = 1: positions give sin(0) = 0 and sin(1), so q = k = [0, s] and
    # the logits of row 2 are [0, s^2].
    layer = SelfAttentiveIntent(kernel_initializer="ones")
    _, scores = layer(tf.zeros([1, 2, 1]), return_attention_scores=True)
    s = math.sin(1.0)
    np.testing.assert_allclose(scores[0], [[0.0, 0.5], [1 / (1 + math.exp(s * s)), 0.0]], rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_products_over_rows_equal_products_over_positions(tied):
    x, mask = example()
    indices = np.random.default_rng(1).integers(0, 3, size=(5, 4))
    rows = x[:3, 0]
    layer = SelfAttentiveIntent(4, tied)
    variables, results = None, []
    for way in ("positions", "rows"):
        leaf = tf.Variable(rows)
        with tf.GradientTape() as tape:
            intent = (
                layer.from_rows(leaf, tf.constant(indices, tf.int32), tf.constant(mask))
                if way == "rows"
                else layer(tf.gather(leaf, indices), mask=tf.constant(mask))
            )
            loss = tf.reduce_sum(intent * tf.range(6, dtype=tf.float32))
        variables = [leaf, *layer.trainable_variables]
        gradients = tape.gradient(loss, variables)
        results.append(
            [intent.numpy(), *(tf.convert_to_tensor(gradient).numpy() for gradient in gradients)]
        )
    assert len(variables) == (2 if tied else 3)
    for by_position, by_row in zip(*results, strict=True):
        np.testing.assert_allclose(by_row, by_position, rtol=1e-4, atol=1e-5)


def test_tied_has_one_kernel():
    for tied, count in ((True, 1), (False, 2)):
        layer = SelfAttentiveIntent(tied=tied)
        layer(tf.zeros([1, 2, 4]))
        assert len(layer.trainable_variables) == count


def test_left_padding_and_padded_content_change_nothing():
    x, _ = example()
    layer = SelfAttentiveIntent(8)
    short = layer(tf.constant(x), mask=tf.ones([5, 4], tf.bool))
    padded = np.concatenate([np.full((5, 3, 6), 9.0, np.float32), x], axis=1)
    mask = np.concatenate([np.zeros((5, 3), bool), np.ones((5, 4), bool)], axis=1)
    np.testing.assert_allclose(
        layer(tf.constant(padded), mask=tf.constant(mask)), short, rtol=1e-5, atol=1e-6
    )


def test_one_item_is_its_own_intent_and_none_gives_zero():
    x, _ = example()
    for aggregation in ("mean", "sum", "max", "min"):
        intent = SelfAttentiveIntent(aggregation=aggregation)(
            tf.constant(x[:2]), mask=tf.constant([[False, False, False, True], [False] * 4])
        )
        np.testing.assert_allclose(intent[0], x[0, 3], rtol=1e-6)
        np.testing.assert_array_equal(intent[1], np.zeros(6))


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_near_and_finite(precision):
    x, mask = example()
    wide = SelfAttentiveIntent(4, name="wide")
    expected = wide(tf.constant(x), mask=tf.constant(mask)).numpy()
    layer = SelfAttentiveIntent(
        4,
        dtype=tf.keras.mixed_precision.Policy(precision)
        if hasattr(tf.keras.mixed_precision, "Policy")
        else precision,
    )
    layer.build((None, 4, 6))
    layer.set_weights(wide.get_weights())
    with tf.GradientTape() as tape:
        intent = layer(tf.constant(x), mask=tf.constant(mask))
        loss = tf.reduce_sum(tf.cast(intent, tf.float32))
    assert intent.dtype == (tf.bfloat16 if precision == "mixed_bfloat16" else tf.float16)
    np.testing.assert_allclose(tf.cast(intent, tf.float32), expected, atol=0.05)
    assert np.isfinite(tape.gradient(loss, layer.trainable_variables)[0].numpy()).all()


def test_config_round_trip_in_a_saved_functional_model(tmp_path):
    ids = tf.keras.Input([4], dtype="int32")
    vectors = tf.keras.layers.Embedding(9, 6, mask_zero=True)(ids)
    model = tf.keras.Model(ids, SelfAttentiveIntent(4, False, "before", "sum")(vectors))
    batch = tf.constant([[0, 0, 1, 2], [3, 4, 5, 6]])
    model.save(tmp_path / "m.keras")
    loaded = tf.keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(model(batch), loaded(batch))
    assert loaded.layers[-1].get_config()["diagonal"] == "before"
    one_more_padding_id = tf.constant([[0, 0, 1, 2]])
    np.testing.assert_allclose(model(one_more_padding_id), model(batch)[:1], rtol=1e-6)


def test_config_has_every_option():
    options = {"max_wavelength": 7.0, "self_attention": False, "time_signal": False}
    config = SelfAttentiveIntent.from_config(
        SelfAttentiveIntent(**options).get_config()
    ).get_config()
    assert {name: config[name] for name in options} == options
    assert {
        SelfAttentiveIntent().get_config()[name] for name in ("self_attention", "time_signal")
    } == {True}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"diagonal": "off"}, "diagonal must be one of after, before, keep, but is 'off'."),
        (
            {"aggregation": "median"},
            "aggregation must be one of mean, sum, max, min, but is 'median'.",
        ),
        ({"self_attention": "no"}, "`self_attention` must be True or False; got 'no'."),
        ({"time_signal": 0}, "`time_signal` must be True or False; got 0."),
    ],
)
def test_errors(argument, message):
    with pytest.raises(ValueError, match=message):
        SelfAttentiveIntent(**argument)
