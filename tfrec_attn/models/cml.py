"""CML: users and items as points of one metric space."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.squared_distance import SquaredDistance
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class CML(SequenceModel):
    """Scores items by the distance to a point of the user, independently of the history.

        score(j) = -|U_u - V_j|^2 + a term that is equal for all j

    A training step applies the max-norm constraint to the rows that it updates. An unknown user
    gets the most popular items.

    Args:
        num_users: M.
        num_items: N.
        max_length: L; the scores do not depend on the history. Default 1.
        dim: D, width of the tables U [M, D] and V [N, D]. Default 100.
        max_norm: Largest norm of a row. Default 1; None: no limit.
        stddev: Standard deviation of the initial values. Default 0.1.

    Shapes:
        "user" int [B] -> queries [B, D + 1]; items [N + 1, D + 1].

    Deviations:
        The covariance loss and item features are left out. For that loss, the authors' code sums
        the signed covariances of the dimensions, and the paper sums their squares.

    Reference:
        Hsieh, Yang, Cui, Lin, Belongie, Estrin, "Collaborative Metric Learning", WWW 2017.
    """

    uses_user = True
    uses_history = False

    recommended: ClassVar = {
        "data.max_length": 1,
        "data.targets": 1,
        "data.window": "all",
        "train.epochs": 100,
        "train.patience": 10,
        "train.batch_size": 1024,
        "train.learning_rate": 0.1,
        "train.loss": "warp",
        "train.margin": 1.5,
        "train.negatives": 20,
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=1,
        *,
        dim=100,
        max_norm: float | None = 1.0,
        stddev=0.1,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim = dim
        self.max_norm = max_norm
        self.stddev = stddev
        self.distance = SquaredDistance()
        table = {"stddev": stddev, "max_norm": max_norm}
        self.users = EmbeddingTable(num_users, dim, of="users", name="users", **table)
        self.items = EmbeddingTable(num_items, dim, name="items", **table)

    def query_vectors(self, features, training=False):
        user = features["user"]
        return self.distance.query(self.users(user), tf.cast(user > 0, tf.float32))

    def item_vectors(self, items=None):
        return self.distance.item(self.items.rows(items))

    def item_columns(self):
        return {self.items: 0}
