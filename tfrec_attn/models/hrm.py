"""HRM: a user and the latest items, pooled in two stages."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.models.base import SequenceModel

_POOLINGS = ("max", "mean")


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class HRM(SequenceModel):
    """Scores items by a vector that is pooled from the user and the latest items.

        score(j) = pool2(U_u, pool1(V_i over the latest L items i)) . V_j

    A pooling takes the maximum or the mean of each coordinate, without padding and unknown users.

    Args:
        num_users: M.
        num_items: N.
        max_length: L, number of latest items of the history. Default 2.
        dim: D, width of the tables U [M, D] and V [N, D]. Default 64.
        item_pooling: pool1, "max" (default) or "mean".
        user_pooling: pool2, "max" (default) or "mean".
        stddev: Standard deviation of the initial values of both tables. With two standard
            deviations, "max" would choose only from the table with the larger one. Default 0.1.

    Shapes:
        "user" int [B], "history" int [B, L] -> queries [B, D]; items [N + 1, D]. For an unknown
        user with an empty history, all scores are 0.

    Deviations:
        From the paper: the latest L items instead of the last basket; no dropout in the first
        layer.

    Reference:
        Wang, Guo, Lan, Xu, Wan, Cheng, "Learning Hierarchical Representation Model for Next Basket
        Recommendation", SIGIR 2015.
    """

    uses_user = True

    recommended: ClassVar = {
        "data.max_length": 2,
        "data.targets": 1,
        "data.window": "all",
        "train.epochs": 100,
        "train.patience": 10,
        "train.batch_size": 1024,
        "train.loss": "bce",
        "train.negatives": 4,
        "train.l2": 0.01,
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=2,
        *,
        dim=64,
        item_pooling="max",
        user_pooling="max",
        stddev=0.1,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        for name, value in (("item_pooling", item_pooling), ("user_pooling", user_pooling)):
            if value not in _POOLINGS:
                raise ValueError(f"{name} must be one of max, mean, but is {value!r}.")
        self.dim = dim
        self.item_pooling = item_pooling
        self.user_pooling = user_pooling
        self.stddev = stddev
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")

    def query_vectors(self, features, training=False):
        user, history = features["user"][:, tf.newaxis], features["history"]
        items = _pool(self.items(history), history > 0, self.item_pooling)
        known = tf.concat([user > 0, tf.reduce_any(history > 0, axis=1, keepdims=True)], axis=1)
        return _pool(
            tf.concat([self.users(user), items[:, tf.newaxis]], axis=1), known, self.user_pooling
        )

    def item_tables(self):
        return [self.items]


def _pool(rows, real, pooling):
    """Returns the maxima or the means of the real rows, 0 without any: [B, L, D] -> [B, D]."""
    real = real[:, :, tf.newaxis]
    if pooling == "max":
        largest = tf.reduce_max(tf.where(real, rows, rows.dtype.min), axis=1)
        return tf.where(tf.reduce_any(real, axis=1), largest, 0.0)
    count = tf.reduce_sum(tf.cast(real, rows.dtype), axis=1)
    return tf.reduce_sum(tf.where(real, rows, 0.0), axis=1) / tf.maximum(count, 1.0)
