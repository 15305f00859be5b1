"""Small tables and kernels of which results were worked out by hand or by an independent script."""

import numpy as np
import tensorflow as tf

# Of width 2.
ITEMS = [[1, 0], [0, 0.5], [-0.5, 1]]
USER = [[0.5, -0.25]]
BIASES = [[0.1], [-0.2], [0.3]]

# Of width 3.
WIDE_ITEMS = [[1, 0, 0.5], [0, 0.5, -1], [-0.5, 1, 0.25]]
POSITIONS = [[0.1, -0.1, 0.2], [-0.2, 0.1, 0]]
QUERY = [[0.5, 0, 0.1], [-0.2, 0.3, 0], [0.1, 0.2, 0.4]]
KEY = [[0.3, -0.1, 0.2], [0, 0.4, 0.1], [0.2, 0, 0.5]]
VALUE = [[1, 0, 0], [0, 0.5, 0.2], [-0.3, 0, 0.8]]
OUTPUT = [[0.6, 0, 0.1], [0, 0.7, -0.1], [0.2, 0, 0.5]]
HIDDEN = [[0.2, 0.1, -0.3], [0.4, -0.2, 0.1], [0, 0.3, 0.5]]
HIDDEN_BIAS = [0.1, 0, -0.1]
NARROW = [[0.3, 0, 0.2], [-0.1, 0.5, 0], [0.2, 0.1, 0.4]]
NARROW_BIAS = [0, 0.05, 0]


def fill(table, rows):
    """Sets the rows of an `EmbeddingTable` from 1 on."""
    table.embeddings.assign(np.concatenate([np.zeros((1, len(rows[0]))), rows]))


def assign(layer, **values):
    """Sets the first rows and columns of a layer's weights, and the rest to 0."""
    for name, value in values.items():
        weight, value = getattr(layer, name), np.array(value, np.float32)
        whole = np.zeros(weight.shape, np.float32)
        whole[tuple(map(slice, value.shape))] = value
        weight.assign(whole)


def scores(model, history, user=1):
    """Returns the scores of the items 1..N."""
    features = {"user": tf.constant([user]), "history": tf.constant([history])}
    return model(features)[0, 1:]


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
