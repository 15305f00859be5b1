"""PRME: a user's taste and the latest item in two metric spaces."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.squared_distance import SquaredDistance
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class PRME(SequenceModel):
    """Scores items by distances to a point of the user and to a point of the latest item.

        score(j) = -(a |U_u - P_j|^2 + (1 - a) |S_l - S_j|^2) + a term that is equal for all j

    l is the latest item. An unknown user, and an empty history, leave out their term. The nearest
    item to l is l itself: the model suits logs without repeats. S is one table, so i is as near to
    j as j to i.

    Args:
        num_users: M.
        num_items: N.
        max_length: L; of the history the latest item counts. Default 1.
        dim: D, width of the tables U [M, D], P [N, D] and S [N, D]. Default 64.
        user_weight: a in [0, 1]; 0 is the latest item only, 1 the user only. Default 0.2.
        stddev: Of the initial values. Default 0.1.

    Shapes:
        "user" int [B], "history" int [B, L] -> queries [B, 2 (D + 1)]; items [N + 1, 2 (D + 1)].

    Deviations:
        From the paper: no time gap, after which the user alone would count, and no places; batches
        with Adagrad instead of single samples with SGD.

    Reference:
        Feng, Li, Zeng, Cong, Chee, Yuan, "Personalized Ranking Metric Embedding for Next New POI
        Recommendation", IJCAI 2015.
    """

    uses_user = True

    recommended: ClassVar = {
        "data.max_length": 1,
        "data.targets": 1,
        "train.batch_size": 1024,
        "train.loss": "bpr",
        "train.l2": 0.02,
        "train.epochs": 100,
        "train.patience": 10,
    }

    def __init__(
        self, num_users, num_items, max_length=1, *, dim=64, user_weight=0.2, stddev=0.1, **kwargs
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        if not 0.0 <= user_weight <= 1.0:
            raise ValueError(
                f"user_weight must be in [0, 1], but is {user_weight}: 0 is the latest item alone, "
                "1 the user alone."
            )
        self.dim = dim
        self.user_weight = user_weight
        self.stddev = stddev
        self.distance = SquaredDistance()
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.preferred = EmbeddingTable(num_items, dim, stddev=stddev, name="preferred")
        self.sequential = EmbeddingTable(num_items, dim, stddev=stddev, name="sequential")

    def query_vectors(self, features, training=False):
        user, latest = features["user"], features["history"][:, -1]
        by_user = self.user_weight * tf.cast(user > 0, tf.float32)
        by_item = (1.0 - self.user_weight) * tf.cast(latest > 0, tf.float32)
        return tf.concat(
            [
                self.distance.query(self.users(user), by_user),
                self.distance.query(self.sequential(latest), by_item),
            ],
            axis=1,
        )

    def item_vectors(self, items=None):
        return tf.concat(
            [self.distance.item(table.rows(items)) for table in (self.preferred, self.sequential)],
            axis=1,
        )

    def item_columns(self):
        return {self.preferred: 0, self.sequential: self.dim + 1}
