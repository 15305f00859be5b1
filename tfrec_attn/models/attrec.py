"""AttRec: self-attention for the short-term interest, metric learning for the long-term one."""

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.self_attentive_intent import SelfAttentiveIntent
from tfrec_attn.layers.squared_distance import SquaredDistance
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class AttRec(SequenceModel):
    """Scores items by their distances to a user's vector and to what attention makes of the latest
    items.

        score(j) = -(w |U_u - V_j|^2 + (1 - w) |m - X_j|^2) + a term that is the same for every j
        m = aggregate of softmax(q k^T / sqrt(D)) x,   q = relu((x + TE) Wq),   k = relu((x + TE) Wk),   x = X[latest L items]

    Args:
      num_users: M.
      num_items: N.
      max_length: L, latest items attended to. Default 5.
      dim: D, width of the tables X [N, D], U [M, D], V [N, D]. Default 100.
      user_weight: w in [0, 1]; 0 is the short-term part alone, 1 the long-term one. Default 0.2.
      tied: one projection Wq = Wk (default, as the authors' code) or two (the paper).
      diagonal: an item's attention to itself is set to 0 "after" the softmax (default, as the
        authors' code), excluded "before" it, or stays ("keep").
      aggregation: "mean" (default), "sum", "max" or "min" of the attended items.
      max_norm: rows of the tables are kept in the ball of this radius. Default 1; None for no
          bound.
      stddev: of the tables' initial values. Default 0.001.
      self_attention: False makes m the aggregate of x itself, the paper's study without
        self-attention; `tied`, `diagonal` and the time signal then have no effect. Default True.
      time_signal: False leaves the sinusoids TE out of query and key. Default True.
      max_wavelength: base of the sinusoids, above 0. Default 10000.

    An unknown user (0) is scored by the short-term part alone, an empty history by the long-term
    part alone, each with its own weight; with neither, all items score 0.

    Deviations from the paper: see `SelfAttentiveIntent`; L2 falls on the rows that a step touches,
    not on whole tables.

    Deviations from the authors' code: its negatives exclude only the targets of their window; here
    they exclude all items that the user has touched in training, as in the paper.

    Reference: Zhang, Tay, Yao, Sun, An, Next Item Recommendation with Self-Attentive Metric
    Learning, AAAI-19 RecNLP (arXiv 1808.06414).
    """

    uses_user = True

    def __init__(
        self,
        num_users,
        num_items,
        max_length=5,
        *,
        dim=100,
        user_weight=0.2,
        tied=True,
        diagonal="after",
        aggregation="mean",
        max_norm: float | None = 1.0,
        stddev=0.001,
        self_attention=True,
        time_signal=True,
        max_wavelength=10000.0,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        if not 0.0 <= user_weight <= 1.0:
            raise ValueError(
                f"user_weight must be in [0, 1], but is {user_weight}: 0 is the short-term part alone, 1 the long-term one."
            )
        self.dim = dim
        self.user_weight = user_weight
        self.tied = tied
        self.diagonal = diagonal
        self.aggregation = aggregation
        self.max_norm = max_norm
        self.stddev = stddev
        self.self_attention = self_attention
        self.time_signal = time_signal
        self.max_wavelength = max_wavelength
        self.intent = SelfAttentiveIntent(
            max_length,
            tied,
            diagonal,
            aggregation,
            max_wavelength,
            self_attention=self_attention,
            time_signal=time_signal,
        )
        self.intent.build((None, max_length, dim))
        self.distance = SquaredDistance()
        table = {"stddev": stddev, "max_norm": max_norm}
        self.short_items = EmbeddingTable(num_items, dim, name="short_items", **table)
        self.long_items = EmbeddingTable(num_items, dim, name="long_items", **table)
        self.long_users = EmbeddingTable(num_users, dim, of="users", name="long_users", **table)

    def query_vectors(self, features, training=False):
        user, history = features["user"], features["history"]
        real = history > 0
        intent, _ = self._attend(history, real)
        long_weight = self.user_weight * tf.cast(user > 0, tf.float32)
        short_weight = (1.0 - self.user_weight) * tf.cast(tf.reduce_any(real, axis=1), tf.float32)
        long = self.distance.query(self.long_users.rows(user), long_weight)
        return tf.concat(
            [long, self.distance.query(tf.cast(intent, tf.float32), short_weight)], axis=1
        )

    def attention(self, features):
        """Weights with which the items' vectors enter m; with "max" and "min", whose weights differ
        by column, those of "mean".
        """
        history = features["history"]
        real = history > 0
        weights = tf.reduce_sum(self._attend(history, real)[1], axis=1)
        if self.aggregation == "sum":
            return weights
        return weights / tf.maximum(
            tf.reduce_sum(tf.cast(real, tf.float32), axis=1, keepdims=True), 1.0
        )

    def attention_map(self, features):
        """The affinities s, whose rows need not sum to 1: see `diagonal`. None without
        self-attention.
        """
        if not self.self_attention:
            return None
        history = features["history"]
        return self._attend(history, history > 0)[1]

    def item_vectors(self, items=None):
        return tf.concat(
            [
                self.distance.item(table.rows(items))
                for table in (self.long_items, self.short_items)
            ],
            axis=1,
        )

    def item_columns(self):
        return {self.long_items: 0, self.short_items: self.dim + 1}

    def _attend(self, history, real):
        rows, local = self.short_items.distinct(history)
        return self.intent.from_rows(
            tf.cast(rows, self.compute_dtype), local, real, return_attention_scores=True
        )
