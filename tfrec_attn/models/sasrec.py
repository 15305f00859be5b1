"""SASRec: causal self-attention over the history."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.transformer_stack import TransformerStack
from tfrec_attn.losses.features import sequences_of
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SASRec(SequenceModel):
    """Scores items by a stack of causal self-attention blocks over the history.

        x = dropout(E[history] sqrt(D) + P),   0 at padding
        h = LayerNorm(blocks(x))
        score(j) = h_latest . E_j

    The attention is that of the last block, averaged over its heads.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history. Default 50.
        dim: D, width of the item vectors E [N, D] and of all layers. Default 64.
        num_blocks: Number of blocks. Default 1.
        num_heads: Number of heads of each attention, a divisor of D. Default 1.
        dropout: Probability in [0, 1) of dropping a feature of x, an attention weight, or a hidden
            unit or output of a network, in training. Default 0.5.
        stddev: Standard deviation of the initial item vectors and positions. Default 0.01.

    Shapes:
        "history" int [B, L] -> queries [B, D], or [B, L, D] at all positions; items [N + 1, D].
        The scores of an empty history are finite but have no meaning.

    Deviations:
        The block is that of the authors' code; see `TransformerBlock`. The paper trains with one
        sampled negative for each position; here the configuration sets the loss.

    Reference:
        Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (arXiv 1808.09781).
    """

    trains_on = "next_items"
    packs_sequences = True

    recommended: ClassVar = {
        "data.max_length": 50,
        "train.epochs": 100,
        "train.batch_size": 128,
        "train.optimizer": "adam",
        "train.learning_rate": 2e-3,
        "train.ema": 0.99,
        "train.loss": "softmax",
        "train.reduction": "mean",
        "train.l2": 1e-4,
        "train.kernel_l2": 1e-4,
        "train.patience": 5,
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
        dropout=0.5,
        stddev=0.01,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim = dim
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.dropout = dropout
        self.stddev = stddev
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.embedding = HistoryEmbedding(max_length, dropout, stddev)
        self.encoder = TransformerStack(num_blocks, num_heads, dropout=dropout)
        self.embedding.build((None, max_length, dim))
        self.encoder.build((None, max_length, dim))

    def item_tables(self):
        return [self.items]

    def encode(self, features, training=False, latest_only=False):
        mask, ages = sequences_of(features)
        x = self.embedding(self.items(features["history"]), mask=mask, training=training, ages=ages)
        return self.encoder(
            x, mask=mask, training=training, return_attention_scores=True, latest_only=latest_only
        )
