"""BERT4Rec, as a model of another package."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers import Dropout, EmbeddingTable, LearnedPositions
from tfrec_attn.models import SequenceModel


class BERT4Rec(SequenceModel):
    """Scores items by `t . E_j + b_j`, where t is what a bidirectional encoder makes of a mask at
    the end (Sun et al., CIKM 2019).
    """

    trains_on = "masked_items"
    recommended: ClassVar = {
        "train.loss": "softmax",
        "train.reduction": "mean",
        "train.optimizer": "adam",
        "train.learning_rate": 1e-3,
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=50,
        *,
        dim=8,
        num_blocks=2,
        num_heads=2,
        dropout=0.2,
        stddev=0.02,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.num_blocks, self.num_heads, self.dropout, self.stddev = (
            dim,
            num_blocks,
            num_heads,
            dropout,
            stddev,
        )
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases")
        self.mask = EmbeddingTable(1, dim, of="other", stddev=stddev, name="mask")
        self.positions = LearnedPositions(max_length, stddev)
        self.positions.build([None, max_length, dim])
        self.first = _normalisation(dim, "first")
        self.blocks = [
            _Block(dim, num_heads, dropout, name=f"block_{number}") for number in range(num_blocks)
        ]
        self.projection = tf.keras.layers.Dense(dim, "gelu", name="projection")
        self.projection.build([None, dim])
        self.last = _normalisation(dim, "last")
        self.drop = Dropout(dropout)

    def sequence_vectors(self, features, training=False):
        history = features["history"]
        masked = history > self.num_items
        rows = self.items(tf.where(masked, 0, history)) + self.mask(tf.cast(masked, tf.int32))
        x = self.drop(self.first(self.positions(rows)), training=training)
        for block in self.blocks:
            x = block(x, history > 0, training)
        t = self.last(self.projection(x))
        return tf.concat([t, tf.ones_like(t[:, :, :1])], axis=2)

    def item_tables(self):
        return [self.items, self.biases]


class _Block(tf.keras.layers.Layer):
    """`y = LayerNorm(x + attention(x))`, `LayerNorm(y + W2 gelu(W1 y))`."""

    def __init__(self, dim, num_heads, dropout, **kwargs):
        super().__init__(**kwargs)
        self.attention = tf.keras.layers.MultiHeadAttention(
            num_heads, dim // num_heads, dropout=dropout
        )
        # It is built by a call alone.
        self.attention(tf.zeros([1, 1, dim]), tf.zeros([1, 1, dim]))
        self.wide, self.narrow = tf.keras.layers.Dense(4 * dim, "gelu"), tf.keras.layers.Dense(dim)
        self.wide.build([None, dim])
        self.narrow.build([None, 4 * dim])
        self.norms = [_normalisation(dim, f"norm_{number}") for number in range(2)]
        self.drop = Dropout(dropout)

    def call(self, x, real, training=False):
        attended = self.attention(x, x, attention_mask=real[:, tf.newaxis, :], training=training)
        x = self.norms[0](x + self.drop(attended, training=training))
        return self.norms[1](x + self.drop(self.narrow(self.wide(x)), training=training))


def _normalisation(dim, name):
    layer = tf.keras.layers.LayerNormalization(epsilon=1e-12, name=name)
    layer.build([None, None, dim])
    return layer
