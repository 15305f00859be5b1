"""BERT4Rec: bidirectional self-attention over a history with masked items."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.layer_norm import layer_norm
from tfrec_attn.layers.post_norm_block import PostNormBlock
from tfrec_attn.layers.support import apply_blocks, positive_integer, real_events
from tfrec_attn.losses.features import append_mask, latest_events, sequences_of
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class BERT4Rec(SequenceModel):
    """Scores items by a bidirectional encoder of the history with a mask at its end.

        x = dropout(LayerNorm(E[history] + P))      the vector of a masked item is m
        h = blocks(x)                               see `PostNormBlock`
        t = LayerNorm(gelu(h W + c))
        score(j) = t_mask . E_j + b_j

    The attention is that of the last block, averaged over its heads.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history, including the mask. Default 50.
        dim: D, width of the item vectors E [N, D] and of all layers. Default 64.
        num_blocks: Number of blocks. Default 2.
        num_heads: Number of heads of each attention, a divisor of D. Default 2.
        dropout: Probability in [0, 1) of dropping a feature of x, an attention weight, or an output
            of an attention or a network, in training. Default 0.2.
        stddev: Standard deviation of the initial item vectors, positions and m. Default 0.02.

    Shapes:
        "history" int [B, L], N + 1 is a masked item -> queries [B, D + 1], or [B, L, D + 1] at all
        positions; items [N + 1, D + 1].

    Deviations:
        The authors mask copies of each sequence in advance; here each epoch draws new masks. They
        mask 60 % of the items of Beauty and 20 % of the items of MovieLens. They train 400,000
        steps, also on the validation items. Attention weights have a dropout probability of their
        own.

    Reference:
        Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations
        from Transformer", CIKM 2019 (arXiv 1904.06690).
    """

    trains_on = "masked_items"
    packs_sequences = True

    recommended: ClassVar = {
        "data.max_length": 50,
        "data.mask_share": 0.2,
        "data.mask_last": 0.1,
        "train.epochs": 300,
        "train.batch_size": 256,
        "train.optimizer": "adam",
        "train.learning_rate": 1e-3,
        "train.loss": "softmax",
        "train.reduction": "mean",
        # The metric can rise after many epochs without a gain, because few positions have a loss.
        "train.patience": 30,
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=50,
        *,
        dim=64,
        num_blocks=2,
        num_heads=2,
        dropout=0.2,
        stddev=0.02,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.num_heads, self.dropout, self.stddev = dim, num_heads, dropout, stddev
        self.num_blocks = positive_integer("num_blocks", num_blocks)
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.biases = EmbeddingTable(num_items, 1, stddev=0.0, name="biases")
        self.mask = EmbeddingTable(1, dim, of="other", stddev=stddev, name="mask")
        self.embedding = HistoryEmbedding(max_length, dropout, stddev, scale=False, normalize=True)
        self.blocks = [
            PostNormBlock(num_heads, dropout, name=f"block_{number}")
            for number in range(num_blocks)
        ]
        self.projection = tf.keras.layers.Dense(dim, "gelu", name="projection")
        self.norm = layer_norm(self, 1e-12, "norm")
        for layer in (self.embedding, *self.blocks, self.projection, self.norm):
            layer.build((None, max_length, dim))

    def item_tables(self):
        return [self.items, self.biases]

    def encode(self, features, training=False, latest_only=False):
        history = features["history"]
        real, ages = sequences_of(features)
        masked = history > self.num_items
        items = tf.where(masked, tf.zeros_like(history), history)
        x = self.items(items) + self.mask(tf.cast(masked, history.dtype))
        x = self.embedding(x, mask=real, training=training, ages=ages)
        x, scores = apply_blocks(self.blocks, x, latest_only, mask=real, training=training)
        t = self.norm(self.projection(x))
        rows = real_events(real[:, -1:] if latest_only else real, scores.dtype)
        return tf.concat([t, tf.ones_like(t[:, :, :1])], axis=2), scores * rows

    def attention(self, features):
        """Returns the weight of each event for the mask after the history; see `SequenceModel`."""
        inputs = latest_events(append_mask(features, self.num_items + 1), self.max_length)
        _, weights = self.encode(inputs, latest_only=True)
        # The weight of the mask itself is left out. The mask can replace the earliest event.
        events = tf.shape(features["history"])[1]
        return tf.pad(weights[:, 0, :-1], [[0, 0], [1, 0]])[:, -events:]
