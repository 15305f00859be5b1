"""The block of HSTU: attention without a softmax, and a gate."""

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.layer_norm import layer_norm
from tfrec_attn.layers.support import (
    Layer,
    add_projection,
    as_mask,
    build_parts,
    dropout_rate,
    merge_heads,
    positive_integer,
    project,
    split_heads,
    visible_keys,
    width_of_heads,
)


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SequentialTransductionUnit(Layer):
    """Causal attention with SiLU in place of the softmax, a gate and a residual connection.

        U, V, Q, K = split(silu(LayerNorm(x) W))               H heads of width D / H
        s[t, j] = silu(Q_t . K_j + b[t - j]) / max_length      for the real events j up to t
        y = x + dropout(U * LayerNorm(s V)) Wo + bo

    silu(a) = a / (1 + exp(-a)). The weights s of a query do not sum to 1, and some can be negative.
    Both normalisations have neither gain nor bias. b is a bias of the relative position, shared by
    the heads. Its last value also applies to events further apart.

    Args:
        max_length: Longest history in events, the length of b and the divisor of the scores.
        num_heads: H, a divisor of D. Default 1.
        dropout: Probability in [0, 1) of dropping a feature of the gated result in training.
            Default 0.
        epsilon: Added to the variance in the layer normalisations. Default 1e-6.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event) -> y [B, L, D] in the compute
        dtype. The output at padding has no meaning. `return_attention_scores=True` also returns s
        [B, H, L, L] in float32 (float64 in a float64 layer). `latest_only=True` computes only the
        latest position: y [B, 1, D] and s [B, H, 1, L].

    Reference:
        Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for
        Generative Recommendations", ICML 2024 (arXiv 2402.17152), section 3.
    """

    def __init__(self, max_length, num_heads=1, dropout=0.0, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.max_length = positive_integer("max_length", max_length)
        self.num_heads = positive_integer("num_heads", num_heads)
        self.dropout = dropout_rate(dropout)
        self.epsilon = epsilon
        self.input_norm = layer_norm(self, epsilon, "input_norm", affine=False)
        self.attended_norm = layer_norm(self, epsilon, "attended_norm", affine=False)
        self._dropout_layer = Dropout(self.dropout, dtype=self.compute_dtype)
        self.supports_masking = True

    def build(self, input_shape):
        width = width_of_heads(input_shape, self.num_heads)
        build_parts([self.input_norm, self.attended_norm], input_shape)
        add_projection(self, "input", width, 4 * width, use_bias=False)
        add_projection(self, "output", width, width)
        self.position_bias = self.add_weight(
            name="position_bias", shape=(self.max_length,), initializer="zeros"
        )
        super().build(input_shape)

    def call(
        self, inputs, mask=None, training=None, return_attention_scores=False, latest_only=False
    ):
        x = tf.cast(inputs, self.compute_dtype)
        normed = tf.cast(self.input_norm(x), x.dtype)
        parts = tf.split(tf.nn.silu(project(normed, self.input_kernel)), 4, axis=-1)
        gate, value, query, key = parts
        if latest_only:
            x, gate, query = x[:, -1:], gate[:, -1:], query[:, -1:]
        query, key, value = (split_heads(one, self.num_heads) for one in (query, key, value))
        scores = self._scores(query, key, as_mask(mask), latest_only)
        attended = merge_heads(tf.matmul(scores, value))
        gated = gate * tf.cast(self.attended_norm(attended), x.dtype)
        outputs = x + project(
            self._dropout_layer(gated, training=training), self.output_kernel, self.output_bias
        )
        if not return_attention_scores:
            return outputs
        return outputs, tf.cast(scores, self.attended_norm.compute_dtype)

    def _scores(self, query, key, mask, latest_only):
        """Returns s for queries of the latest Q positions: [B, H, Q, D / H] -> [B, H, Q, L]."""
        length = tf.shape(key, tf.int64)[2]
        position = tf.range(length)
        distance = position[length - tf.shape(query, tf.int64)[2] :, tf.newaxis] - position
        # The gradient of tf.gather_nd is dense, unlike that of tf.gather.
        bias = tf.gather_nd(
            tf.convert_to_tensor(self.position_bias),
            tf.clip_by_value(distance, 0, self.max_length - 1)[:, :, tf.newaxis],
        )
        scores = tf.nn.silu(tf.matmul(query, key, transpose_b=True) + tf.cast(bias, query.dtype))
        visible, real = distance >= 0, visible_keys(length, mask, False, latest_only)
        visible = visible if real is None else visible & real
        return tf.where(visible, scores / self.max_length, tf.zeros_like(scores))
