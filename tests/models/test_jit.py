"""Layers that XLA compiles: the same numbers, in few programs, and only where asked for."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn import models
from tfrec_attn.config import Runtime
from tfrec_attn.distribution import make_strategy
from tfrec_attn.optimizers import Adagrad

USERS, ITEMS, LENGTH = 6, 12, 20
SHORT = 8
SMALL = {"dim": 8, "stddev": 0.5, "dropout": 0.0}


def make(name, length=LENGTH, **options):
    tf.random.set_seed(3)
    parameters = {key: value for key, value in SMALL.items() if key in models.parameters(name)}
    model = models.get(name)(USERS, ITEMS, length, **parameters)
    model.compile(Adagrad(0.05), "softmax" if model.trains_at_every_position() else "hinge", **options)
    return model


def batch_of(lengths, seed=0, length=LENGTH):
    """What the training stream gives of sequences with some lengths."""
    random, rows = np.random.default_rng(seed), len(lengths)
    real = np.arange(length) >= length - np.array(lengths)[:, np.newaxis]
    batch = {
        "user": random.integers(1, USERS + 1, rows),
        "history": random.integers(1, ITEMS + 1, (rows, length)) * real,
        "targets": random.integers(1, ITEMS + 1, (rows, length)) * real,
        "negatives": random.integers(1, ITEMS + 1, (rows, length, 3)),
    }
    return {**{key: tf.constant(value, tf.int32) for key, value in batch.items()}, "weight": tf.fill([rows], 1.0 / sum(lengths))}


def programs(function, *arguments):
    """Functions in a graph that XLA must compile."""
    library = function.get_concrete_function(*arguments).graph.as_graph_def().library
    return [one.signature.name for one in library.function if one.attr["_XlaMustCompile"].b]


@pytest.mark.parametrize("name", models.names())
def test_two_compiled_replicas_give_what_one_plain_gives(name):
    batches = [batch_of([2, 4, SHORT, SHORT], seed, SHORT) for seed in range(3)]
    parts = {key: np.stack([batch[key] for batch in batches]) for key in batches[0]}
    blocks = {**batches[0], "target": batches[0]["targets"][:, -1], "seen": tf.zeros([4, 1], tf.int32)}
    start, trained, ranks = make(name, SHORT).get_weights(), [], []
    for replicas, jit in ((1, False), (2, True)):
        halves = {key: value.reshape([3 * replicas, -1, *value.shape[2:]]) for key, value in parts.items()}
        with make_strategy(Runtime(strategy="mirrored", devices=[f"CPU:{index}" for index in range(replicas)])).scope():
            model = make(name, SHORT, jit_compile=jit)
            model.set_weights(start)
        dataset = tf.keras.utils.experimental.DatasetCreator(lambda _, parts=halves: tf.data.Dataset.from_tensor_slices(parts))
        model.fit(dataset, steps_per_epoch=3, verbose=0)
        trained.append([variable.numpy() for variable in model.trainable_variables])
        ranks.append(model.ranks(blocks).numpy())
    for plain, compiled in zip(*trained, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=2e-5)
    np.testing.assert_array_equal(*ranks)


@pytest.mark.parametrize("name", models.names())
def test_xla_compiles_only_where_asked_for(name):
    batch = batch_of([20, 3, 1, 9])
    for jit in (False, True):
        model = make(name, jit_compile=jit)
        step = tf.function(lambda model=model: model.train_step(batch))
        assert bool(programs(step)) == jit
        assert bool(programs(tf.function(model.query_vectors), batch["user"], batch["history"])) == jit


@pytest.mark.parametrize("name", [name for name in models.names() if models.get(name).trains_at_every_position()])
def test_groups_have_few_lengths(name):
    plain, model, seen = make(name), make(name, jit_compile=True), []
    model.set_weights(plain.get_weights())
    vectors = model.sequence_vectors
    model.sequence_vectors = lambda user, history, training=False: seen.append(history.shape[1]) or vectors(user, history, training)
    for lengths, groups in (([1, 7, 8, 9, 3, 16, 17, 20], [8, 16, 20, 20]), ([8, 1, 1, 1, 1, 1, 1, 1], [8, 8, 8, 8])):
        seen.clear()
        batch = batch_of(lengths)
        assert float(model.compute_loss(batch)) == pytest.approx(float(plain.compute_loss(batch)), rel=1e-5)
        assert seen == groups
