"""Factorised personalised Markov chains, as a model of another package."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.models import SequenceModel


class FPMC(SequenceModel):
    """Scores items by `u . v_j + mean of p_i . n_j` over the latest items i (Rendle et al., WWW
    2010).
    """

    uses_user = True
    recommended: ClassVar = {"train.loss": "bpr", "data.targets": 1, "data.max_length": 1}

    def __init__(self, num_users, num_items, max_length=1, *, dim=8, stddev=0.1, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.stddev = dim, stddev
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.previous = EmbeddingTable(num_items, dim, stddev=stddev, name="previous")
        self.following = EmbeddingTable(num_items, dim, stddev=stddev, name="following")

    def query_vectors(self, features, training=False):
        history = features["history"]
        count = tf.reduce_sum(tf.cast(history > 0, tf.float32), axis=1, keepdims=True)
        basket = tf.reduce_sum(self.previous(history), axis=1) / tf.maximum(count, 1.0)
        return tf.concat([self.users(features["user"]), basket], axis=1)

    def item_tables(self):
        return [self.items, self.following]
