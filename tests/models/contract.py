"""Models and features for the tests over all models."""

import numpy as np
import tensorflow as tf

from tfrec_attn import models
from tfrec_attn.config import Runtime
from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.losses import LOSSES
from tfrec_attn.runtime.distribution import make_strategy

USERS, ITEMS, LENGTH = 6, 12, 4
SMALL = {"dim": 8, "stddev": 0.5, "dropout": 0.0, "horizontal": 4}


def strategy(replicas):
    return make_strategy(
        Runtime(strategy="mirrored", devices=[f"CPU:{index}" for index in range(replicas)])
    )


def make(name, **changes):
    tf.random.set_seed(3)
    parameters = {key: value for key, value in SMALL.items() if key in models.parameters(name)}
    model = models.get(name)(USERS, ITEMS, LENGTH, **{**parameters, **changes})
    if model.trains_on == models.COUNTS:
        model.count(training_split(USERS, ITEMS))
    return model


def count_randomly(model):
    """Lets a counting model count random events; items without a pair have random scores too."""
    model.count(training_split(model.num_users, model.num_items))
    for table in model.tables("items"):
        table.assign(tf.random.normal(table.shape, stddev=0.5))


def training_split(users, items, events=9):
    """A split of random histories that holds out nothing."""
    histories = np.random.default_rng(6).integers(1, items + 1, (users, events)).astype(np.int32)
    offsets = events * np.arange(users + 1)
    names = (Vocabulary(map(str, range(1, count + 1))) for count in (users, items))
    sequences = Sequences(histories.ravel(), offsets, np.arange(users * events), *names)
    return Split(sequences, offsets[1:], offsets[:0], offsets[:0], "leave-one-out")


def causal(name):
    return models.get(name).trains_on == "next_items"


def loss_of(name):
    return models.recommended(name).get("train.loss", "hinge")


def features(rows=8, seed=0):
    """Users and histories, shorter ones too."""
    random = np.random.default_rng(seed)
    history = random.integers(1, ITEMS + 1, (rows, LENGTH))
    for row in range(rows):
        history[row, : row % LENGTH] = 0
    return {
        "user": tf.constant(random.integers(1, USERS + 1, rows), tf.int32),
        "history": tf.constant(history, tf.int32),
    }


def training_features(name, rows=8, seed=0, loss="hinge"):
    """What the training stream of the model gives for a loss."""
    batch, random = features(rows, seed), np.random.default_rng(seed + 1)
    real = batch["history"].numpy() > 0
    kind = models.get(name).trains_on
    if kind == "masked_items":
        real &= random.uniform(size=real.shape) < 0.5
        real[:, -1] = True
        batch["history"] = tf.where(real, ITEMS + 1, batch["history"])
    positions = kind != "windows"
    targets = (
        random.integers(1, ITEMS + 1, (rows, LENGTH)) * real
        if positions
        else random.integers(1, ITEMS + 1, (rows, 2))
    )
    shape = {"none": None, "shared": (rows, 1), "per_target": (*targets.shape, 3)}[
        LOSSES[loss].negatives
    ]
    if shape is not None:
        batch["negatives"] = tf.constant(random.integers(1, ITEMS + 1, shape), tf.int32)
    if positions:
        batch["normalizer"] = tf.fill([rows], np.float32(1.0 / np.count_nonzero(targets)))
    return {**batch, "targets": tf.constant(targets, tf.int32)}


OUTSIDE = ["tests.outside.bpr_mf:BPRMF", "tests.outside.cloze:Cloze"]
# The models of this package that have a loss.
TRAINED_NAMES = [name for name in models.names() if models.trains_on(name) != models.COUNTS]
EVERY = [*models.names(), *OUTSIDE]
TRAINED = [*TRAINED_NAMES, *OUTSIDE]
# One model of users and windows, and one that trains at all positions, for tests whose subject is
# not the model.
TYPICAL = ["attrec", "sasrec"]
# The same and a counting model, for tests of exports.
EXPORTED = [*TYPICAL, "decayed_transitions"]
