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
                   -|U_u - P_j|^2    if the latest event is longer ago than `max_gap`

    l is the latest item. The term of an unknown user, or of an empty history, is left out. For an
    unknown user, `max_gap` has no effect; without the feature "gap", the latest event counts as
    recent. The nearest item to l is l itself, so the model suits logs without repeats. S is one
    table, so distances are symmetric.

    Args:
        num_users: M.
        num_items: N.
        max_length: L; only the latest item of the history counts. Default 1.
        dim: D, width of the tables U [M, D], P [N, D] and S [N, D]. Default 64.
        user_weight: a in [0, 1]; 0 is the latest item only, 1 the user only. Default 0.2.
        max_gap: Longest time since the latest event at which this event counts, in the unit of the
            log's times. Default None: it always counts. A model with `max_gap` cannot be exported,
            because requests have no times.
        stddev: Standard deviation of the initial values. Default 0.1.

    Shapes:
        "user" int [B], "history" int [B, L], with `max_gap` "gap" float [B] -> queries
        [B, 2 (D + 1)]; items [N + 1, 2 (D + 1)].

    Deviations:
        From the paper: `max_gap` is None by default (6 hours in the paper); geographic distances
        are left out; training by Adagrad with batches instead of SGD with single samples.

    Reference:
        Feng, Li, Zeng, Cong, Chee, Yuan, "Personalized Ranking Metric Embedding for Next New POI
        Recommendation", IJCAI 2015.
    """

    uses_user = True
    gap_parameter = "max_gap"

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
        self,
        num_users,
        num_items,
        max_length=1,
        *,
        dim=64,
        user_weight=0.2,
        max_gap: float | None = None,
        stddev=0.1,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        if not 0.0 <= user_weight <= 1.0:
            raise ValueError(
                f"user_weight must be in [0, 1], but is {user_weight}: 0 is the latest item alone, "
                "1 the user alone."
            )
        if max_gap is not None and not max_gap > 0:
            raise ValueError(f"max_gap must be greater than 0 or None, but is {max_gap}.")
        self.dim = dim
        self.user_weight = user_weight
        self.max_gap = max_gap
        self.stddev = stddev
        self.distance = SquaredDistance()
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.preferred = EmbeddingTable(num_items, dim, stddev=stddev, name="preferred")
        self.sequential = EmbeddingTable(num_items, dim, stddev=stddev, name="sequential")

    def query_vectors(self, features, training=False):
        user, latest = features["user"], features["history"][:, -1]
        old = tf.zeros_like(user, tf.bool)
        if self.max_gap is not None and "gap" in features:
            old = (features["gap"] > self.max_gap) & (user > 0)
        by_user = tf.where(old, 1.0, self.user_weight) * tf.cast(user > 0, tf.float32)
        by_item = (1.0 - self.user_weight) * tf.cast((latest > 0) & ~old, tf.float32)
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
