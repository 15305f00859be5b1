"""Self-attention with the mean of several events as the query."""

import math

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.head_attention import HeadAttention
from tfrec_attn.layers.layer_norm import layer_norm
from tfrec_attn.layers.support import (
    add_projection,
    as_mask,
    boolean,
    build_parts,
    dropout_rate,
    positive_integer,
    project,
    real_events,
    visible_keys,
    width_of_heads,
)


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class LQueryAttention(HeadAttention):
    """Multi-head self-attention in which the query of an event is the mean of W events up to it.

        m_t = mean of the real events among x_(t-W+1) .. x_t             W = query_window
        n = LayerNorm(m)
        Q = n Wq + bq,  K = x Wk + bk,  V = x Wv + bv                    H heads of width d = D / H
        s = softmax(Q Kᵀ / sqrt(d))     over the real events up to t, or over all if not `causal`
        o = LayerNorm(dropout(s) V + n)

    W = 1 is the attention of SASRec with the layer normalisations before and after it. Padding has
    the weight 0 and is not part of the means. The output at padding has no meaning.

    Args:
        num_heads: H, a divisor of D. Default 1.
        query_window: W, in events. Default 1.
        dropout: Probability in [0, 1) of dropping an attention weight in training. Default 0.
        epsilon: Added to the variance in both layer normalisations. Default 1e-12.
        causal: Whether an event attends only to itself and earlier events. Default True.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event; padding on the left) ->
        o [B, L, D] in the compute dtype. `return_attention_scores=True` also returns s
        [B, H, L, L], before dropout, in float32 (float64 in a float64 layer). `latest_only=True`
        computes only the latest position: o [B, 1, D] and s [B, H, 1, L].

    Deviations:
        The authors' code adds 1e-24 to the variance; in float32 this differs from 1e-12 only for
        variances below about 1e-5. In the authors' code, positions whose features are all 0 are
        padding; here the mask decides.

    Reference:
        Zhu et al., "Collaboration and Transition: Distilling Item Transitions into Multi-Query
        Self-Attention for Sequential Recommendation", WSDM 2024 (arXiv 2311.01056), L-query
        self-attention.
    """

    def __init__(
        self, num_heads=1, query_window=1, dropout=0.0, epsilon=1e-12, causal=True, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_heads = positive_integer("num_heads", num_heads)
        self.query_window = positive_integer("query_window", query_window)
        self.dropout = dropout_rate(dropout)
        self.epsilon = epsilon
        self.causal = boolean("causal", causal)
        self.supports_masking = True
        self.query_norm = layer_norm(self, epsilon, "query_norm")
        self.output_norm = layer_norm(self, epsilon, "output_norm")
        self._dropout_layer = Dropout(self.dropout, dtype=self.compute_dtype)

    def build(self, input_shape):
        width = width_of_heads(input_shape, self.num_heads)
        for name in ("query", "key", "value"):
            add_projection(self, name, width, width)
        build_parts([self.query_norm, self.output_norm], input_shape)
        super().build(input_shape)

    def call(
        self, inputs, mask=None, training=None, return_attention_scores=False, latest_only=False
    ):
        mask = as_mask(mask)
        x = tf.cast(inputs, self.compute_dtype)
        normed = self.query_norm(
            self._window_means(tf.cast(inputs, self.query_norm.compute_dtype), mask, latest_only)
        )
        # Scaling the kernel, not the [L, L] logits, costs less and keeps float16 products in range.
        scale = 1.0 / math.sqrt(x.shape[-1] // self.num_heads)
        query = project(
            tf.cast(normed, x.dtype), self.query_kernel * scale, self.query_bias * scale
        )
        visible = visible_keys(tf.shape(x)[1], mask, self.causal, latest_only)
        attend = self.attend_latest if latest_only else self.attend
        attended, scores = attend(query, x, visible, training)
        outputs = tf.cast(self.output_norm(tf.cast(attended, normed.dtype) + normed), x.dtype)
        return (outputs, scores) if return_attention_scores else outputs

    def _window_means(self, x, mask, latest_only):
        if latest_only:
            x = x[:, -self.query_window :]
            mask = None if mask is None else mask[:, -self.query_window :]
            return self._window_mean(x, mask)[:, -1:]
        return self._window_mean(x, mask)

    def _window_mean(self, x, mask):
        if self.query_window == 1:
            return x
        real = tf.ones_like(x[:1, :, :1]) if mask is None else real_events(mask, x.dtype)
        sequences = mask if mask is not None and mask.dtype.is_integer else None
        total = _window_sum(x if mask is None else x * real, self.query_window, sequences)
        return total / tf.maximum(_window_sum(real, self.query_window, sequences), 1.0)


def _window_sum(x, window, sequences):
    """Returns `out[:, t] = x[:, t - window + 1] + ... + x[:, t]` of x [B, L, D].

    It combines sums over 1, 2, 4 ... positions, with about 2 log2(window) additions. With
    `sequences`, int [B, L], a sum contains only positions of the sequence of t.
    """
    total, covered, power, size = None, 0, x, 1
    while True:
        if window & size:
            total = power if total is None else total + _shift(power, covered, sequences)
            covered += size
        if covered == window:
            return total
        power = power + _shift(power, size, sequences)  # Not +=, which a variable refuses.
        size *= 2


def _shift(x, steps, sequences):
    """Shifts x [B, L, D] to the right by some positions; what comes from another sequence is 0."""
    if sequences is None:
        return tf.pad(x, [[0, 0], [steps, 0], [0, 0]])[:, : tf.shape(x)[1]]
    # tf.roll, because the gradient of a slice is slow.
    same = sequences == tf.roll(sequences, steps, axis=1)
    same &= tf.range(tf.shape(sequences, tf.int64)[1]) >= steps
    return tf.roll(x, steps, axis=1) * tf.cast(same, x.dtype)[:, :, tf.newaxis]
