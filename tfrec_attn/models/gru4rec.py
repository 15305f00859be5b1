"""GRU4Rec: a gated recurrent unit over the history."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.gru import GRU
from tfrec_attn.layers.support import dropout_rate
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class GRU4Rec(SequenceModel):
    """Scores items by the state of a gated recurrent unit after the history.

        x = dropout(E[history])
        h = dropout(GRU(x))          see `GRU`; h = 0 before the first event
        score(j) = h_latest . E_j + b_j

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history. Default 50.
        dim: D, width of the item vectors E [N, D] and of the state. Default 64.
        dropout: Probability in [0, 1) of dropping a feature of x or of h in training. Default 0.5.
        stddev: Standard deviation of the initial item vectors. Default 0.05.

    Shapes:
        "history" int [B, L] -> queries [B, D + 1], or [B, L, D + 1] at all positions; items
        [N + 1, D + 1]. The scores of an empty history are b.

    Deviations:
        Input and output share one item table, which is the best setting of the authors' code. The
        authors train on parallel sessions and carry the state from batch to batch; here each
        example is a sequence from its start. The losses of the papers are `train.loss=bpr_max`,
        `top1_max`, and `sampled_softmax` with `train.sampling=popularity` and
        `train.sampling_power`. Here, their negatives do not contain the other targets of the batch.

    Reference:
        Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016
        (arXiv 1511.06939); Hidasi and Karatzoglou, CIKM 2018 (arXiv 1706.03847).
    """

    trains_on = "next_items"

    recommended: ClassVar = {
        "data.max_length": 50,
        "train.epochs": 100,
        "train.batch_size": 256,
        "train.optimizer": "adam",
        "train.learning_rate": 2e-3,
        "train.loss": "softmax",
        "train.reduction": "mean",
        "train.patience": 10,
    }

    def __init__(
        self, num_users, num_items, max_length=50, *, dim=64, dropout=0.5, stddev=0.05, **kwargs
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.dropout, self.stddev = dim, dropout_rate(dropout), stddev
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases")
        self.gru = GRU(name="gru")
        self.gru.build((None, max_length, dim))
        self.input_dropout, self.state_dropout = Dropout(dropout), Dropout(dropout)

    def item_tables(self):
        return [self.items, self.biases]

    def sequence_vectors(self, features, training=False):
        history = features["history"]
        x = self.input_dropout(self.items(history), training=training)
        h = self.state_dropout(self.gru(x, mask=history > 0), training=training)
        h = tf.cast(h, tf.float32)
        return tf.concat([h, tf.ones_like(h[:, :, :1])], axis=2)
