"""Models of another package: numbers worked by hand, and training."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import training_features
from tfrec_attn import models
from tfrec_attn.optimizers import Adagrad

NAMES = {
    cls: f"tests.outside.{cls.lower()}:{cls}" for cls in ("CML", "FPMC", "PRME", "TransRec", "HRM")
}
USER = [[0.5, -0.25]]
ITEMS = [[1, 0], [0, 0.5], [-0.5, 1]]
BIASES = [[0.1], [-0.2], [0.3]]
PREVIOUS = [[0.3, 0.1], [-0.4, 0.2], [0.5, 0.5]]
FOLLOWING = [[0.2, 0.4], [-0.1, 0.3], [0.6, -0.2]]
SEQUENTIAL = [[0.2, 0.1], [-0.3, 0.4], [0.1, -0.2]]


def make(cls, max_length, dim=2, **parameters):
    return models.get(NAMES[cls])(1, 3, max_length, dim=dim, **parameters)


def fill(table, rows):
    """Sets the rows from 1 on."""
    table.embeddings.assign(np.concatenate([np.zeros((1, len(rows[0]))), rows]))


def scores(model, history, user=1):
    features = {"user": tf.constant([user]), "history": tf.constant([history])}
    return model(features)[0, 1:]


def near(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_cml():
    model = make("CML", 1)
    fill(model.users, USER)
    fill(model.items, ITEMS)
    near(scores(model, [2]), [0, -0.5, -2.25])


def test_fpmc():
    model = make("FPMC", 2)
    for table, rows in (
        (model.users, USER),
        (model.items, ITEMS),
        (model.previous, PREVIOUS),
        (model.following, FOLLOWING),
    ):
        fill(table, rows)
    near(scores(model, [0, 2]), [0.5, -0.025, -0.78])
    near(scores(model, [1, 2]), [0.55, -0.075, -0.56])
    near(scores(model, [0, 2], user=0), [0, 0.1, -0.28])


def test_prme():
    model = make("PRME", 1)
    for table, rows in (
        (model.users, USER),
        (model.preferred, ITEMS),
        (model.sequential, SEQUENTIAL),
    ):
        fill(table, rows)
    near(scores(model, [2]), [-0.072, 0.1, -0.666])


def test_transrec():
    model = make("TransRec", 1)
    for table, rows in (
        (model.users, [[-0.05, 0.1]]),
        (model.items, ITEMS),
        (model.biases, BIASES),
    ):
        fill(table, rows)
    model.translation.assign([0.1, 0.2])
    near(scores(model, [2]), [-0.8, 0.35, 0.6])


def test_hrm():
    model = make("HRM", 2)
    fill(model.users, USER)
    fill(model.items, ITEMS)
    near(scores(model, [1, 2]), [1, 0.25, 0])
    # Padding does not take part: the largest of [-.5, 1] alone, not of it and zero.
    near(scores(model, [0, 3], user=0), [-0.5, 0.5, 1.25])


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_training_lowers_the_loss(name):
    loss = models.recommended(name)["train.loss"]
    model = models.get(name)(6, 12, 4, dim=8, stddev=0.1)
    model.compile(Adagrad(0.3), loss, reduction="mean")
    batch = training_features(name, 6, loss=loss)
    batch["user"] = tf.range(1, 7)
    dataset = tf.data.Dataset.from_tensors(batch)
    before = float(model.compute_loss(batch))
    model.fit(dataset.repeat(60), verbose=0)
    assert float(model.compute_loss(batch)) < 0.7 * before
