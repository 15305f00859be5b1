"""HSTU: blocks of causal attention without a softmax and without event times."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.history_embedding import HistoryEmbedding
from tfrec_attn.layers.sequential_transduction_unit import SequentialTransductionUnit
from tfrec_attn.layers.support import apply_blocks, positive_integer, positive_number
from tfrec_attn.losses.features import sequences_of
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class HSTU(SequenceModel):
    """Scores items by a stack of hierarchical sequential transduction units over the history.

        x = dropout(E[history] sqrt(D) + P),   0 at padding
        h = blocks(x)                          see `SequentialTransductionUnit`
        score(j) = h_latest . E_j

    The attention is the mean over the heads of the absolute scores of the last block.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history. Default 50.
        dim: D, width of the item vectors E [N, D] and of all layers. Default 64.
        num_blocks: Number of blocks. Default 2.
        num_heads: Number of heads of each attention, a divisor of D. Default 1.
        dropout: Probability in [0, 1) of dropping a feature of x, or of the gated result of an
            attention, in training. Default 0.2.
        stddev: Standard deviation of the initial item vectors and positions. Default 0.02.
        temperature: None (default) for the score above, or a number above 0 for the score
            cosine(h_latest, E_j) / temperature.

    Shapes:
        "history" int [B, L] -> queries [B, D], or [B, L, D] at all positions; items [N + 1, D].
        The scores of an empty history are finite but have no meaning.

    Deviations:
        Attention has a bias of the relative position only, and none of the time between events, so
        requests need no times. Positions count from the latest event. The authors score by the
        cosine with the temperature 0.05, and train with a sampled softmax of 128 to 512 negatives.
        The recommended loss is the full softmax; with it, the inner product was better than the
        cosine on MovieLens-100K and Beauty.

    Reference:
        Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for
        Generative Recommendations", ICML 2024 (arXiv 2402.17152).
    """

    trains_on = "next_items"
    packs_sequences = True

    recommended: ClassVar = {
        "data.max_length": 50,
        "train.loss": "softmax",
        "train.reduction": "mean",
        "train.epochs": 100,
        "train.patience": 10,
        "train.batch_size": 128,
        "train.optimizer": "adam",
        "train.learning_rate": 1e-3,
    }

    def __init__(
        self,
        num_users,
        num_items,
        max_length=50,
        *,
        dim=64,
        num_blocks=2,
        num_heads=1,
        dropout=0.2,
        stddev=0.02,
        temperature: float | None = None,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.num_heads, self.dropout, self.stddev = dim, num_heads, dropout, stddev
        self.num_blocks = positive_integer("num_blocks", num_blocks)
        if temperature is not None:
            temperature = positive_number("temperature", temperature)
        self.temperature = temperature
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.embedding = HistoryEmbedding(max_length, dropout, stddev)
        self.blocks = [
            SequentialTransductionUnit(max_length, num_heads, dropout, name=f"block_{number}")
            for number in range(num_blocks)
        ]
        for layer in (self.embedding, *self.blocks):
            layer.build((None, max_length, dim))

    def item_tables(self):
        return [self.items]

    def item_vectors(self, items=None):
        vectors = self.items.rows(items)
        return vectors if self.temperature is None else _units(vectors)

    def item_columns(self):
        # With a temperature, the item vectors are not the rows of the table: they have the norm 1.
        return {self.items: 0} if self.temperature is None else {}

    def encode(self, features, training=False, latest_only=False):
        mask, ages = sequences_of(features)
        x = self.embedding(self.items(features["history"]), mask=mask, training=training, ages=ages)
        x, attention = apply_blocks(self.blocks, x, latest_only, mask=mask, training=training)
        if self.temperature is not None:
            x = _units(tf.cast(x, tf.float32)) / self.temperature
        return x, attention


def _units(vectors):
    """Returns vectors [..., D] scaled to the norm 1; zeros do not change."""
    return tf.math.l2_normalize(vectors, axis=-1)
