"""FPMC: matrix factorisation and a factorised Markov chain together."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class FPMC(SequenceModel):
    """Scores items by a user vector, and by how likely they follow the latest items.

        score(j) = U_u . V_j + mean of P_i . F_j over the latest L items i, + b_j with `bias`

    The term of an unknown user, or of an empty history, is 0. All four tables are different.

    Args:
        num_users: M.
        num_items: N.
        max_length: L, number of latest items of the history. Default 1.
        dim: D, width of the tables U [M, D], V [N, D], P [N, D] and F [N, D]. Default 64.
        bias: Whether items have a bias b [N]. Default False.
        stddev: Standard deviation of the initial values of the four tables. Default 0.1.

    Shapes:
        "user" int [B], "history" int [B, L] -> queries [B, 2 D]; items [N + 1, 2 D]; with bias
        2 D + 1 columns.

    Deviations:
        From the paper: a basket is the latest L items; the term of user and previous item, which is
        equal for all j, is left out; negatives exclude all items of the user's training events, and
        not only those of the basket; training by Adagrad with batches instead of SGD with single
        samples.

    Reference:
        Rendle, Freudenthaler, Schmidt-Thieme, "Factorizing Personalized Markov Chains for
        Next-Basket Recommendation", WWW 2010.
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
    }

    def __init__(
        self, num_users, num_items, max_length=1, *, dim=64, bias=False, stddev=0.1, **kwargs
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.bias, self.stddev = dim, bias, stddev
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.previous = EmbeddingTable(num_items, dim, stddev=stddev, name="previous")
        self.following = EmbeddingTable(num_items, dim, stddev=stddev, name="following")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases") if bias else None

    def query_vectors(self, features, training=False):
        history = features["history"]
        count = tf.reduce_sum(tf.cast(history > 0, tf.float32), axis=1, keepdims=True)
        mean = tf.reduce_sum(self.previous(history), axis=1) / tf.maximum(count, 1.0)
        parts = [self.users(features["user"]), mean]
        return tf.concat([*parts, tf.ones_like(count)] if self.bias else parts, axis=1)

    def item_tables(self):
        tables = [self.items, self.following]
        return [*tables, self.biases] if self.bias else tables
