"""Training steps of every model: micro-batches, clipping and updated rows."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import TYPICAL
from tfrec_attn import models
from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.losses import LOSSES
from tfrec_attn.optimizers import Adagrad, LazyAdam

USERS, ITEMS, LENGTH = 30, 41, 4
SMALL = {"dim": 8, "stddev": 0.5, "dropout": 0.0, "max_norm": 0.9}
SAMPLED = ("hinge", "sampled_softmax", "bce")


def new(name):
    parameters = {key: value for key, value in SMALL.items() if key in models.parameters(name)}
    return models.get(name)(USERS, ITEMS, LENGTH, **parameters)


def values(model):
    return [variable.numpy() for variable in model.trainable_variables]


@functools.cache
def weights(name):
    return values(new(name))


def make(name):
    """A model with the same weights each time."""
    model = new(name)
    model.set_weights(weights(name))
    return model


def losses(name):
    return [
        loss
        for loss in ("hinge", "softmax", "sampled_softmax", "bce")
        if models.get(name).trains_on in LOSSES[loss].batches
    ]


CASES = [(name, loss) for name in TYPICAL for loss in losses(name)]
SAMPLED_CASES = [case for case in CASES if case[1] in SAMPLED]


def batch(name, loss, seed=0, rows=8, items=ITEMS):
    """What the stream of a model gives for a loss, for items 1..items and users 1..rows."""
    random = np.random.default_rng(seed)
    history = random.integers(1, items + 1, (rows, LENGTH))
    for row in range(rows):
        history[row, : row % LENGTH] = 0
    windows = models.get(name).trains_on == "windows"
    targets = (
        random.integers(1, items + 1, (rows, 2))
        if windows
        else random.integers(1, items + 1, (rows, LENGTH)) * (history > 0)
    )
    features = {"user": np.arange(1, rows + 1), "history": history, "targets": targets}
    shape = {"per_target": (*targets.shape, 3), "shared": (rows, 2), "none": (rows, 1)}[
        LOSSES[loss].negatives
    ]
    features["negatives"] = random.integers(1, items + 1, shape)
    features = {key: tf.constant(value, tf.int32) for key, value in features.items()}
    if not windows:
        features["normalizer"] = tf.fill([rows], np.float32(1.0 / np.count_nonzero(targets)))
    return features


def trained(name, loss, optimizer, steps=3, **options):
    """(weights after some steps of `fit`, logged loss)."""
    batches = [batch(name, loss, seed) for seed in range(steps)]
    stacked = {key: tf.stack([one[key] for one in batches]) for key in batches[0]}
    model = make(name)
    model.compile(optimizer(), loss, margin=3.0, **options)
    dataset = tf.data.Dataset.from_tensor_slices(stacked)
    logged = model.fit(dataset, verbose=0, shuffle=False).history["loss"]
    return values(model), logged


@pytest.mark.parametrize(
    ("name", "loss", "optimizer", "reduction"),
    [
        (*case, *(("adagrad", "mean"), ("sgd", "sum"))[number % 2])
        for number, case in enumerate(CASES)
    ],
)
def test_micro_batches_train_as_the_whole_batch(name, loss, optimizer, reduction):
    make_optimizer = {
        "sgd": lambda: tf.keras.optimizers.SGD(0.01),
        "adagrad": lambda: Adagrad(0.05),
    }[optimizer]
    options = {
        "reduction": reduction,
        "l2": 0.03,
        "kernel_l2": 0.05,
        "run_eagerly": loss != "hinge" or name != "attrec",
    }
    whole, logged = trained(name, loss, make_optimizer, **options)
    parts, logged_in_parts = trained(name, loss, make_optimizer, accumulate=2, **options)
    for one, other, initial in zip(whole, parts, weights(name), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)
        assert np.abs(one - initial).max() > 1e-4 or not initial.any()
    assert logged_in_parts == pytest.approx(logged, rel=1e-5)


def depends_on(operation):
    """Every operation that must be done before one."""
    found, waiting = set(), [operation]
    while waiting:
        one = waiting.pop()
        new = {*(tensor.op for tensor in one.inputs), *one.control_inputs} - found
        found |= new
        waiting += new
    return found


def test_a_micro_batch_waits_for_the_gradients_of_the_one_before():
    model, features = make("attrec"), batch("attrec", "hinge")
    model.compile("sgd", accumulate=2)
    graph = (
        tf.function(lambda features: model._gradients(features)[0])
        .get_concrete_function(features)
        .graph
    )
    # The attention of a part is one softmax, forward; the gradient of the first one makes no other.
    first, second = (
        operation for operation in graph.get_operations() if operation.type == "Softmax"
    )
    backward = [
        operation
        for operation in depends_on(second)
        if "gradient_tape" in operation.name and operation.type == "MatMul"
    ]
    assert first in depends_on(second)
    assert backward


def test_a_batch_that_cannot_be_split():
    model = make("attrec")
    model.compile("sgd", accumulate=3)
    with pytest.raises(
        ValueError,
        match=r"accumulate must divide the examples of a batch on each replica, 8, but is 3\.",
    ):
        model.train_step(batch("attrec", "hinge"))


@pytest.mark.parametrize(("name", "replicas"), [*((name, 1) for name in TYPICAL), ("attrec", 2)])
def test_clipping_scales_the_gradient_of_the_whole_batch(name, replicas, two_replicas):
    # Plain SGD at rate 1: the step is the gradient; clipped, it has the norm 0.01 and the same
    # direction. max_norm would bend it.
    strategy = two_replicas if replicas == 2 else tf.distribute.get_strategy()
    moved = []
    for clip_norm in (None, 0.01):
        with strategy.scope():
            model = make(name)
            for layer in model.submodules:
                if isinstance(layer, EmbeddingTable):
                    layer.constraint = None
            options = {"l2": 0.03, "kernel_l2": 0.05, "run_eagerly": replicas == 1}
            model.compile(
                tf.keras.optimizers.SGD(1.0),
                margin=3.0,
                reduction="mean",
                clip_norm=clip_norm,
                **options,
            )
        model.fit(tf.data.Dataset.from_tensors(batch(name, "hinge")), verbose=0)
        moved.append(
            np.concatenate(
                [
                    (after - before).ravel()
                    for before, after in zip(weights(name), values(model), strict=True)
                ]
            )
        )
    norm = np.linalg.norm(moved[0].astype(np.float64))
    assert norm > 0.02
    assert np.linalg.norm(moved[1].astype(np.float64)) == pytest.approx(0.01, rel=1e-3)
    np.testing.assert_allclose(moved[1], moved[0] * 0.01 / norm, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "loss", "optimizer", "replicas"),
    [
        ("attrec", "hinge", Adagrad, 2),
        ("attrec", "hinge", LazyAdam, 1),
        ("sasrec", "hinge", Adagrad, 1),
        ("sasrec", "hinge", LazyAdam, 1),
        ("sasrec", "sampled_softmax", Adagrad, 1),
        ("sasrec", "sampled_softmax", LazyAdam, 2),
    ],
)
def test_rows_without_a_lookup_keep_their_bits(name, loss, optimizer, replicas, two_replicas):
    features = batch(name, loss, items=5)
    with (two_replicas if replicas == 2 else tf.distribute.get_strategy()).scope():
        model = make(name)
        options = {"l2": 0.03, "kernel_l2": 0.05, "clip_norm": 0.5, "run_eagerly": replicas == 1}
        model.compile(optimizer(0.05), loss, margin=3.0, **options)
    model.fit(tf.data.Dataset.from_tensors(features), verbose=0)
    tables = [(table, 6) for table in model.tables("items")] + [
        (table, 9) for table in model.tables("users")
    ]
    start = make(name)
    for (table, touched), untouched in zip(
        tables, [*start.tables("items"), *start.tables("users")], strict=True
    ):
        initial = untouched.numpy()
        np.testing.assert_array_equal(table.numpy()[touched:], initial[touched:])
        assert (table.numpy()[1:touched] != initial[1:touched]).any(axis=1).all()
        # Those of another table of the same kind have the same rows.
        slots = [slot.numpy() for slot in model.optimizer.variables if slot.shape == table.shape]
        assert slots
        for slot in slots:
            np.testing.assert_array_equal(
                slot[touched:], np.full_like(slot[touched:], slot[-1, -1])
            )


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(("name", "loss"), SAMPLED_CASES)
def test_a_sampled_step_has_nothing_of_the_size_of_a_table(name, loss, replicas, two_replicas):
    strategy = two_replicas if replicas == 2 else tf.distribute.get_strategy()
    features = batch(name, loss)
    with strategy.scope():
        model = make(name)
        model.compile(LazyAdam(0.1), loss, l2=0.03, kernel_l2=0.05, clip_norm=0.5)
        model.optimizer.build(model.trainable_variables)
    step = tf.function(lambda: strategy.run(model.train_step, (features,)), autograph=False)
    graph = step.get_concrete_function().graph
    whole = [
        operation.name
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.rank and output.shape[0] in (USERS + 1, ITEMS + 1)
    ]
    assert whole == []
