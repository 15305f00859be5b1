"""TransRec: users as translations from one item to the next."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.keras_versions import keras
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.squared_distance import SquaredDistance
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class TransRec(SequenceModel):
    """Scores items by the distance to the latest item, translated by the vector of the user.

        score(j) = b_j - |G_l + t + T_u - G_j|^2 + a term that is equal for all j

    l is the latest item. T_u starts at 0 and is 0 for an unknown user. The scores of an empty
    history are the biases. A training step applies the max-norm constraint to the rows of G that it
    updates. The nearest item is often l itself, so the model suits logs without repeats.

    Args:
        num_users: M.
        num_items: N.
        max_length: L; only the latest item of the history counts. Default 1.
        dim: D, width of the tables G [N, D] and T [M, D] and of t. Default 64.
        max_norm: Largest norm of a row of G. Default 1; None: no limit.
        stddev: Standard deviation of the initial G and t; T and b start at 0. Default 0.125, which
            gives rows of norm 1 for D = 64.

    Shapes:
        "user" int [B], "history" int [B, L] -> queries [B, D + 2]; items [N + 1, D + 2].

    Deviations:
        From the paper: only the squared L2 distance, because L1 and L2 distances are not inner
        products; one L2 weight for all tables, and `train.kernel_l2` for t; training by Adagrad
        with batches instead of SGD with single samples.

    Reference:
        He, Kang, McAuley, "Translation-based Recommendation", RecSys 2017 (arXiv 1707.02410).
    """

    uses_user = True

    recommended: ClassVar = {
        "data.max_length": 1,
        "data.targets": 1,
        "train.epochs": 100,
        "train.patience": 10,
        "train.batch_size": 1024,
        "train.loss": "bpr",
        "train.l2": 0.02,
        "train.kernel_l2": 0.02,
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=1,
        *,
        dim=64,
        max_norm: float | None = 1.0,
        stddev=0.125,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim = dim
        self.max_norm = max_norm
        self.stddev = stddev
        self.distance = SquaredDistance()
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=0.0, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, max_norm=max_norm, name="items")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases")
        self.translation = self.add_weight(
            name="translation",
            shape=[dim],
            initializer=tf.keras.initializers.RandomNormal(stddev=stddev),
            **keras.WITHOUT_AUTOCAST,
        )

    def query_vectors(self, features, training=False):
        latest = features["history"][:, -1]
        point = self.items(latest) + self.translation + self.users(features["user"])
        known = tf.cast(latest > 0, tf.float32)
        return tf.concat([self.distance.query(point, known), tf.ones_like(point[:, :1])], axis=1)

    def item_vectors(self, items=None):
        return tf.concat(
            [self.distance.item(self.items.rows(items)), self.biases.rows(items)], axis=1
        )

    def item_columns(self):
        return {self.items: 0, self.biases: self.dim + 1}
