import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import SinusoidalPositions


def plain_signal(positions, depth, max_wavelength=10000.0):
    """The paper's two equations, one cell at a time."""
    table = np.zeros((len(positions), depth))
    for row, t in enumerate(positions):
        for column in range(depth):
            i = column // 2
            angle = t / max_wavelength ** (2 * i / depth)
            table[row, column] = math.sin(angle) if column % 2 == 0 else math.cos(angle)
    return table


def random_inputs(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def test_values_worked_by_hand():
    # D = 4: columns are sin(t), cos(t), sin(t / 100), cos(t / 100), because 10000^(2/4) = 100.
    expected = [
        [0.0, 1.0, 0.0, 1.0],
        [0.841471, 0.540302, 0.0099998, 0.99995],
        [0.909297, -0.416147, 0.0199987, 0.9998],
    ]
    np.testing.assert_allclose(SinusoidalPositions()(tf.zeros([1, 3, 4]))[0], expected, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
@pytest.mark.parametrize("max_wavelength", [10.0, 10000.0])
def test_equals_the_loop(depth, max_wavelength):
    x = random_inputs(2, 7, depth)
    expected = x + plain_signal(range(7), depth, max_wavelength)
    np.testing.assert_allclose(
        SinusoidalPositions(max_wavelength=max_wavelength)(x), expected, atol=1e-6
    )


@pytest.mark.parametrize(("depth", "length", "apart"), [(150, 5, 0.02), (7, 50, 1.9)])
def test_how_far_the_signal_of_attrecs_authors_is(depth, length, apart):
    half = depth // 2
    angle = np.arange(length)[:, None] * np.exp(-np.arange(half) * math.log(10000) / (half - 1))
    theirs = np.zeros((length, depth))
    theirs[:, 0 : 2 * half : 2], theirs[:, 1 : 2 * half : 2] = np.sin(angle), np.cos(angle)
    assert np.abs(SinusoidalPositions().signal(length, depth) - theirs).max() == pytest.approx(
        apart, rel=0.02
    )


def test_late_positions_are_exact_to_float32():
    signal = SinusoidalPositions(length=50_000).signal(2, 6)
    assert signal.dtype == tf.float32
    np.testing.assert_allclose(signal, plain_signal([49_998, 49_999], 6), atol=1e-6)


def test_the_last_position_is_always_length_minus_one():
    layer = SinusoidalPositions(length=6)
    np.testing.assert_allclose(layer.signal(6, 5), plain_signal(range(6), 5), atol=1e-6)
    np.testing.assert_allclose(layer.signal(2, 5), plain_signal([4, 5], 5), atol=1e-6)


def test_left_padding_changes_nothing_where_length_is_given():
    layer = SinusoidalPositions(length=9)
    x = random_inputs(2, 4, 5)
    padded = np.concatenate([np.zeros([2, 5, 5], "float32"), x], axis=1)
    np.testing.assert_array_equal(layer(padded)[:, 5:], layer(x))


def test_any_number_of_leading_axes():
    x = random_inputs(2, 3, 4, 6)
    np.testing.assert_allclose(SinusoidalPositions()(x), x + plain_signal(range(4), 6), atol=1e-6)
    np.testing.assert_allclose(
        SinusoidalPositions()(x[0, 0]), x[0, 0] + plain_signal(range(4), 6), atol=1e-6
    )


def test_unknown_length_in_a_graph():
    layer = SinusoidalPositions(length=8)
    x = random_inputs(2, 3, 4)
    graph = tf.function(layer, input_signature=[tf.TensorSpec([None, None, 4])])
    np.testing.assert_allclose(graph(x), layer(x), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    layer = SinusoidalPositions(dtype=tf.keras.mixed_precision.Policy(policy))
    y = layer(tf.zeros([1, 5, 3]))
    assert y.dtype == layer.compute_dtype
    np.testing.assert_allclose(tf.cast(y[0], tf.float32), plain_signal(range(5), 3), atol=1e-2)


def test_the_gradient_is_one():
    x = tf.zeros([1, 3, 4])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = SinusoidalPositions()(x)
    np.testing.assert_array_equal(tape.gradient(y, x), np.ones([1, 3, 4]))


def test_config_round_trip():
    layer = SinusoidalPositions(length=7, max_wavelength=50.0, name="when")
    again = SinusoidalPositions.from_config(layer.get_config())
    assert (again.length, again.max_wavelength, again.name) == (7, 50.0, "when")
    np.testing.assert_array_equal(again(tf.zeros([1, 3, 4])), layer(tf.zeros([1, 3, 4])))


def test_no_weights():
    layer = SinusoidalPositions()
    layer(tf.zeros([1, 3, 4]))
    assert not layer.weights


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "`length` must be an integer of at least 1.*got 0"),
        ({"length": 2.5}, "`length` must be an integer of at least 1.*got 2.5"),
        ({"length": True}, "`length` must be an integer of at least 1.*got True"),
        ({"max_wavelength": 0}, "`max_wavelength` must be a finite number above 0; got 0"),
        ({"max_wavelength": math.inf}, "`max_wavelength` must be a finite number above 0; got inf"),
        (
            {"max_wavelength": "long"},
            "`max_wavelength` must be a finite number above 0; got 'long'",
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SinusoidalPositions(**arguments)


def test_wrong_inputs():
    with pytest.raises(ValueError, match="at most `length` = 3 positions; got 4"):
        SinusoidalPositions(length=3)(tf.zeros([1, 4, 2]))
    with pytest.raises(ValueError, match=r"`inputs` must have the shape \[\.\.\., L, D\]"):
        SinusoidalPositions()(tf.zeros([4]))
    with pytest.raises(ValueError, match="`depth` must be an integer of at least 1; got 0"):
        SinusoidalPositions().signal(3, 0)
    with pytest.raises(
        ValueError,
        match="`length` of the signal must be an integer of at least 0 or a scalar tensor; got -1",
    ):
        SinusoidalPositions().signal(-1, 2)
