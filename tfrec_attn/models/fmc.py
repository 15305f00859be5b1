"""FMC: a factorised Markov chain over items."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class FMC(SequenceModel):
    """Scores items by how likely they follow the latest items, equally for all users.

        score(j) = mean of P_i . F_j over the latest L items i, + b_j with `bias`

    The previous and the next item have different tables. With one table, i would follow j as often
    as j follows i.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history. Default 1.
        dim: D, width of the tables P [N, D] and F [N, D]. Default 64.
        bias: Whether items have a bias b [N]. Default False.
        stddev: Standard deviation of the initial P and F. Default 0.1.

    Shapes:
        "history" int [B, L] -> queries [B, D]; items [N + 1, D]; with bias D + 1 columns. The
        scores of an empty history are 0, or the biases.

    Deviations:
        From the paper: a basket is the latest L items; only the factors of the pairs (previous,
        next) remain; training by Adagrad with batches instead of SGD with single samples.

    Reference:
        Rendle, Freudenthaler, Schmidt-Thieme, "Factorizing Personalized Markov Chains for
        Next-Basket Recommendation", WWW 2010, section 4, without the user.
    """

    recommended: ClassVar = {
        "data.max_length": 1,
        "data.targets": 1,
        "train.loss": "bpr",
        "train.batch_size": 1024,
        "train.l2": 0.02,
        "train.epochs": 100,
        "train.patience": 10,
    }

    def __init__(
        self, num_users, num_items, max_length=1, *, dim=64, bias=False, stddev=0.1, **kwargs
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim = dim
        self.bias = bias
        self.stddev = stddev
        self.previous = EmbeddingTable(num_items, dim, stddev=stddev, name="previous")
        self.following = EmbeddingTable(num_items, dim, stddev=stddev, name="following")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases") if bias else None

    def query_vectors(self, features, training=False):
        history = features["history"]
        count = tf.reduce_sum(tf.cast(history > 0, tf.float32), axis=1, keepdims=True)
        mean = tf.reduce_sum(self.previous(history), axis=1) / tf.maximum(count, 1.0)
        return tf.concat([mean, tf.ones_like(count)], axis=1) if self.bias else mean

    def item_tables(self):
        return [self.following, self.biases] if self.bias else [self.following]
