"""Translation-based recommendation, as a model of another package."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers import EmbeddingTable, SquaredDistance
from tfrec_attn.models import SequenceModel


class TransRec(SequenceModel):
    """Scores items by `b_j - |g_l + t + t_u - g_j|^2` for the latest item l (He et al., RecSys
    2017).
    """

    uses_user = True
    recommended: ClassVar = {"train.loss": "bpr", "data.targets": 1, "data.max_length": 1}

    def __init__(
        self,
        num_users,
        num_items,
        max_length=1,
        *,
        dim=8,
        stddev=0.1,
        max_norm: float | None = 1.0,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.stddev, self.max_norm = dim, stddev, max_norm
        self.distance = SquaredDistance()
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=0.0, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, max_norm=max_norm, name="items")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases")
        self.translation = self.add_weight(
            name="translation", shape=[dim], initializer="random_normal"
        )

    def query_vectors(self, features, training=False):
        latest = features["history"][:, -1]
        known = tf.cast(latest > 0, tf.float32)
        point = self.items(latest) + self.translation + self.users(features["user"])
        # Without a latest item there is no point to be near to.
        return tf.concat([self.distance.query(point, known), tf.ones_like(point[:, :1])], axis=1)

    def item_vectors(self, items=None):
        return tf.concat(
            [self.distance.item(self.items.rows(items)), self.biases.rows(items)], axis=1
        )

    def item_columns(self):
        return {self.items: 0, self.biases: self.dim + 1}
