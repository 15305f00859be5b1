"""The filter in the frequency domain, against NumPy's transform and a convolution by loops."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import FourierFilter

RANDOM = np.random.default_rng(1)


def made(length, width=3):
    layer = FourierFilter(length)
    layer.build([None, length, width])
    layer.set_weights([RANDOM.normal(size=one.shape) for one in layer.get_weights()])
    return layer, RANDOM.normal(size=[2, length, width]).astype("float32")


@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_by_numpy(length):
    layer, x = made(length)
    (kernel,) = layer.get_weights()
    frequencies = (kernel[0] + 1j * kernel[1]).T
    expected = np.fft.irfft(np.fft.rfft(x, axis=1) * frequencies, length, axis=1)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    np.testing.assert_allclose(layer(x, latest_only=True)[:, 0], expected[:, -1], atol=1e-5)


def test_it_is_a_circular_convolution():
    layer, x = made(5)
    (kernel,) = layer.get_weights()
    weights = np.fft.irfft((kernel[0] + 1j * kernel[1]).T, 5, axis=0)
    expected = sum(weights[lag] * np.roll(x, lag, axis=1) for lag in range(5))
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_gradients_of_the_latest_position_are_those_of_the_whole():
    layer, x = made(6)
    found = []
    for latest_only in (False, True):
        inputs = tf.Variable(x)
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(layer(inputs, latest_only=latest_only)[:, -1] ** 2)
        found.append(tape.gradient(value, [inputs, layer.kernel]))
    for whole, latest in zip(*found, strict=True):
        np.testing.assert_allclose(latest, whole, atol=1e-5)


def test_arguments_and_configuration():
    config = FourierFilter(4, stddev=0.5).get_config()
    assert FourierFilter.from_config(config).get_config() == config
    with pytest.raises(ValueError, match="`length` must be an integer of at least 1; got 0"):
        FourierFilter(0)
    with pytest.raises(ValueError, match="`stddev` must be a finite number of at least 0; got -1"):
        FourierFilter(4, -1)
    layer, _ = made(4)
    with pytest.raises(ValueError, match="`inputs` must have `length` = 4 positions; got 3"):
        layer(tf.zeros([1, 3, 3]))
