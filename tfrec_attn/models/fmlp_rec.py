"""FMLP-Rec: learned filters over the history in place of self-attention."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.filter_block import FilterBlock
from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.support import pad_left, positive_integer
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class FMLPRec(SequenceModel):
    """Scores items by learned filters over the history, in the frequency domain.

        x = dropout(LayerNorm(E[history] + P)),   0 at padding
        h = blocks(x)                             see `FilterBlock`
        score(j) = h_latest . E_j

    A filter is circular over the window and therefore not causal. An example thus has one target,
    the item after its history. Histories are padded to L in training and in requests.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history. Default 50.
        dim: D, width of the item vectors E [N, D] and of all layers. Default 64.
        num_blocks: Number of blocks; each has a filter and a network. Default 2.
        dropout: Probability in [0, 1) of dropping a feature of x, or an output of a filter or a
            network, in training. Default 0.5.
        stddev: Standard deviation of the initial item vectors, positions and filters. Default 0.02.

    Shapes:
        "history" int [B, L] -> queries [B, D]; items [N + 1, D]. The scores of an empty history are
        finite, without meaning.

    Deviations:
        A padded position has the vector 0; in the authors' code it has LayerNorm(P). The authors
        train with one sampled negative; the recommended loss is the softmax.

    Reference:
        Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW 2022
        (arXiv 2202.13556).
    """

    trains_on = "windows"

    recommended: ClassVar = {
        "data.max_length": 50,
        "data.targets": 1,
        "data.window": "all",
        "train.loss": "softmax",
        "train.reduction": "mean",
        "train.optimizer": "adam",
        "train.learning_rate": 1e-3,
        "train.batch_size": 512,
        "train.epochs": 100,
        "train.patience": 10,
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=50,
        *,
        dim=64,
        num_blocks=2,
        dropout=0.5,
        stddev=0.02,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.dropout, self.stddev = dim, dropout, stddev
        self.num_blocks = positive_integer("num_blocks", num_blocks)
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.embedding = HistoryEmbedding(max_length, dropout, stddev, scale=False, normalize=True)
        self.blocks = [
            FilterBlock(max_length, dropout, stddev=stddev, name=f"block_{number}")
            for number in range(num_blocks)
        ]
        for layer in (self.embedding, *self.blocks):
            layer.build((None, max_length, dim))

    def item_tables(self):
        return [self.items]

    def query_vectors(self, features, training=False):
        history = pad_left(features["history"], self.max_length)
        x = self.embedding(self.items(history), mask=history > 0, training=training)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, training=training)
        return tf.cast(last(x, training=training, latest_only=True)[:, 0], tf.float32)
