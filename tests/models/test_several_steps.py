"""Several steps in one call: the same training and evaluation as one step at a time."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import ITEMS, features, make, strategy, training_features
from tfrec_attn.optimizers import Adagrad

BATCHES = 7  # so that three steps a call leave one


def training_set():
    batches = [training_features("attrec", 6, seed) for seed in range(BATCHES)]
    return tf.data.Dataset.from_tensor_slices(
        {name: tf.stack([batch[name] for batch in batches]) for name in batches[0]}
    )


def held_out():
    target = tf.constant(np.arange(BATCHES) % ITEMS + 1, tf.int32)
    nothing = tf.zeros([BATCHES, 1], tf.int32)
    return tf.data.Dataset.from_tensor_slices(
        {**features(BATCHES), "target": target, "seen": nothing}
    ).batch(1)


def trained(steps, start, monkeypatch):
    """(weights, loss, metrics, iterations, traces of a training step)."""
    model = make("attrec")
    model.set_weights(start)
    model.compile(Adagrad(0.1), "hinge", k=(1, 3), steps_per_execution=steps)
    traced, step = [], model.train_step
    monkeypatch.setattr(model, "train_step", lambda batch: traced.append(True) or step(batch))
    history = model.fit(training_set(), epochs=2, shuffle=False, verbose=0).history
    metrics = model.evaluate(held_out(), return_dict=True, verbose=0)
    weights = [variable.numpy() for variable in model.trainable_variables]
    return weights, history["loss"], metrics, int(model.optimizer.iterations), len(traced)


def test_three_steps_a_call_train_as_one_step_a_call(monkeypatch):
    start = make("attrec").get_weights()
    one, three = (trained(steps, start, monkeypatch) for steps in (1, 3))
    assert one[3] == three[3] == 2 * BATCHES
    assert one[4] == three[4] == 1
    for expected, found, initial in zip(one[0], three[0], start, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        assert np.abs(found - initial).max() > 0.01
    assert three[1] == pytest.approx(one[1], rel=1e-6)
    assert three[2] == pytest.approx(one[2], abs=1e-7)


def test_the_number_of_steps_is_no_weight():
    with strategy(2).scope():
        model = make("attrec")
        count = len(model.weights)
        model.compile(Adagrad(0.1), "hinge", steps_per_execution=3)
        model.make_train_function()
        model.make_test_function()
    assert len(model.trainable_variables) == count
