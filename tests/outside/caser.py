"""Caser, as a model of another package."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers import Dropout, EmbeddingTable
from tfrec_attn.models import SequenceModel


class Caser(SequenceModel):
    """Scores items by `[z, u] . W_j + b_j`, where z comes of convolutions over the window (Tang and
    Wang, WSDM 2018).
    """

    uses_user = True
    recommended: ClassVar = {
        "train.loss": "bce",
        "train.optimizer": "adam",
        "train.learning_rate": 1e-3,
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=5,
        *,
        dim=8,
        vertical=4,
        horizontal=16,
        dropout=0.5,
        stddev=0.1,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.vertical, self.horizontal, self.dropout, self.stddev = (
            dim,
            vertical,
            horizontal,
            dropout,
            stddev,
        )
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.outputs_ = EmbeddingTable(num_items, 2 * dim, stddev=stddev, name="outputs")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases")
        self.columns = tf.keras.layers.Dense(vertical, name="columns")
        self.windows = [
            tf.keras.layers.Dense(horizontal, "relu", name=f"height_{h}")
            for h in range(1, max_length + 1)
        ]
        self.hidden = tf.keras.layers.Dense(dim, "relu", name="hidden")
        self.drop = Dropout(dropout)
        self.columns.build([None, dim, max_length])
        for height, layer in enumerate(self.windows, start=1):
            layer.build([None, max_length - height + 1, height * dim])
        self.hidden.build([None, vertical * dim + horizontal * max_length])

    def query_vectors(self, features, training=False):
        history = features["history"]
        history = tf.pad(history, [[0, 0], [self.max_length - tf.shape(history)[1], 0]])
        rows = tf.ensure_shape(self.items(history), [None, self.max_length, self.dim])
        found = [
            tf.reshape(
                tf.transpose(self.columns(tf.transpose(rows, [0, 2, 1])), [0, 2, 1]),
                [-1, self.vertical * self.dim],
            )
        ]
        for height, layer in enumerate(self.windows, start=1):
            places = range(self.max_length - height + 1)
            windows = tf.stack(
                [
                    tf.reshape(rows[:, place : place + height], [-1, height * self.dim])
                    for place in places
                ],
                axis=1,
            )
            found.append(tf.reduce_max(layer(windows), axis=1))
        z = self.hidden(self.drop(tf.concat(found, axis=1), training=training))
        return tf.concat([z, self.users(features["user"]), tf.ones_like(z[:, :1])], axis=1)

    def item_tables(self):
        return [self.outputs_, self.biases]
