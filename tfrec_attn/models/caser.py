"""Caser: convolutions over the latest items, and a vector of the user."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.support import dropout_rate, pad_left
from tfrec_attn.layers.window_convolution import WindowConvolution
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Caser(SequenceModel):
    """Scores items by convolutions over a window of the latest items, and by a user vector.

        o = WindowConvolution(E[history])
        z = relu(dropout(o) W + c)
        score(j) = [z, U_user] . V_j + b_j

    Args:
        num_users: M.
        num_items: N.
        max_length: L, number of items of the window. Default 5.
        dim: D, width of E [N, D], z and U [M, D]; V is [N, 2 D]. Default 50.
        vertical: Number of vertical filters. Default 4.
        horizontal: Number of horizontal filters of each height. Default 16.
        max_height: Largest height of the horizontal filters, at most L; the heights are
            1 .. `max_height`, with a kernel each. None (default): L.
        dropout: Probability in [0, 1) of dropping an output of the convolutions in training.
            Default 0.5.
        stddev: Standard deviation of the initial E, U and V. Default 0.02.

    Shapes:
        "user" int [B], "history" int [B, L] -> queries [B, 2 D + 1]; items [N + 1, 2 D + 1]. An
        unknown user has the vector 0.

    Deviations:
        Padding has the vector 0; in the authors' code its vector is trained. The authors initialise
        V with half the standard deviation of E and U.

    Reference:
        Tang, Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence
        Embedding", WSDM 2018 (arXiv 1809.07426).
    """

    uses_user = True

    recommended: ClassVar = {
        "data.max_length": 5,
        "data.targets": 3,
        "data.window": "full",
        "train.epochs": 50,
        "train.batch_size": 512,
        "train.optimizer": "adam",
        "train.learning_rate": 1e-3,
        "train.loss": "bce",
        "train.negatives": 1,
        "train.reduction": "mean",
        "train.l2": 1e-6,
        "train.kernel_l2": 1e-6,
        "train.patience": 10,
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=5,
        *,
        dim=50,
        vertical=4,
        horizontal=16,
        max_height: int | None = None,
        dropout=0.5,
        stddev=0.02,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.vertical, self.horizontal = dim, vertical, horizontal
        if max_height is not None and max_height > max_length:
            raise ValueError(
                f"max_height must be at most max_length, {max_length}, but is {max_height}; lower "
                "model.max_height, or raise data.max_length."
            )
        self.max_height, self.dropout, self.stddev = max_height, dropout_rate(dropout), stddev
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.targets = EmbeddingTable(num_items, 2 * dim, stddev=stddev, name="targets")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases")
        self.convolution = WindowConvolution(max_length, vertical, horizontal, max_height)
        self.drop = Dropout(dropout)
        self.hidden = tf.keras.layers.Dense(dim, "relu", name="hidden")
        self.convolution.build((None, max_length, dim))
        self.hidden.build((None, vertical * dim + self.convolution.units))

    def query_vectors(self, features, training=False):
        window = self.items(pad_left(features["history"], self.max_length))
        z = self.hidden(self.drop(self.convolution(window), training=training))
        z, user = tf.cast(z, tf.float32), self.users(features["user"])
        return tf.concat([z, user, tf.ones_like(z[:, :1])], axis=1)

    def item_tables(self):
        return [self.targets, self.biases]
