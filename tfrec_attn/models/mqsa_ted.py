"""MQSA: short and long queries over the same history. TED, its distillation, is
`train.distillation`.
"""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.multi_query_self_attention import MultiQuerySelfAttention
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MQSATED(SequenceModel):
    """Scores items by two causal self-attention stacks, one that queries with the latest item, one
    with the mean of the latest few.

        x = dropout(E[history] sqrt(D) + P) masked,   h = alpha short(x) + (1 - alpha) long(x),   score(j) = h_latest . E_j

    Args:
      num_users: M, unused: users are what they did.
      num_items: N.
      max_length: L, latest items attended to. Default 50.
      dim: D, width of the item vectors E [N, D] and of everything else. Default 64.
      num_blocks: blocks of each stack. Default 1.
      num_heads: heads of each attention, a divisor of D. Default 1.
      query_window: items whose mean is a long query. Default 3.
      alpha: weight of the short queries in [0, 1]; 1 is SASRec's encoder, 0 the long queries alone.
          Default 0.5.
      dropout: on the input, the attention weights and the networks. Default 0.5.
      stddev: of the initial item vectors and positions. Default 0.01.

    An empty history gives finite scores that say nothing; users never enter. `attention` is that of
    the latest position in the last block of each stack, mean over its heads, mixed as the stacks
    are.

    Deviations from the paper: the two logits are mixed before the product with E, which is the
    same.

    Deviations from the authors' code: its softmax has one more column, that of padding, whose logit
    is always 0; here the softmax is over the N items. It counts the transitions of TED in the
    latest `max_length` training events of each user; here in all of them, unless
    `train.distillation.latest` is set.

    Reference: Zhu, Shi, Zhang, Wu, Mo, Nie, Collaboration and Transition: Distilling Item
    Transitions into Multi-Query Self-Attention for Sequential Recommendation, WSDM 2024 (arXiv
    2311.01056).
    """

    trains_on = "next_items"

    recommended: ClassVar = {
        "data.max_length": 50,
        "train.epochs": 100,
        "train.batch_size": 256,
        "train.optimizer": "adam",
        "train.learning_rate": 1e-3,
        "train.loss": "softmax",
        "train.distillation.weight": 0.1,
        "train.distillation.temperature": 0.1,
        "train.distillation.dropout": 0.5,
        "train.reduction": "mean",
        "train.l2": 1e-4,
        "train.kernel_l2": 1e-4,
        "train.patience": 20,
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
        query_window=3,
        alpha=0.5,
        dropout=0.5,
        stddev=0.01,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        if query_window > max_length:
            raise ValueError(
                f"query_window must be at most max_length, {max_length}, but is {query_window}."
            )
        self.dim = dim
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.query_window = query_window
        self.alpha = alpha
        self.dropout = dropout
        self.stddev = stddev
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.embedding = HistoryEmbedding(max_length, dropout, stddev)
        self.encoder = MultiQuerySelfAttention(
            num_blocks, num_heads, query_window, alpha, dropout=dropout
        )
        self.embedding.build((None, max_length, dim))
        self.encoder.build((None, max_length, dim))

    def item_tables(self):
        return [self.items]

    def encode(self, features, training=False, latest_only=False):
        real = features["history"] > 0
        x = self.embedding(self.items(features["history"]), mask=real, training=training)
        return self.encoder(
            x, mask=real, training=training, return_attention_scores=True, latest_only=latest_only
        )
