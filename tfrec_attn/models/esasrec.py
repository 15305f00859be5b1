"""eSASRec: causal self-attention in blocks with gated residual connections."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.gated_residual_block import GatedResidualBlock
from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.support import apply_blocks, positive_integer
from tfrec_attn.losses.features import sequences_of
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class ESASRec(SequenceModel):
    """Scores items by a stack of LiGR blocks over the history.

        x = dropout(E[history] + P),   0 at padding
        h = blocks(x)                  see `GatedResidualBlock`
        score(j) = h_latest . E_j

    The attention is that of the last block, averaged over its heads.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history. Default 50.
        dim: D, width of the item vectors E [N, D] and of all layers. Default 64.
        num_blocks: Number of blocks. Default 1.
        num_heads: Number of heads of each attention, a divisor of D. Default 1.
        dropout: Probability in [0, 1) of dropping a feature of x, an attention weight, or an output
            of an attention or a network, in training. Default 0.2.
        stddev: Standard deviation of the initial item vectors and positions. Default 0.01.

    Shapes:
        "history" int [B, L] -> queries [B, D], or [B, L, D] at all positions; items [N + 1, D].
        The scores of an empty history are finite but have no meaning.

    Deviations:
        The paper trains with a sampled softmax of 256 uniform negatives for each position. The
        recommended loss is the full softmax, which a sampled softmax estimates. All positions of a
        batch share the negatives of `sampled_softmax`.

    Reference:
        Tikhonovich et al., "eSASRec: Enhancing Transformer-based Recommendations in a Modular
        Fashion", RecSys 2025 (arXiv 2508.06450).
    """

    trains_on = "next_items"
    packs_sequences = True

    recommended: ClassVar = {
        "data.max_length": 50,
        "train.epochs": 100,
        "train.patience": 5,
        "train.batch_size": 128,
        "train.optimizer": "adam",
        "train.learning_rate": 2e-3,
        "train.ema": 0.99,
        "train.loss": "softmax",
        "train.reduction": "mean",
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=50,
        *,
        dim=64,
        num_blocks=1,
        num_heads=1,
        dropout=0.2,
        stddev=0.01,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.num_heads, self.dropout, self.stddev = dim, num_heads, dropout, stddev
        self.num_blocks = positive_integer("num_blocks", num_blocks)
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.embedding = HistoryEmbedding(max_length, dropout, stddev, scale=False)
        self.blocks = [
            GatedResidualBlock(num_heads, dropout, name=f"block_{number}")
            for number in range(num_blocks)
        ]
        for layer in (self.embedding, *self.blocks):
            layer.build((None, max_length, dim))

    def item_tables(self):
        return [self.items]

    def encode(self, features, training=False, latest_only=False):
        mask, ages = sequences_of(features)
        x = self.embedding(self.items(features["history"]), mask=mask, training=training, ages=ages)
        return apply_blocks(self.blocks, x, latest_only, mask=mask, training=training)
