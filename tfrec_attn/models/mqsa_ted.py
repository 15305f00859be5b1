"""MQSA-TED: self-attention with short and long queries; TED is `train.distillation`."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.multi_query_self_attention import MultiQuerySelfAttention
from tfrec_attn.losses.features import sequences_of
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MQSATED(SequenceModel):
    """Scores items by two causal self-attention stacks, with short and with long queries.

        x = dropout(E[history] sqrt(D) + P),   0 at padding
        h = alpha short(x) + (1 - alpha) long(x)
        score(j) = h_latest . E_j

    A short query is the latest item, a long query the mean of the latest items. The attention is
    that of the last blocks, averaged over their heads and summed with the weights of the stacks.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history. Default 50.
        dim: D, width of the item vectors E [N, D] and of all layers. Default 64.
        num_blocks: Number of blocks of each stack. Default 1.
        num_heads: Number of heads of each attention, a divisor of D. Default 1.
        query_window: Number of items whose mean is a long query. Default 3.
        alpha: Weight of the short queries in [0, 1]; 1 is SASRec's encoder. Default 0.5.
        dropout: Probability in [0, 1) of dropping a feature of x, an attention weight, or a hidden
            unit or output of a network, in training. Default 0.5.
        stddev: Standard deviation of the initial item vectors and positions. Default 0.01.

    Shapes:
        "history" int [B, L] -> queries [B, D], or [B, L, D] at all positions; items [N + 1, D].
        The scores of an empty history are finite but have no meaning.

    Deviations:
        From the paper: the outputs of the stacks are added, and not their scores, which gives the
        same score(j). From the authors' code: the softmax is over the N items, without a column of
        logit 0 for padding; TED counts the transitions in all training events, and not in the
        latest `max_length` of each user, unless `train.distillation.latest` is set.

    Reference:
        Zhu, Shi, Zhang, Wu, Mo, Nie, "Collaboration and Transition: Distilling Item Transitions
        into Multi-Query Self-Attention for Sequential Recommendation", WSDM 2024 (arXiv
        2311.01056).
    """

    trains_on = "next_items"
    packs_sequences = True

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

    def attention_streams(self, features):
        """Returns the attention map of each stack; `attention_map` is their weighted sum."""
        real = features["history"] > 0
        x = self.embedding(self.items(features["history"]), mask=real)
        scores = self.encoder.attention_of_stacks(x, mask=real)
        return {f"{name} queries": tf.cast(one, tf.float32) for name, one in scores.items()}

    def encode(self, features, training=False, latest_only=False):
        mask, ages = sequences_of(features)
        x = self.embedding(self.items(features["history"]), mask=mask, training=training, ages=ages)
        return self.encoder(
            x, mask=mask, training=training, return_attention_scores=True, latest_only=latest_only
        )
