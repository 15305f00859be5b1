"""Personalised ranking metric embedding, as a model of another package."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers import EmbeddingTable, SquaredDistance
from tfrec_attn.models import SequenceModel


class PRME(SequenceModel):
    """Scores items by `-(a |u - P_j|^2 + (1 - a) |S_l - S_j|^2)` for the latest item l (Feng et
    al., IJCAI 2015).
    """

    uses_user = True
    recommended: ClassVar = {"train.loss": "bpr", "data.targets": 1, "data.max_length": 1}

    def __init__(
        self, num_users, num_items, max_length=1, *, dim=8, user_weight=0.2, stddev=0.1, **kwargs
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.user_weight, self.stddev = dim, user_weight, stddev
        self.distance = SquaredDistance()
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.preferred = EmbeddingTable(num_items, dim, stddev=stddev, name="preferred")
        self.sequential = EmbeddingTable(num_items, dim, stddev=stddev, name="sequential")

    def query_vectors(self, features, training=False):
        user, latest = features["user"], features["history"][:, -1]
        by_user = self.user_weight * tf.cast(user > 0, tf.float32)
        by_item = (1.0 - self.user_weight) * tf.cast(latest > 0, tf.float32)
        parts = [
            self.distance.query(self.users(user), by_user),
            self.distance.query(self.sequential(latest), by_item),
        ]
        return tf.concat(parts, axis=1)

    def item_vectors(self, items=None):
        return tf.concat(
            [self.distance.item(table.rows(items)) for table in (self.preferred, self.sequential)],
            axis=1,
        )

    def item_columns(self):
        return {self.preferred: 0, self.sequential: self.dim + 1}
