"""Narrow types: what stays in float32, and the scaling of the loss, on one and on two replicas."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import TYPICAL
from tfrec_attn import models
from tfrec_attn.config import Runtime
from tfrec_attn.keras_versions import IS_KERAS_3
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.losses import LOSSES
from tfrec_attn.runtime.distribution import make_strategy

USERS, ITEMS, LENGTH = 6, 12, 4


def strategy(replicas):
    return make_strategy(
        Runtime(strategy="mirrored", devices=[f"CPU:{index}" for index in range(replicas)])
    )


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def policy(request):
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    tf.keras.mixed_precision.set_global_policy(before)


def make(name, loss, optimizer="sgd", **options):
    tf.random.set_seed(3)
    parameters = {
        key: value
        for key, value in {"dim": 8, "stddev": 0.5, "dropout": 0.0}.items()
        if key in models.parameters(name)
    }
    model = models.get(name)(USERS, ITEMS, LENGTH, **parameters)
    model.compile(optimizer, loss, **options)
    return model


def values_of(model):
    return [variable.numpy() for variable in model.trainable_variables]


def set_values(model, values):
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)


def losses_of(name):
    return [
        loss
        for loss in ("hinge", "bpr", "softmax", "sampled_softmax", "bce")
        if models.get(name).trains_on in LOSSES[loss].batches
    ]


def batch_of(name, loss, rows=8, seed=0):
    random = np.random.default_rng(seed)
    targets = random.integers(
        1, ITEMS + 1, (rows, 2 if models.get(name).trains_on == "windows" else LENGTH)
    )
    shape = {"per_target": (*targets.shape, 3), "shared": (rows, 2), "none": (rows, 1)}[
        LOSSES[loss].negatives
    ]
    batch = {
        "user": random.integers(1, USERS + 1, rows),
        "history": random.integers(1, ITEMS + 1, (rows, LENGTH)),
        "targets": targets,
        "negatives": random.integers(1, ITEMS + 1, shape),
    }
    return {
        **{key: tf.constant(value, tf.int32) for key, value in batch.items()},
        "normalizer": tf.fill([rows], 1.0 / (rows * LENGTH)),
    }


CASES = [(name, loss) for name in TYPICAL for loss in losses_of(name)]


@pytest.mark.parametrize(("name", "loss"), CASES)
def test_losses_and_their_sums_are_float32(policy, name, loss):
    model, batch = make(name, loss), batch_of(name, loss)
    assert model.compute_dtype == policy.removeprefix("mixed_")
    with tf.GradientTape() as tape:
        value = model.compute_loss(batch)
    assert value.dtype == model.item_vectors().dtype == model.queries(batch).dtype == tf.float32
    assert model(batch).dtype == tf.float32
    assert {variable_of(one).dtype for one in model.trainable_variables} == {tf.float32}
    assert {
        gradient.dtype
        for gradient in tape.gradient(value, model.trainable_variables)
        if gradient is not None
    } == {tf.float32}
    tf.keras.mixed_precision.set_global_policy("float32")
    wide = make(name, loss)
    set_values(wide, values_of(model))
    assert float(value) == pytest.approx(float(wide.compute_loss(batch)), rel=0.03)


@pytest.mark.parametrize("name", ["sasrec"])
def test_loss_scaling_is_the_same_on_one_and_two_replicas(name):
    loss = losses_of(name)[-1]
    batch, trained, start = batch_of(name, loss), {}, values_of(make(name, loss))
    for policy, replicas in (("float32", 1), ("mixed_float16", 1), ("mixed_float16", 2)):
        before = tf.keras.mixed_precision.global_policy()
        tf.keras.mixed_precision.set_global_policy(policy)
        try:
            with strategy(replicas).scope():
                model = make(
                    name,
                    loss,
                    tf.keras.optimizers.SGD(0.1),
                    reduction="mean",
                    l2=0.1,
                    clip_norm=0.3,
                )
            set_values(model, start)
            data = tf.data.Dataset.from_tensor_slices(batch).batch(8).repeat(3)
            model.fit(data, verbose=0)
        finally:
            tf.keras.mixed_precision.set_global_policy(before)
        trained[policy, replicas] = values_of(model)
        if policy == "mixed_float16":
            assert isinstance(model.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
            assert model.optimizer.iterations.numpy() == 3
    begin, wide, one, two = (
        np.concatenate([value.ravel() for value in values]) for values in (start, *trained.values())
    )
    way = np.linalg.norm(wide - begin)
    # A float16 has 11 bits; replicas add the same numbers in another order.
    assert np.linalg.norm(one - wide) < 0.15 * way
    assert np.linalg.norm(two - one) < 0.05 * way


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_that_overflows_changes_only_the_scale(replicas):
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        with strategy(replicas).scope():
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(
                tf.keras.optimizers.SGD(0.01), initial_scale=2.0**100
            )
            model = make("sasrec", "softmax", optimizer, l2=0.1, clip_norm=3.0)
        start = values_of(model)
        model.fit(tf.data.Dataset.from_tensors(batch_of("sasrec", "softmax")), verbose=0)
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
    scale = optimizer.dynamic_scale if IS_KERAS_3 else optimizer.loss_scale
    assert float(scale.numpy()) == 2.0**99
    for found, expected in zip(values_of(model), start, strict=True):
        np.testing.assert_array_equal(found, expected)
