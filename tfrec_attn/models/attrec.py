"""AttRec: self-attention for short-term interest, metric learning for long-term interest."""

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.self_attentive_intent import SelfAttentiveIntent
from tfrec_attn.layers.squared_distance import SquaredDistance
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class AttRec(SequenceModel):
    """Scores items by distances to a user vector and to a self-attentive vector of the history.

        score(j) = -(w |U_u - V_j|^2 + (1 - w) |m - X_j|^2) + a term that is equal for all j
        m = aggregate of softmax(q k^T / sqrt(D)) x
        q = relu((x + TE) Wq),   k = relu((x + TE) Wk),   x = X[latest L items]

    For an unknown user (0), the score is the short-term part with its weight. For an empty history,
    it is the long-term part with its weight. Without both, all scores are 0.

    Args:
        num_users: M.
        num_items: N.
        max_length: L, number of latest items of the history. Default 5.
        dim: D, width of the tables X [N, D], U [M, D], V [N, D]. Default 100.
        user_weight: w in [0, 1]; 0 is the short-term part only, 1 the long-term part only. Default
            0.2.
        tied: Whether Wq = Wk. Default True.
        diagonal: The attention of an item to itself is set to 0 "after" the softmax (default), is
            left out "before" it, or remains ("keep").
        aggregation: "mean" (default), "sum", "max" or "min" of the attended items.
        max_norm: Largest norm of the tables' rows. Default 1; None: no limit.
        stddev: Standard deviation of the tables' initial values. Default 0.001.
        self_attention: Whether to apply attention. False makes m the aggregate of x, as in the
            paper's ablation study; `tied`, `diagonal` and `time_signal` then have no effect.
            Default True.
        time_signal: Whether the position encoding TE is added to query and key. Default True.
        max_wavelength: Base of the sinusoids' wavelengths, in positions. Default 10000.

    Shapes:
        "user" int [B], "history" int [B, L] -> queries [B, 2 (D + 1)]; items [N + 1, 2 (D + 1)].

    Deviations:
        From the paper: those of `SelfAttentiveIntent`; L2 applies to the rows that a step updates,
        not to whole tables. From the authors' code: negatives exclude all items of the user's
        training events, as in the paper, and not only the targets of the window.

    Reference:
        Zhang, Tay, Yao, Sun, An, "Next Item Recommendation with Self-Attentive Metric Learning",
        AAAI-19 RecNLP (arXiv 1808.06414).
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
                f"user_weight must be in [0, 1], but is {user_weight}: 0 is the short-term part "
                "alone, 1 the long-term one."
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
        """Returns the weights of the item vectors in m; for "max" and "min", those of "mean"."""
        history = features["history"]
        real = history > 0
        weights = tf.reduce_sum(self._attend(history, real)[1], axis=1)
        if self.aggregation == "sum":
            return weights
        return weights / tf.maximum(
            tf.reduce_sum(tf.cast(real, tf.float32), axis=1, keepdims=True), 1.0
        )

    def attention_map(self, features):
        """Returns s, whose rows need not sum to 1 (see `diagonal`), or None without attention."""
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
        rows, index = self.short_items.unique_rows(history)
        return self.intent.from_rows(
            tf.cast(rows, self.compute_dtype), index, real, return_attention_scores=True
        )
