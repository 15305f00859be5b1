"""Transfer of weights and slots to models with more users and items."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import TRAINED_NAMES
from tfrec_attn import models
from tfrec_attn.config import Config, Train
from tfrec_attn.data.sequences.transitions import Transitions
from tfrec_attn.keras_versions import keras
from tfrec_attn.models import AttRec
from tfrec_attn.optimizers import make_optimizer
from tfrec_attn.runs import weights
from tfrec_attn.training import transfer


def test_neighbours_by_hand():
    # Items 1 to 3 are known, 4 and 5 new: 1 -> 4 twice, 4 -> 3 once, 4 -> 5 once, 3 -> 2 once.
    transitions = Transitions(
        5, np.array([0, 0, 1, 1, 2, 4, 4]), np.array([4, 2, 3, 5], np.int32), np.array([2, 1, 1, 1])
    )
    found = transfer.known_neighbours(transitions, 3)
    assert sorted(zip(*(part.tolist() for part in found), strict=True)) == [(0, 1, 2), (0, 3, 1)]


def test_rows_by_hand():
    table = np.array([[9, 9], [1, 2], [3, 4], [8, 0]], np.float32)
    mean = [4, 2]
    np.testing.assert_array_equal(transfer.extend_table(table, 6), [*table, mean, mean])
    # The first new item: twice beside item 1, once beside item 3; the second beside none.
    neighbours = transfer.Neighbours(np.array([0, 0]), np.array([1, 3]), np.array([2, 1]))
    np.testing.assert_allclose(
        transfer.extend_table(table, 6, neighbours), [*table, [10 / 3, 4 / 3], mean], rtol=1e-6
    )
    np.testing.assert_array_equal(
        transfer.extend_table(table, 4, transfer.Neighbours(*np.zeros((3, 0), int))), table
    )


def test_new_rows_meet_the_max_norm_constraint():
    table = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    neighbours = transfer.Neighbours(np.arange(9), np.arange(9) + 1, np.full(9, 7))
    assert np.linalg.norm(transfer.extend_table(table, 60, neighbours), axis=1).max() <= 1 + 1e-6


@pytest.mark.parametrize("name", TRAINED_NAMES)
def test_every_model_scores_known_items_as_before(name):
    old, new = (models.get(name)(users, items, 6) for users, items in ((4, 7), (6, 9)))
    features = {
        "user": tf.constant([1, 4, 0]),
        "history": tf.constant([[0, 0, 1, 2, 3, 7], [0] * 6, [5, 4, 3, 2, 1, 6]]),
    }
    assert not np.allclose(new(features)[:, 1:8], old(features)[:, 1:8], atol=1e-8)
    transfer.copy_weights(old, new)
    np.testing.assert_allclose(new(features)[:, 1:8], old(features)[:, 1:8], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(new(features)[:, 8], new(features)[:, 9])


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("name", "options", "kinds", "initial"),
    [
        ("adagrad", {}, 1, 0.1),
        ("adam", {}, 2, 0),
        ("lazy_adam", {}, 2, 0),
        ("sgd", {"momentum": 0.9}, 1, 0),
    ],
)
def test_slots_by_hand(name, options, kinds, initial, wrapped):
    old, new = AttRec(2, 3, 4, dim=2), AttRec(3, 5, 4, dim=2)
    optimizers = []
    for model, rate in ((old, 0.5), (new, 0.25)):
        train = Train(optimizer=name, optimizer_options=options, learning_rate=rate)
        optimizer = make_optimizer(Config(train=train), 1)
        if wrapped:
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        keras.build(optimizer, model.trainable_variables)
        optimizers.append(optimizer)
    before = weights.named_state(old, optimizers[0])
    for number, slot in enumerate(before.values()):
        slot.assign(tf.cast(tf.fill(slot.shape, 10 + number), slot.dtype))
    transfer.copy_slots(optimizers[0], old, optimizers[1], new)
    after = weights.named_state(new, optimizers[1])
    assert after.keys() == before.keys()
    assert after.pop("learning_rate") == 0.25
    np.testing.assert_array_equal(after.pop("iterations"), before["iterations"])
    # A projection [D, D], two tables of items and one of users.
    assert sorted(slot.shape[0] for slot in after.values()) == sorted([2, 6, 6, 4] * kinds)
    for key, slot in after.items():
        kept = before[key].shape[0]
        assert kept == {2: 2, 6: 4, 4: 3}[slot.shape[0]]
        np.testing.assert_array_equal(slot[:kept], before[key])
        np.testing.assert_array_equal(slot[kept:], np.full_like(slot[kept:], initial))
