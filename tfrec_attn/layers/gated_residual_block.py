"""The LiGR block of eSASRec: a transformer block with gated residual connections."""

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.layer_norm import layer_norm
from tfrec_attn.layers.multi_head_self_attention import MultiHeadSelfAttention
from tfrec_attn.layers.support import Layer, add_projection, build_parts, project
from tfrec_attn.layers.swiglu import SwiGLU


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class GatedResidualBlock(Layer):
    """Self-attention and a SwiGLU network, each added through a gate (LiGR).

        o = x + sigmoid(x G1 + g1) * dropout(MultiHeadSelfAttention(LayerNorm(x)))
        y = o + sigmoid(o G2 + g2) * dropout(SwiGLU(LayerNorm(o)))

    Args:
        num_heads: Number of attention heads, a divisor of D. Default 1.
        dropout: Probability in [0, 1) of dropping an attention weight, or an output of the
            attention or of the network, in training. Default 0.
        units: Width of the network's hidden layer; None (default) takes 4 D.
        epsilon: Added to the variance in the layer normalisations. Default 1e-5.
        causal: Whether an event attends only to itself and earlier events. Default True.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event) -> [B, L, D] in the compute dtype.
        The output at padding has no meaning. `return_attention_scores=True` also returns the scores
        [B, H, L, L] in float32. `latest_only=True` computes only the latest position: [B, 1, D]
        and [B, H, 1, L].

    Reference:
        Borisyuk et al., "From Features to Transformers: Redefining Ranking for Scalable Impact",
        2025 (arXiv 2502.03417); Tikhonovich et al., "eSASRec", RecSys 2025 (arXiv 2508.06450).
    """

    def __init__(self, num_heads=1, dropout=0.0, units=None, epsilon=1e-5, causal=True, **kwargs):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        self.num_heads, self.dropout, self.units = num_heads, dropout, units
        self.epsilon, self.causal = epsilon, causal
        self.attention = MultiHeadSelfAttention(
            num_heads, causal, dropout, name="attention", **policy
        )
        self.feed_forward = SwiGLU(units, name="feed_forward", **policy)
        self.attention_norm = layer_norm(self, epsilon, "attention_norm")
        self.feed_forward_norm = layer_norm(self, epsilon, "feed_forward_norm")
        self._dropout_layer = Dropout(dropout, dtype=self.compute_dtype)
        self.supports_masking = True

    def build(self, input_shape):
        width = input_shape[-1]
        build_parts(
            [self.attention_norm, self.attention, self.feed_forward_norm, self.feed_forward],
            input_shape,
        )
        for name in ("attention_gate", "feed_forward_gate"):
            add_projection(self, name, width, width)
        super().build(input_shape)

    def call(
        self, inputs, mask=None, training=None, return_attention_scores=False, latest_only=False
    ):
        x = tf.cast(inputs, self.compute_dtype)
        attended, scores = self.attention(
            tf.cast(self.attention_norm(x), x.dtype),
            mask=mask,
            training=training,
            return_attention_scores=True,
            latest_only=latest_only,
        )
        x = x[:, -1:] if latest_only else x
        gate = tf.sigmoid(project(x, self.attention_gate_kernel, self.attention_gate_bias))
        x += gate * self._dropout_layer(attended, training=training)
        hidden = self.feed_forward(tf.cast(self.feed_forward_norm(x), x.dtype))
        gate = tf.sigmoid(project(x, self.feed_forward_gate_kernel, self.feed_forward_gate_bias))
        outputs = x + gate * self._dropout_layer(hidden, training=training)
        return (outputs, scores) if return_attention_scores else outputs
