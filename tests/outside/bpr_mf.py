"""Matrix factorisation with item biases, as a model of another package."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.models import SequenceModel


class BPRMF(SequenceModel):
    """Scores items by `u . v_j + b_j`, whatever the history (Rendle et al., UAI 2009)."""

    uses_user = True
    uses_history = False
    recommended: ClassVar = {"train.loss": "bpr", "data.targets": 1}

    def __init__(self, num_users, num_items, max_length=1, *, dim=8, stddev=0.1, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.stddev = dim, stddev
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases")

    def query_vectors(self, features, training=False):
        users = self.users(features["user"])
        return tf.concat([users, tf.ones_like(users[:, :1])], axis=1)

    def item_tables(self):
        return [self.items, self.biases]
