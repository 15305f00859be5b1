"""Models of another package: numbers worked by hand, and training."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import training_features
from tfrec_attn import models
from tfrec_attn.optimizers import Adagrad

NAMES = {cls: f"tests.outside.{cls.lower()}:{cls}" for cls in ("Caser", "GRU4Rec", "BERT4Rec")}
USER = [[0.5, -0.25]]
ITEMS = [[1, 0], [0, 0.5], [-0.5, 1]]
BIASES = [[0.1], [-0.2], [0.3]]


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


def test_caser():
    model = make("Caser", 2, vertical=1, horizontal=1)
    fill(model.users, USER)
    fill(model.items, ITEMS)
    fill(model.outputs_, [[0.1, 0.2, 0.3, 0.4], [-0.2, 0.5, 0.1, 0], [0.6, -0.3, 0.2, -0.1]])
    fill(model.biases, BIASES)
    model.columns.set_weights([np.array([[0.5], [-1]]), np.array([0.1])])
    model.windows[0].set_weights([np.array([[1], [-1]]), np.array([0.2])])
    model.windows[1].set_weights([np.array([[0.5], [0.5], [-1], [1]]), np.array([-0.1])])
    hidden = np.array([[0.2, -0.1, 0.4, 0.3], [-0.5, 0.6, 0.1, 0.2]])
    model.hidden.set_weights([hidden.T, np.array([0.05, -0.05])])
    near(scores(model, [1, 2]), [0.246, -0.342, 1.001])


def test_gru4rec():
    model = make("GRU4Rec", 3)
    fill(model.items, ITEMS)
    fill(model.biases, BIASES)
    # Keras' update gate is one minus that of the paper.
    kernel = np.concatenate(
        [
            -np.array([[0.1, 0.2], [0.3, -0.1]]),
            [[-0.2, 0.4], [0.1, 0.2]],
            [[0.5, -0.3], [0.2, 0.6]],
        ],
        axis=1,
    )
    recurrent = np.concatenate(
        [
            -np.array([[0.05, -0.2], [0.1, 0.3]]),
            [[0.3, 0.1], [-0.1, 0.2]],
            [[0.4, 0.1], [-0.2, 0.3]],
        ],
        axis=1,
    )
    model.cell.set_weights([kernel, recurrent, np.array([0, -0.1, 0.1, 0, 0, -0.1])])
    vectors = model.sequence_vectors(
        {"user": tf.constant([1]), "history": tf.constant([[0, 1, 2]])}
    )
    near(vectors[0, 1:], [[0.242602, -0.218259, 1], [0.206595, -0.026640, 1]])
    near(scores(model, [0, 1, 2]), [0.306595, -0.213320, 0.170063])


def test_bert4rec():
    model = make("BERT4Rec", 3, dim=3, num_blocks=1, num_heads=1, dropout=0.0)
    fill(model.items, [[1, 0, 0.5], [0, 0.5, -1], [-0.5, 1, 0.25]])
    fill(model.biases, [[0.1], [-0.2], [0.3]])
    fill(model.mask, [[0.3, -0.2, 0.1]])
    model.positions.set_weights([np.array([[0.1, -0.1, 0.2], [-0.2, 0.1, 0], [0.05, 0.15, -0.1]])])
    block = model.blocks[0]
    query = np.array([[0.5, 0, 0.1], [-0.2, 0.3, 0], [0.1, 0.2, 0.4]])
    key = np.array([[0.3, -0.1, 0.2], [0, 0.4, 0.1], [0.2, 0, 0.5]])
    value = np.array([[1, 0, 0], [0, 0.5, 0.2], [-0.3, 0, 0.8]])
    output = np.array([[0.6, 0, 0.1], [0, 0.7, -0.1], [0.2, 0, 0.5]])
    projections = [
        part for one in (query, key, value) for part in (one[:, np.newaxis], np.zeros((1, 3)))
    ]
    block.attention.set_weights([*projections, output[np.newaxis], np.zeros(3)])
    wide, narrow = np.zeros((3, 12)), np.zeros((12, 3))
    wide[:, :3] = [[0.2, 0.1, -0.3], [0.4, -0.2, 0.1], [0, 0.3, 0.5]]
    narrow[:3] = [[0.3, 0, 0.2], [-0.1, 0.5, 0], [0.2, 0.1, 0.4]]
    block.wide.set_weights([wide, np.array([0.1, 0, -0.1, *[0.0] * 9])])
    block.narrow.set_weights([narrow, np.array([0, 0.05, 0])])
    model.projection.set_weights(
        [np.array([[0.5, 0.1, 0], [0, 0.6, 0.2], [-0.1, 0, 0.7]]), np.array([0.05, 0, 0])]
    )
    near(scores(model, [0, 1, 2]), [1.131839, 0.236390, -1.247758])


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
