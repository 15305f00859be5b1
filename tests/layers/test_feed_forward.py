"""The position-wise network and learned positions."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import FeedForward, LearnedPositions


def random_inputs(batch=3, length=5, width=4):
    return np.random.default_rng(length).normal(size=[batch, length, width]).astype("float32")


def randomise(layer):
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])


@pytest.mark.parametrize("units", [None, 7])
def test_feed_forward_by_numpy(units):
    layer, x = FeedForward(units), random_inputs()
    layer(x)
    randomise(layer)
    w1, b1, w2, b2 = layer.get_weights()
    assert w1.shape == (4, units or 4)
    np.testing.assert_allclose(layer(x), np.maximum(x @ w1 + b1, 0.0) @ w2 + b2, atol=1e-5)
    np.testing.assert_allclose(layer(x[0]), layer(x)[0], atol=1e-6)


def test_feed_forward_sees_each_position_alone():
    layer, x = FeedForward(), random_inputs()
    changed = x.copy()
    changed[:, 2] += 1.0
    same = [0, 1, 3, 4]
    np.testing.assert_array_equal(layer(changed).numpy()[:, same], layer(x).numpy()[:, same])


def test_feed_forward_drops_hidden_units_and_outputs_only_in_training():
    layer, x = FeedForward(dropout=0.5), tf.ones([1, 2000, 4])
    np.testing.assert_array_equal(layer(x), layer(x, training=False))
    trained = layer(x, training=True).numpy()
    assert 0.4 < np.mean(trained == 0.0) < 0.7
    # A hidden unit that is dropped changes what is kept of the outputs, which would else be twice
    # the output without dropout.
    kept = trained[trained != 0.0]
    assert len(np.unique(np.round(kept, 4))) > 8


def test_positions_are_aligned_to_the_right():
    layer, x = LearnedPositions(6), random_inputs()
    layer(x)
    randomise(layer)
    (table,) = layer.get_weights()
    assert table.shape == (6, 4)
    np.testing.assert_allclose(layer(x), x + table[1:], atol=1e-6)
    np.testing.assert_allclose(layer(x[:, -2:]), x[:, -2:] + table[4:], atol=1e-6)


def test_positions_start_small():
    layer = LearnedPositions(1000, stddev=0.01)
    np.testing.assert_allclose(np.std(layer(tf.zeros([1, 1000, 8]))), 0.01, rtol=0.05)


def test_positions_of_an_unknown_length():
    layer = LearnedPositions(3)
    layer(tf.zeros([1, 3, 2]))
    run = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec([None, None, 2])])
    np.testing.assert_allclose(run(tf.zeros([2, 2, 2]))[0], layer.get_weights()[0][1:], atol=1e-7)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most `max_length` positions"):
        run(tf.zeros([2, 4, 2]))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(
    "make",
    [FeedForward, lambda **kwargs: LearnedPositions(5, stddev=1.0, **kwargs)],
    ids=["feed forward", "positions"],
)
def test_mixed_precision(make, policy):
    layer, x = make(dtype=tf.keras.mixed_precision.Policy(policy)), random_inputs()
    y, plain = layer(x), make()
    plain(x)
    plain.set_weights(layer.get_weights())
    assert y.dtype == layer.compute_dtype
    np.testing.assert_allclose(tf.cast(y, tf.float32), plain(x), atol=0.05)


def test_saved_functional_model_gives_the_same(tmp_path):
    history = tf.keras.Input([None], dtype="int32")
    x = tf.keras.layers.Embedding(9, 6, mask_zero=True)(history)
    x = FeedForward(5, dropout=0.1)(LearnedPositions(8)(x))
    model = tf.keras.Model(history, x)
    items = np.array([[0, 0, 0, 1, 2], [3, 4, 5, 6, 7]], "int32")
    expected = model(items)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        tf.keras.models.load_model(tmp_path / "model.keras")(items), expected
    )


@pytest.mark.parametrize(
    "layer",
    [FeedForward(7, 0.25, activation="gelu"), LearnedPositions(7, stddev=0.5)],
    ids=lambda layer: layer.name,
)
def test_config_round_trip(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    x = random_inputs()
    layer(x), again(x)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(x), layer(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeedForward(0), "`units` must be an integer of at least 1.*got 0"),
        (lambda: FeedForward(2.0), "`units` must be an integer of at least 1.*got 2.0"),
        (lambda: FeedForward(dropout=1.0), r"`dropout` must be a number in \[0, 1\); got 1.0"),
        (lambda: FeedForward(dropout=None), r"`dropout` must be a number in \[0, 1\); got None"),
        (lambda: LearnedPositions(0), "`max_length` must be an integer of at least 1; got 0"),
        (lambda: LearnedPositions(True), "`max_length` must be an integer of at least 1; got True"),
        (
            lambda: LearnedPositions(5, stddev=-1.0),
            "`stddev` must be a finite number of at least 0; got -1.0",
        ),
        (
            lambda: LearnedPositions(2)(tf.zeros([1, 3, 4])),
            "`inputs` must have at most `max_length` = 2 positions; got 3",
        ),
        (lambda: LearnedPositions(2)(tf.zeros([3])), r"`inputs` must have the shape \[..., L, D\]"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
