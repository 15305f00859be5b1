"""BPR-MF: matrix factorisation for a personalised ranking."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class BPRMF(SequenceModel):
    """Scores items by the inner product with a user vector, independently of the history.

        score(j) = U_u . V_j + b_j

    An unknown user gets the most popular items.

    Args:
        num_users: M.
        num_items: N.
        max_length: L; the scores do not depend on the history. Default 1.
        dim: D, width of the tables U [M, D] and V [N, D]. Default 64.
        bias: Whether items have a bias b [N]. Default True.
        stddev: Standard deviation of the initial U and V; b starts at 0. Default 0.1.

    Shapes:
        "user" int [B] -> queries [B, D + 1]; items [N + 1, D + 1]; without bias D columns.

    Deviations:
        From the paper: training by Adagrad with batches instead of SGD with single samples; one L2
        weight for users, positives, negatives and biases.

    Reference:
        Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from
        Implicit Feedback", UAI 2009 (arXiv 1205.2618).
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
        "train.loss": "bpr",
        "train.l2": 0.02,
    }

    def __init__(
        self, num_users, num_items, max_length=1, *, dim=64, bias=True, stddev=0.1, **kwargs
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim = dim
        self.bias = bias
        self.stddev = stddev
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases") if bias else None

    def query_vectors(self, features, training=False):
        users = self.users(features["user"])
        return tf.concat([users, tf.ones_like(users[:, :1])], axis=1) if self.bias else users

    def item_tables(self):
        return [self.items, self.biases] if self.bias else [self.items]
