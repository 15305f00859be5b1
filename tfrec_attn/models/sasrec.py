"""SASRec: causal self-attention over the history."""

import tensorflow as tf

from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.multi_query_attention import MultiQueryAttention
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SASRec(SequenceModel):
    """Scores items by a stack of causal self-attention blocks over the history.

        x = dropout(E[history] sqrt(D) + P) masked,   h = LayerNorm(blocks(x)),   score(j) = h_latest . E_j

    Args:
      num_users: M, unused: users are what they did.
      num_items: N.
      max_length: L, latest items attended to. Default 50.
      dim: D, width of the item vectors E [N, D] and of everything else. Default 64.
      num_blocks: blocks of the stack. Default 1.
      num_heads: heads of each attention, a divisor of D. Default 1.
      dropout: on the input, the attention weights and the networks. Default 0.5.
      stddev: of the initial item vectors and positions. Default 0.01.

    An empty history gives finite scores that say nothing; users never enter.

    Deviations from the paper: the block is that of the authors' code (`TransformerBlock` says where it differs); the paper trains with
    one sampled negative at each position, here the loss is chosen when training.

    Reference: Kang, McAuley, Self-Attentive Sequential Recommendation, ICDM 2018 (arXiv 1808.09781).
    """

    def __init__(self, num_users, num_items, max_length=50, *, dim=64, num_blocks=1, num_heads=1, dropout=0.5, stddev=0.01, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim = dim
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.dropout = dropout
        self.stddev = stddev
        self.items = self.add_table("items", "items", dim, stddev)
        self.embedding = HistoryEmbedding(max_length, dropout, stddev)
        self.encoder = MultiQueryAttention(num_blocks, num_heads, alpha=1.0, dropout=dropout)
        self.embedding.build((num_items + 1, dim))
        self.encoder.build((None, max_length, dim))

    def query_vectors(self, user, history, training=False):
        return tf.cast(self._encode(history, training, latest_only=True)[0][:, 0], tf.float32)

    def sequence_vectors(self, user, history, training=False):
        return tf.cast(self._encode(history, training)[0], tf.float32)

    def attention(self, user, history):
        """Attention of the latest position in the last block, mean over its heads."""
        return tf.cast(self._encode(history, latest_only=True)[1][:, 0], tf.float32)

    def item_vectors(self, items=None):
        return tf.convert_to_tensor(self.items) if items is None else tf.gather(self.items, items)

    def _encode(self, history, training=False, latest_only=False):
        real = history > 0
        x = self.embedding(*self.look_up(self.items, history), real, training=training)
        return self.encoder(x, mask=real, training=training, return_attention_scores=True, latest_only=latest_only)
