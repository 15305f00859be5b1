"""The hierarchical representation model, as a model of another package."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.models import SequenceModel


class HRM(SequenceModel):
    """Scores items by `max(u, max of v_i over the latest items i) . v_j`, coordinate by coordinate
    (Wang et al., SIGIR 2015).
    """

    uses_user = True
    recommended: ClassVar = {"train.loss": "bce", "data.targets": 1, "data.max_length": 2}

    def __init__(self, num_users, num_items, max_length=2, *, dim=8, stddev=0.1, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.stddev = dim, stddev
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")

    def query_vectors(self, features, training=False):
        ids = tf.concat([features["user"][:, tf.newaxis], features["history"]], axis=1)
        rows = tf.concat([self.users(ids[:, :1]), self.items(ids[:, 1:])], axis=1)
        pooled = tf.reduce_max(tf.where(ids[:, :, tf.newaxis] > 0, rows, rows.dtype.min), axis=1)
        return tf.where(tf.reduce_any(ids > 0, axis=1, keepdims=True), pooled, 0.0)

    def item_tables(self):
        return [self.items]
