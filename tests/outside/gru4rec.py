"""GRU4Rec, as a model of another package."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.models import SequenceModel


class GRU4Rec(SequenceModel):
    """Scores items by `h . E_j + b_j`, where h is the state of a GRU over the history (Hidasi et
    al., ICLR 2016).
    """

    trains_on = "next_items"
    recommended: ClassVar = {
        "train.loss": "softmax",
        "train.reduction": "mean",
        "data.max_length": 50,
    }

    def __init__(self, num_users, num_items, max_length=50, *, dim=8, stddev=0.1, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.stddev = dim, stddev
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases")
        self.cell = tf.keras.layers.GRU(dim, return_sequences=True, reset_after=False, name="gru")
        self.cell.build((None, max_length, dim))

    def sequence_vectors(self, features, training=False):
        history = features["history"]
        states = self.cell(self.items(history), mask=history > 0, training=training)
        return tf.concat([states, tf.ones_like(states[:, :, :1])], axis=2)

    def item_tables(self):
        return [self.items, self.biases]
