"""A small bidirectional model that trains on masked items."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers import EmbeddingTable, HistoryEmbedding, TransformerStack
from tfrec_attn.models import SequenceModel


class Cloze(SequenceModel):
    """Predicts the item at a masked position from those on both sides; the next item is a masked
    one at the end.
    """

    trains_on = "masked_items"
    recommended: ClassVar = {
        "train.loss": "softmax",
        "train.reduction": "mean",
        "train.optimizer": "adam",
        "train.learning_rate": 1e-2,
    }

    def __init__(
        self, num_users, num_items, max_length=8, *, dim=16, dropout=0.0, stddev=0.02, **kwargs
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.dropout, self.stddev = dim, dropout, stddev
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.mask = EmbeddingTable(1, dim, of="other", stddev=stddev, name="mask")
        self.embedding = HistoryEmbedding(max_length, dropout, stddev)
        self.encoder = TransformerStack(causal=False, dropout=dropout)
        self.embedding.build((None, max_length, dim))
        self.encoder.build((None, max_length, dim))

    def sequence_vectors(self, features, training=False):
        history = features["history"]
        masked = history > self.num_items
        items = tf.where(masked, tf.zeros_like(history), history)
        x = self.items(items) + self.mask(tf.cast(masked, history.dtype))
        x = self.embedding(x, mask=history > 0, training=training)
        return tf.cast(self.encoder(x, mask=history > 0, training=training), tf.float32)

    def item_tables(self):
        return [self.items]
