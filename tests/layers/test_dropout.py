"""Reproducible dropout masks."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.config import Runtime
from tfrec_attn.layers import Dropout
from tfrec_attn.layers.dropout import masks_of_step
from tfrec_attn.runtime.distribution import make_strategy

ONES = np.ones([50, 40], "float32")


def masks(seed, step, layers=2, rate=0.3):
    """Outputs of some layers, one after the other, in a training step."""
    with masks_of_step(seed, tf.constant(step, tf.int64)):
        return [Dropout(rate)(ONES, training=True).numpy() for _ in range(layers)]


# Multiples of 1 / 256 are drawn as bytes.
@pytest.mark.parametrize("rate", [0.3, 0.5, 0.25, 1 / 256])
def test_kept_values_are_scaled_and_as_many_as_the_rate_says(rate):
    (out,) = masks(1, 5, layers=1, rate=rate)
    np.testing.assert_allclose(np.unique(out), [0.0, 1.0 / (1 - rate)], rtol=1e-6)
    # 2,000 draws: five standard deviations are 0.05.
    assert abs(np.mean(out == 0) - rate) < 0.05
    # Neighbours, which have bytes of one number, are independent.
    together = np.mean((out[:, 1:] == 0) & (out[:, :-1] == 0))
    assert abs(together - rate**2) < 0.05


@pytest.mark.parametrize("shape", [(), (1,), (3, 3), (0, 4)])
def test_masks_of_any_shape(shape):
    with masks_of_step(1, tf.constant(1, tf.int64)):
        assert Dropout(0.5)(tf.ones(shape), training=True).shape == shape


def test_a_step_has_the_same_masks_again():
    for one, other in zip(masks(7, 123456789012), masks(7, 123456789012), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rate", [0.3, 0.5])
def test_masks_differ_between_calls_steps_and_seeds(rate):
    found = [*masks(7, 3, rate=rate), *masks(7, 4, rate=rate), *masks(8, 3, rate=rate)]
    for place, one in enumerate(found):
        for other in found[place + 1 :]:
            # Of independent masks 42 % of the places differ, or 50 %.
            assert 0.3 < np.mean(one != other) < 0.6


def test_the_step_is_a_number_of_the_graph():
    layer = Dropout(0.3)

    @tf.function
    def run(step):
        with masks_of_step(7, step):
            return layer(ONES, training=True), layer(ONES, training=True)

    for step in (3, 4):
        for one, other in zip(run(tf.constant(step, tf.int64)), masks(7, step), strict=True):
            np.testing.assert_array_equal(one, other)
    assert run.experimental_get_tracing_count() == 1


def test_each_replica_has_its_own_masks():
    strategy = make_strategy(Runtime(strategy="mirrored", devices=["CPU:0", "CPU:1"]))
    layer = Dropout(0.3)

    @tf.function
    def run():
        with masks_of_step(7, tf.constant(3, tf.int64)):
            return layer(ONES, training=True)

    one, other = strategy.experimental_local_results(strategy.run(run))
    assert 0.3 < np.mean(one.numpy() != other.numpy()) < 0.55


@pytest.mark.parametrize("training", [False, None])
def test_nothing_is_dropped_outside_training(training):
    with masks_of_step(1, tf.constant(1, tf.int64)):
        np.testing.assert_array_equal(Dropout(0.5)(ONES, training=training), ONES)


def test_without_a_step_it_is_keras_own():
    layer = Dropout(0.5)
    out = layer(ONES, training=True).numpy()
    assert set(np.unique(out)) == {0.0, 2.0}
    assert (layer(ONES, training=True).numpy() != out).any()


def test_a_rate_of_0():
    with masks_of_step(1, tf.constant(1, tf.int64)):
        np.testing.assert_array_equal(Dropout(0.0)(ONES, training=True), ONES)
